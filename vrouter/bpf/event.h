// SPDX-License-Identifier: Apache-2.0
// Tells of single frames, while somebody wants to know. The trace tells nobody.
#pragma once

#include "packet.h"
#include "tables_events.h"

enum { LAYER_NONE = 0xff };

// What is known of a frame besides its bytes, in one word: calls of the function
// below have five arguments at most.
static __always_inline __u64 event_word(enum event_kind kind, enum event_direction direction, __u8 layer, enum reason reason)
{
	return kind | direction << 8 | layer << 16 | (__u64)reason << 32;
}

#ifdef WEFT_TRACE

static __always_inline void report_at(const struct packet *p, __u32 ifindex, enum event_flag flag, __u64 word, __u32 rule)
{
}

#else /* the product */

// Takes one of the kind's records, if it has one left.
static __always_inline bool use_event(__u32 kind, __u64 now)
{
	__u64 interval = event_control.interval;
	__u32 burst = event_control.burst;
	if (!interval)
		return true;
	__u64 *until = bpf_map_lookup_elem(&event_times, &kind);
	if (!until)
		return false;
	__u64 from = *until > now ? *until : now;
	if (from - now > (burst ? (burst - 1) * interval : 0))
		return false;
	*until = from + interval;
	return true;
}

// The first bytes of the frame.
static __always_inline void take_frame(struct __sk_buff *skb, struct event_record *r)
{
	__u64 size = skb->len;
	if (size > EVENT_FRAME)
		size = EVENT_FRAME;
	barrier_var(size);
	size = ((size - 1) & (EVENT_FRAME - 1)) + 1; // the same, from 1 on: what Linux 6.1 does not gather from comparisons
	if (!bpf_skb_load_bytes(skb, 0, r->frame, size))
		r->size = size;
}

// A global function: the verifier looks at it once, and not at each call. It
// learns the rest from the frame and the tables.
__noinline int write_event(struct __sk_buff *skb, __u64 where, __u64 word, __u32 rule)
{
	__u32 kind = word & 0xff, ifindex = where >> 32, one_of = event_control.one_of;
	struct event_count_value *count = bpf_map_lookup_elem(&event_counts, &kind);
	if (!count)
		return 0;
	if (one_of > 1 && bpf_get_prandom_u32() % one_of) {
		count->passed_over++;
		return 0;
	}
	__u64 now = bpf_ktime_get_ns();
	if (!use_event(kind, now)) {
		count->limited++;
		return 0;
	}
	struct event_record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);
	if (!r) {
		count->unheard++;
		return 0;
	}
	__builtin_memset(r, 0, sizeof(*r)); // in place: hooks have little stack left for it
	r->time = now;
	r->ifindex = ifindex;
	r->vrf = where;
	r->rule = rule;
	r->length = skb->len;
	r->one_of = one_of ? one_of : 1;
	r->kind = kind;
	r->direction = word >> 8;
	r->layer = word >> 16;
	r->reason = word >> 32;
	struct port_value *port = bpf_map_lookup_elem(&ports, &ifindex);
	if (port) {
		r->port = port->port;
		r->vrf = port->vrf;
	}
	take_frame(skb, r);
	bpf_ringbuf_submit(r, 0);
	count->told++;
	return 0;
}

static __always_inline void report_at(const struct packet *p, __u32 ifindex, enum event_flag flag, __u64 word, __u32 rule)
{
	if (event_control.flags & flag)
		write_event(p->skb, (__u64)ifindex << 32 | p->vrf, word, rule);
}

#endif

static __always_inline void report(const struct packet *p, enum event_flag flag, __u64 word, __u32 rule)
{
	report_at(p, p->ifindex, flag, word, rule);
}

// Tells of a frame that ends here.
static __always_inline void report_drop(const struct packet *p, enum reason reason)
{
	enum event_direction direction = p->from_tunnel || p->from_fabric ? EVENT_IN : EVENT_OUT;
	report(p, EVENT_DROPS, event_word(EVENT_KIND_DROP, direction, LAYER_NONE, reason), 0);
}
