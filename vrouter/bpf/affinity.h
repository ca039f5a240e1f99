// SPDX-License-Identifier: Apache-2.0
// Part of stage balance: clients that are remembered keep their member.
#pragma once

#include "subject.h"

static __always_inline struct affinity_key *set_affinity_key(struct packet *p)
{
	struct affinity_key *key = &p->notes->map.affinity;
	key->vrf = p->vrf;
	key->pad = 0;
	key->listener = p->notes->map.member.listener;
	key->client = p->source;
	return key;
}

// The member that the client was given last, if it can be chosen still.
static __always_inline struct pool_member_value *remembered_member(struct packet *p, __u32 ticks)
{
	struct notes *n = p->notes;
	struct affinity_value *a = bpf_map_lookup_elem(&affinities, set_affinity_key(p));
	if (!a || tick_now() - a->tick > ticks)
		return 0;
	n->map.member.mac = a->mac;
	struct pool_member_value *m = bpf_map_lookup_elem(&pool_members, &n->map.member);
	return m && m->chosen ? m : 0;
}

// Remembers the member that the client was given.
static __always_inline void remember_client(struct packet *p)
{
	struct notes *n = p->notes;
	if (!n->map.remembers || !n->tuple)
		return;
	struct affinity_value member = { .mac = n->map.member.mac, .tick = n->now };
	world_remember_client(set_affinity_key(p), &member);
}
