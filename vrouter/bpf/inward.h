// SPDX-License-Identifier: Apache-2.0
// Part of stage map: whether a frame from a tunnel is for a member of a load-balancer.
#pragma once

#include "subject.h"

// The member that the frame names, if its port is on this host.
static __always_inline struct pool_member_value *member_named(struct packet *p)
{
	struct notes *n = p->notes;
	struct pool_member_key *key = &n->member_key;
	__builtin_memset(key, 0, sizeof(*key));
	key->listener.vrf = p->vrf;
	key->listener.family = p->family;
	key->listener.address = p->destination;
	key->mac = p->ethernet.destination;
	if (n->tuple) {
		key->listener.protocol = n->protocol;
		key->listener.port = n->destination_port;
	} else if (find_subject(p)) { // what is quoted was sent from there
		key->listener.protocol = n->subject.protocol;
		key->listener.port = n->subject.local_port;
	} else {
		return 0;
	}
	struct pool_member_value *m = bpf_map_lookup_elem(&pool_members, key);
	return m && m->mapping ? m : 0;
}

static __noinline __attribute__((unused)) bool for_member(struct packet *p)
{
	return member_named(p);
}
