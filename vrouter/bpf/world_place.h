// SPDX-License-Identifier: Apache-2.0
// The part of world.h that is about places of conversations.
#pragma once

#include "world.h"

enum placement { PLACE_HELD, PLACE_TAKEN, PLACE_NONE, PLACE_NO_ROOM };

static __always_inline struct place_count *place_count(const struct notes *n)
{
	struct place_owner owner = { .ifindex = n->place.connection.ifindex, .port = n->place.port };
	return bpf_map_lookup_elem(&place_counts, &owner);
}

// How many places are taken. What the agent gives back is a number of its own, so
// that nobody writes what others count.
static __always_inline __s32 places_taken(const struct notes *n, const struct place_count *c)
{
	struct place_owner owner = { .ifindex = n->place.connection.ifindex, .port = n->place.port };
	__u32 *returned = bpf_map_lookup_elem(&places_returned, &owner);
	__u32 left = *(volatile __u32 *)&c->left; // first: more may be left when the other is read, which counts one too many
	return *(volatile __u32 *)&c->taken - left - (returned ? *(volatile __u32 *)returned : 0);
}

#if defined(WEFT_TRACE) && !defined(WEFT_REHEARSAL)

static __always_inline enum placement world_take_place(struct notes *n, __u32 limit, bool begins)
{
	if (!begins || bpf_map_lookup_elem(&places, &n->place))
		return PLACE_HELD;
	struct place_count *c = place_count(n);
	return c && places_taken(n, c) >= (__s32)limit ? PLACE_NONE : PLACE_HELD;
}

static __always_inline void world_leave_place(__u32 end, __u32 port)
{
}

#else /* the product, and the rehearsal */

// Deleting succeeds once, whoever else tries.
static __always_inline void delete_place(struct notes *n)
{
	if (bpf_map_delete_elem(&places, &n->place))
		return;
	struct place_count *c = place_count(n);
	if (c)
		__sync_fetch_and_add(&c->left, 1);
}

// Not static: the verifier looks at it once, and not at each call.
__noinline __attribute__((unused)) int world_leave_place(__u32 end, __u32 port)
{
	struct notes *n = notes();
	if (!n)
		return 0;
	end &= 1;
	barrier_var(end);
	n->place.connection = n->keys[end];
	n->place.port = port;
	delete_place(n);
	return 0;
}

// The entry is there before it is counted, and counted before the count is read: of
// several that come at once each sees those that will stay.
static __always_inline enum placement world_take_place(struct notes *n, __u32 limit, bool begins)
{
	__u32 now = n->now;
	__u32 *seen = bpf_map_lookup_elem(&places, &n->place);
	if (seen) {
		*seen = now;
		return PLACE_HELD;
	}
	struct place_count *c = place_count(n);
	if (!c) {
		struct place_owner owner = { .ifindex = n->place.connection.ifindex, .port = n->place.port };
		struct place_count zero = {};
		bpf_map_update_elem(&place_counts, &owner, &zero, BPF_NOEXIST);
		c = place_count(n);
	}
	if (!c)
		return PLACE_NO_ROOM;
	if (bpf_map_update_elem(&places, &n->place, &now, BPF_NOEXIST)) // the same came elsewhere meanwhile, or there is no room
		return !begins || bpf_map_lookup_elem(&places, &n->place) ? PLACE_HELD : PLACE_NO_ROOM;
	__sync_fetch_and_add(&c->taken, 1);
	if (!begins || places_taken(n, c) <= (__s32)limit)
		return PLACE_TAKEN;
	delete_place(n);
	return PLACE_NONE;
}

#endif
