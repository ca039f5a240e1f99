// SPDX-License-Identifier: Apache-2.0
// The part of world_connection.h about the share that each port has of half_open.
#pragma once

#include "packet.h"

static __always_inline struct place_owner owner_of(const struct notes *n, __u32 end)
{
	return (struct place_owner){ .ifindex = n->keys[end].ifindex, .port = n->fresh.port };
}

static __always_inline struct place_count *half_open_count(const struct place_owner *owner)
{
	struct place_count *c = bpf_map_lookup_elem(&half_open_counts, owner);
	if (c)
		return c;
	struct place_count zero = {};
	bpf_map_update_elem(&half_open_counts, owner, &zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(&half_open_counts, owner);
}

// These two are not static: the verifier looks at them once, and not at each call.

// Notes a new entry in its port's share, if that has room. Several processors may
// exceed it by one each, which the next ones make up for.
__noinline __attribute__((unused)) int open_in_share(__u32 end)
{
	struct notes *n = notes();
	__u32 zero = 0;
	if (!n)
		return 0;
	end &= 1;
	barrier_var(end);
	struct place_owner owner = owner_of(n, end);
	__u32 *share = bpf_map_lookup_elem(&half_open_share, &zero);
	struct place_count *c = half_open_count(&owner);
	if (!share || !c)
		return 0;
	__u32 *returned = bpf_map_lookup_elem(&half_open_returned, &owner);
	__s32 taken = c->taken - c->left - (returned ? *returned : 0);
	if (taken >= (__s32)*share)
		return 0;
	if (!bpf_map_update_elem(&half_open, &n->keys[end], &n->fresh, BPF_NOEXIST)) {
		__sync_fetch_and_add(&c->taken, 1);
		return 1;
	}
	struct connection_value *there = bpf_map_lookup_elem(&half_open, &n->keys[end]);
	return there && there->port == n->fresh.port; // noted by another processor meanwhile
}

// Removes the entry of a connection that is proven. What is in no share is in the rest.
__noinline __attribute__((unused)) int leave_half_open(__u32 end)
{
	struct notes *n = notes();
	if (!n)
		return 0;
	end &= 1;
	barrier_var(end);
	struct connection_value *there = bpf_map_lookup_elem(&half_open, &n->keys[end]);
	if (!there || there->port != n->fresh.port) { // that of a former port stays for the agent
		bpf_map_delete_elem(&half_open_rest, &n->keys[end]);
		return 0;
	}
	if (bpf_map_delete_elem(&half_open, &n->keys[end]))
		return 0; // another processor was faster
	struct place_owner owner = owner_of(n, end);
	struct place_count *c = half_open_count(&owner);
	if (c)
		__sync_fetch_and_add(&c->left, 1);
	return 0;
}
