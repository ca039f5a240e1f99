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

#if defined(WEFT_TRACE) && !defined(WEFT_REHEARSAL)

static __always_inline void report_where(struct __sk_buff *skb, __u64 where, enum event_flag flag, __u64 word, __u32 rule)
{
}

static __always_inline void report_logged(struct __sk_buff *skb, __u64 where, __u64 word, __u32 rule)
{
}

#else /* the product, and rehearsals */

// Takes a record, if one is left.
static __always_inline bool use_record(__u64 *until, __u64 interval, __u32 burst, __u64 now)
{
	if (!interval)
		return true;
	if (!until)
		return false;
	__u64 from = *until > now ? *until : now;
	if (from - now > (burst ? (burst - 1) * interval : 0))
		return false;
	*until = from + interval;
	return true;
}

// Takes one of the kind's records, if it has one left.
static __always_inline bool use_event(const __u32 *kind, __u64 now)
{
	bool logged = *kind == EVENT_KIND_LOGGED;
	__u64 interval = logged ? event_control.logged_interval : event_control.interval;
	__u32 burst = logged ? event_control.logged_burst : event_control.burst;
	return use_record(bpf_map_lookup_elem(&event_times, kind), interval, burst, now);
}

// Whether the ring has room: a quarter of it is kept for what is logged.
static __always_inline bool has_room(bool logged)
{
	return logged ||
	       bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) <= bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 4 * 3;
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
// learns the rest from the frame and the tables. All keys have one place: it is
// called where the stack is nearly used up. Returns whether there is a record.
__noinline int write_event(struct __sk_buff *skb, __u64 where, __u64 word, __u32 rule)
{
	bool logged = (word & 0xff) == EVENT_KIND_LOGGED;
	__u32 key = word & 0xff, one_of = logged ? 1 : event_control.one_of;
	struct event_count_value *count = bpf_map_lookup_elem(&event_counts, &key);
	if (!count)
		return 0;
	if (one_of > 1 && bpf_get_prandom_u32() % one_of) {
		count->passed_over++;
		return 0;
	}
	__u64 now = bpf_ktime_get_ns();
	if (!use_event(&key, now)) {
		count->limited++;
		return 0;
	}
	struct event_record *r = has_room(logged) ? bpf_ringbuf_reserve(&events, sizeof(*r), 0) : 0;
	if (!r) {
		count->unheard++;
		return 0;
	}
	__builtin_memset(r, 0, sizeof(*r)); // in place: hooks have little stack left for it
	r->time = now;
	r->ifindex = key = where >> 32;
	r->vrf = where;
	r->rule = rule;
	r->length = skb->len;
	r->one_of = one_of ? one_of : 1;
	r->kind = word;
	r->direction = word >> 8;
	r->layer = word >> 16;
	r->reason = word >> 32;
	struct port_value *port = bpf_map_lookup_elem(&ports, &key);
	if (port) {
		r->port = port->port;
		r->vrf = port->vrf;
	}
	key = 0;
	struct notes *n = logged ? bpf_map_lookup_elem(&scratch, &key) : 0;
	if (n)
		r->logged = n->logged;
	take_frame(skb, r);
	bpf_ringbuf_submit(r, 0);
	count->told++;
	return 1;
}

static __always_inline struct port_value *port_at(__u32 ifindex)
{
	return bpf_map_lookup_elem(&ports, &ifindex);
}

// Takes one of the records that an end may have of what its rules log.
__noinline int use_share(__u32 ifindex)
{
	struct port_value *port = port_at(ifindex);
	if (!port)
		return 0;
	__u32 key = port->slot;
	if (use_record(bpf_map_lookup_elem(&log_times, &key), event_control.share_interval, event_control.share_burst, bpf_ktime_get_ns()))
		return 1;
	key = EVENT_KIND_LOGGED;
	struct event_count_value *count = bpf_map_lookup_elem(&event_counts, &key);
	if (count)
		count->limited++;
	return 0;
}

// Counts at an end that a record of what its rules log is missing.
__noinline int count_unlogged(__u32 ifindex)
{
	struct port_value *port = port_at(ifindex);
	if (!port)
		return 0;
	__u32 slot = port->slot;
	struct counter_value *c = bpf_map_lookup_elem(&counters, &slot);
	if (c)
		c->unlogged++;
	return 0;
}

// Tells of what the rules of an end log, while its port has a share left.
static __always_inline void report_logged(struct __sk_buff *skb, __u64 where, __u64 word, __u32 rule)
{
	if (!(event_control.flags & EVENT_LOGGED))
		return;
	if (!use_share(where >> 32) || !write_event(skb, where, word, rule))
		count_unlogged(where >> 32);
}

// Tells of a frame where it was: interface << 32 | VRF.
static __always_inline void report_where(struct __sk_buff *skb, __u64 where, enum event_flag flag, __u64 word, __u32 rule)
{
	if (event_control.flags & flag)
		write_event(skb, where, word, rule);
}

#endif

static __always_inline void report_at(const struct packet *p, __u32 ifindex, enum event_flag flag, __u64 word, __u32 rule)
{
	report_where(p->skb, (__u64)ifindex << 32 | p->vrf, flag, word, rule);
}

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
