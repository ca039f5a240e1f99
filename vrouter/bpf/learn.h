// SPDX-License-Identifier: Apache-2.0
// Which MAC is where: those of ports from the control plane, those behind
// ports that learn from the frames that they send.
#pragma once

#include "lookup.h"
#include "world_bridge.h"

static __always_inline struct mac_key mac_key_of(__u32 vrf, const struct mac *mac)
{
	return (struct mac_key){ .vrf = vrf, .mac = *mac };
}

// The next hop of an entry of macs or receivers.
static __always_inline struct next_hop_value *hop_of_word(__u32 vrf, const __u64 *word)
{
	__u64 w = *(volatile __u64 *)word;
	__u32 id = w;
	if (w >> 32 != vrf)
		return 0;
	return bpf_map_lookup_elem(&next_hops, &id);
}

static __always_inline __u32 learning_tick(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}

// Whether it may be the MAC of one station that is not the gateway.
static __always_inline bool station(const struct mac *mac)
{
	struct config_value *c = configuration();
	__u8 any = 0;
#pragma unroll
	for (int i = 0; i < 6; i++)
		any |= mac->byte[i];
	return any && !(mac->byte[0] & 1) && c && !mac_equal(mac, &c->gateway);
}

static __always_inline bool same_place(const struct learned_mac_value *a, const struct learned_mac_value *b)
{
	if (a->at.kind != b->at.kind)
		return false;
	if (a->at.kind == NEXT_HOP_PORT)
		return a->at.ifindex == b->at.ifindex && a->port == b->port;
	return a->at.vni == b->at.vni && a->at.family == b->at.family && address_equal(&a->at.remote, &b->at.remote);
}

static __always_inline struct mac_count_key count_key_of(__u32 vrf, const struct learned_mac_value *v, __u32 tunnel)
{
	return (struct mac_count_key){ .vrf = vrf, .ifindex = v->at.kind == NEXT_HOP_PORT ? v->at.ifindex : tunnel };
}

static __always_inline __u32 mac_count(const struct mac_count_key *key)
{
	__u32 *count = bpf_map_lookup_elem(&mac_counts, key);
	return count ? *count : 0;
}

// Follows a move unless there were too many, and says when the counting began.
static __always_inline bool may_move(const struct learned_mac_value *old, struct learned_mac_value *fresh)
{
	if (fresh->seen - old->moved >= MOVE_TICKS) {
		fresh->moved = fresh->seen;
		fresh->moves = 1;
		return true;
	}
	fresh->moved = old->moved;
	fresh->moves = old->moves + 1;
	return old->moves < MOVES;
}

static __always_inline struct mac_count_key all_macs_of(__u32 vrf)
{
	return (struct mac_count_key){ .vrf = vrf, .ifindex = ALL_MACS };
}

// Whether the table has room for one more of the network: one that learns much
// leaves as many places to the others as it has itself.
static __always_inline enum reason refuse_more(__u32 vrf)
{
	struct mac_count_key key = all_macs_of(0); // one for both: stack is short where this is called
	__u32 left = mac_count(&key);
	if ((__s32)left <= 0) // below: two took the last place at the same moment
		return REASON_MAC_TABLE_FULL;
	key.vrf = vrf;
	return mac_count(&key) < left ? REASON_NONE : REASON_MAC_SHARE;
}

static __always_inline void count_one_more(__u32 vrf)
{
	struct mac_count_key key = all_macs_of(vrf);
	world_count_mac(&key, 1);
	key.vrf = 0;
	world_count_mac(&key, -1);
}

// Notes that the frame's source MAC, which no port has, is where the frame came from.
static __noinline enum reason learn(const struct packet *p, struct learned_mac_value *fresh, __u32 limit)
{
	struct mac_key key = mac_key_of(p->vrf, &p->ethernet.source);
	struct config_value *c = configuration();
	__u32 tunnel = c ? c->tunnel_ifindex : 0;
	fresh->seen = learning_tick();
	fresh->vrf = p->vrf;
	fresh->moved = fresh->seen - MOVE_TICKS;
	fresh->moves = 0;
	struct mac_count_key count = count_key_of(p->vrf, fresh, tunnel);
	__u32 before = 0; // the interface in place of which it comes
	struct learned_mac_value *old = bpf_map_lookup_elem(&learned_macs, &key);
	if (old && same_place(old, fresh)) {
		if (old->seen != fresh->seen)
			world_hear_mac(old, fresh->seen);
		return REASON_NONE;
	}
	if (old) {
		if (!may_move(old, fresh))
			return REASON_MAC_MOVING;
		before = count_key_of(p->vrf, old, tunnel).ifindex;
	}
	bool elsewhere = !old || before != count.ifindex;
	if (elsewhere && mac_count(&count) >= limit)
		return REASON_MAC_LIMIT;
	enum reason refusal = old ? REASON_NONE : refuse_more(p->vrf);
	if (refusal)
		return refusal;
	if (world_learn_mac(&key, fresh))
		return REASON_MAC_TABLE_FULL;
	if (elsewhere) {
		world_count_mac(&count, 1);
		count.ifindex = before;
		if (old)
			world_count_mac(&count, -1);
		else
			count_one_more(p->vrf);
	}
	return REASON_NONE;
}

// Whether somebody in the network is known to have the frame's destination.
static __noinline __attribute__((unused)) bool mac_known(const struct packet *p)
{
	struct mac_key key = mac_key_of(p->vrf, &p->ethernet.destination);
	return bpf_map_lookup_elem(&macs, &key) || bpf_map_lookup_elem(&learned_macs, &key);
}

// Of a frame that a port sent with a MAC other than its own.
static __noinline int learn_source(struct packet *p)
{
	struct mac_key key = mac_key_of(p->vrf, &p->ethernet.source);
	if (!p->from || !station(&p->ethernet.source))
		return end(p, REASON_SPOOFED_MAC);
	__u64 *known = bpf_map_lookup_elem(&macs, &key);
	if (known) {
		struct next_hop_value *at = hop_of_word(p->vrf, known);
		if (!at || at->kind != NEXT_HOP_PORT || at->ifindex != p->ifindex)
			return end(p, REASON_SPOOFED_MAC);
		return NEXT;
	}
	if (!p->from->mac_limit)
		return NEXT;
	struct learned_mac_value *fresh = &p->notes->learned;
	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->at.kind = NEXT_HOP_PORT;
	fresh->at.ifindex = p->ifindex;
	fresh->port = p->from->port;
	switch (learn(p, fresh, p->from->mac_limit)) {
	case REASON_NONE:
		return NEXT;
	case REASON_MAC_MOVING:
		return end(p, REASON_MAC_MOVING);
	case REASON_MAC_LIMIT:
		return end(p, REASON_MAC_LIMIT);
	case REASON_MAC_SHARE:
		return end(p, REASON_MAC_SHARE);
	default:
		return end(p, REASON_MAC_TABLE_FULL);
	}
}
