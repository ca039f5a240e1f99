// SPDX-License-Identifier: Apache-2.0
// The part of world.h that only frames need that go by their MAC.
#pragma once

#include "tables_frames.h"
#include "world.h"

#ifdef WEFT_TRACE

struct trace_copy {
	__u32 redirect;
	__u32 vlan; // of the tag it leaves with, 0 = none
	__u32 has_tunnel_key;
	struct tunnel_key tunnel_key;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOOD_RECEIVERS);
	__type(key, __u32);
	__type(value, struct trace_copy);
} trace_copies SEC(".maps");

// Copies of a flooded frame, each with what it leaves through.
static __always_inline int world_copy(struct __sk_buff *skb, __u32 ifindex, __u16 vlan, const struct tunnel_key *key)
{
	struct trace_record *r = record();
	__u32 number = r ? r->copies : 0;
	struct trace_copy *copy = bpf_map_lookup_elem(&trace_copies, &number);
	if (!r || !copy)
		return -1;
	r->copies = number + 1;
	copy->redirect = ifindex;
	copy->vlan = vlan;
	copy->has_tunnel_key = key != 0;
	if (key)
		copy->tunnel_key = *key;
	return 0;
}

static __always_inline bool world_use_flood(__u32 ifindex, __u64 until)
{
	return true;
}

#else /* the product */

static __always_inline bool world_use_flood(__u32 ifindex, __u64 until)
{
	return !bpf_map_update_elem(&flood_times, &ifindex, &until, BPF_ANY);
}

static __always_inline int world_copy(struct __sk_buff *skb, __u32 ifindex, __u16 vlan, const struct tunnel_key *key)
{
	if (key && world_set_tunnel_key(skb, key))
		return -1;
	if (vlan && bpf_skb_vlan_push(skb, bpf_htons(ETHERTYPE_VLAN), vlan))
		return -1;
	int failed = bpf_clone_redirect(skb, ifindex, 0);
	if (vlan)
		bpf_skb_vlan_pop(skb); // the next copy is another's
	return failed;
}

#endif

#if defined(WEFT_TRACE) && !defined(WEFT_REHEARSAL)

static __always_inline int world_learn_mac(const struct mac_key *key, const struct learned_mac_value *value)
{
	return 0;
}

static __always_inline void world_hear_mac(struct learned_mac_value *value, __u32 now)
{
}

static __always_inline void world_count_mac(const struct mac_count_key *key, int more)
{
}

#else /* the product, and the rehearsal, whose frames are to find what those before them taught */

static __always_inline int world_learn_mac(const struct mac_key *key, const struct learned_mac_value *value)
{
	return bpf_map_update_elem(&learned_macs, key, value, BPF_ANY);
}

static __always_inline void world_hear_mac(struct learned_mac_value *value, __u32 now)
{
	value->seen = now;
}

// The agent counts anew from time to time, so a count that found no room is
// only late.
static __always_inline void world_count_mac(const struct mac_count_key *key, int more)
{
	__u32 zero = 0;
	__u32 *count = bpf_map_lookup_elem(&mac_counts, key);
	if (!count) {
		bpf_map_update_elem(&mac_counts, key, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&mac_counts, key);
	}
	if (!count || (more < 0 && !*count))
		return;
	__sync_fetch_and_add(count, more);
}

#endif
