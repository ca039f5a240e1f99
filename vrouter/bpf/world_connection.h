// SPDX-License-Identifier: Apache-2.0
// The part of world.h that packets leave behind: connections and fragments.
#pragma once

#include "tables_events.h"

#if defined(WEFT_TRACE) && !defined(WEFT_REHEARSAL)

static __always_inline void world_open_connection(struct packet *p, __u32 end)
{
}

static __always_inline void world_lead_connection(const struct packet *p, struct connection_value *c, __u64 way)
{
}

static __always_inline void world_touch_connection(struct connection_value *c, __u32 now, __u8 state)
{
}

static __always_inline void world_tell_connection(struct connection_value *c, __u64 when)
{
}

static __always_inline void world_expect(struct connection_value *c, __u16 expects)
{
}

static __always_inline void world_begin_anew(__u32 slot)
{
}

static __always_inline void world_unmap(struct connection_value *c)
{
}

static __always_inline void world_map(struct connection_value *c, __u64 number, __be16 itself)
{
}

static __always_inline void world_make_room(struct packet *p)
{
}

static __always_inline void world_remember_client(const struct affinity_key *key, const struct affinity_value *member)
{
}

static __always_inline void world_pass_connection(struct connection_value *c, __u64 numbers, __u32 rule)
{
}

static __always_inline void world_hit(__u32 rule)
{
}

static __always_inline void world_confirm_connection(struct packet *p, __u32 end, const struct connection_value *c)
{
}

static __always_inline void world_note_fragment(struct packet *p, const struct fragment_value *first)
{
}

static __always_inline void world_scatter(struct packet *p)
{
}

static __always_inline bool world_counts(void)
{
	return false;
}

static __always_inline void world_count_packet(struct connection_count *n, __u32 bytes)
{
}

#else /* the product, and the rehearsal, whose packets are to find what those before them left */

#include "world_half_open.h"

static __always_inline bool world_counts(void)
{
	return event_control.flags & EVENT_COUNTS;
}

static __always_inline void world_count_packet(struct connection_count *n, __u32 bytes)
{
	__sync_fetch_and_add(&n->packets, 1);
	__sync_fetch_and_add(&n->bytes, bytes);
}

static __noinline __attribute__((unused)) void world_open_connection(struct packet *p, __u32 end)
{
	if (open_in_share(end))
		return;
	if (bpf_map_update_elem(&half_open_rest, &p->notes->keys[end & 1], &p->notes->fresh, BPF_ANY))
		world_count_untracked(p->from);
}

// The word is written last: whoever finds it right finds the rest.
static __always_inline void world_lead_connection(const struct packet *p, struct connection_value *c, __u64 way)
{
	c->mtu = short_mtu(&p->notes->route);
	c->flags = p->notes->route.flags;
	c->mac = p->notes->route.mac;
	c->port_generation = p->notes->port_generation;
	c->told = 0; // of another end, perhaps
	*(volatile __u64 *)&c->way = way;
}

// Concurrent packets may undo each other's bit; the next ones set it again.
static __always_inline void world_touch_connection(struct connection_value *c, __u32 now, __u8 state)
{
	c->seen = now;
	c->state = state;
}

static __always_inline void world_tell_connection(struct connection_value *c, __u64 when)
{
	*(volatile __u64 *)&c->told = when;
}

static __always_inline void world_expect(struct connection_value *c, __u16 expects)
{
	c->expects = expects;
}

// What begins anew is not of the mapping that the former conversation went through.
static __always_inline void world_unmap(struct connection_value *c)
{
	c->mapping = 0;
	c->itself = 0;
}

// The conversation leaves through a mapping from now on.
static __always_inline void world_map(struct connection_value *c, __u64 number, __be16 itself)
{
	c->itself = itself;
	c->mapping = number;
	c->flags |= ROUTE_UNLED; // also if the frame was from another MAC, and led nowhere
}

static __always_inline void world_remember_client(const struct affinity_key *key, const struct affinity_value *member)
{
	bpf_map_update_elem(&affinities, key, member, BPF_ANY);
}

static __always_inline void world_begin_anew(__u32 slot)
{
	__u32 *count = bpf_map_lookup_elem(&generations, &slot);
	if (count)
		__sync_fetch_and_add(count, 1);
}

// The numbers are one word, so that both are of one moment.
static __always_inline void world_pass_connection(struct connection_value *c, __u64 numbers, __u32 rule)
{
	c->rule = rule;
	*(volatile __u64 *)&c->passed = numbers;
}

static __noinline __attribute__((unused)) void world_hit(__u32 rule)
{
	__u64 zero = 0;
	__u64 *hits = bpf_map_lookup_elem(&rule_hits, &rule);
	if (!hits) {
		bpf_map_update_elem(&rule_hits, &rule, &zero, BPF_NOEXIST);
		hits = bpf_map_lookup_elem(&rule_hits, &rule);
	}
	if (!hits) { // no room: this one is always there
		rule = ANY_RULE;
		hits = bpf_map_lookup_elem(&rule_hits, &rule);
	}
	if (hits)
		++*hits;
}

static __noinline __attribute__((unused)) void world_confirm_connection(struct packet *p, __u32 end, const struct connection_value *c)
{
	p->notes->fresh = *c;
	if (bpf_map_update_elem(&connections, &p->notes->keys[end & 1], &p->notes->fresh, BPF_ANY))
		world_count_untracked(p->from);
	else
		leave_half_open(end);
}

static __noinline __attribute__((unused)) void world_note_fragment(struct packet *p, const struct fragment_value *first)
{
	bpf_map_update_elem(&fragments, &p->notes->fragment_key, first, BPF_ANY); // an eviction loses the ports, not the packet
}

// Removes what the receiver's end knew of another conversation, which is over, under
// the key of a mapped one. Others may remember that they told it.
static __noinline __attribute__((unused)) void world_make_room(struct packet *p)
{
	struct notes *n = p->notes;
	__u32 slot = 2 * GENERATION_SLOTS + n->keys[DIRECTION_IN].ifindex % GENERATION_SLOTS;
	if (!bpf_map_delete_elem(&connections, &n->keys[DIRECTION_IN]) || bpf_map_lookup_elem(&half_open, &n->keys[DIRECTION_IN]) ||
	    bpf_map_lookup_elem(&half_open_rest, &n->keys[DIRECTION_IN]))
		world_begin_anew(slot);
	leave_half_open(DIRECTION_IN);
}

#ifdef WEFT_REHEARSAL
// Makes a repeated test run, whose frame is always the same, meet entries that
// no cache holds.
static __always_inline void world_scatter(struct packet *p)
{
	__u32 zero = 0;
	struct trace_arguments *a = bpf_map_lookup_elem(&trace_in, &zero);
	if (!a || !a->flows)
		return;
	__u32 flow = a->next_flow ? a->next_flow++ : 1 + bpf_get_prandom_u32() % a->flows;
	p->notes->source_port = a->answers ? flow >> 16 : flow;
	p->notes->destination_port = a->answers ? flow : flow >> 16;
}
#else
static __always_inline void world_scatter(struct packet *p)
{
}
#endif

#endif
