// SPDX-License-Identifier: Apache-2.0
// Part of stage balance: which member a frame goes to that came from the underlay or
// from this host itself, where no entry remembers what was chosen before.
#pragma once

#include "balance.h"

// That of the bucket of the conversation that the frame belongs to: of an error, of
// what the client sent in it.
static __noinline struct pool_member_value *member_reached(struct packet *p, const struct listener_value *l, bool error)
{
	struct notes *n = p->notes;
	if (!error)
		return member_of_bucket(p, l);
	struct address source = p->source;
	__u8 protocol = n->protocol;
	__be16 from = n->source_port, to = n->destination_port;
	p->source = n->subject.remote;
	n->protocol = n->subject.protocol;
	n->source_port = n->subject.remote_port;
	n->destination_port = n->subject.local_port;
	n->tuple = true;
	struct pool_member_value *m = member_of_bucket(p, l);
	p->source = source;
	n->protocol = protocol;
	n->source_port = from;
	n->destination_port = to;
	n->tuple = false;
	return m;
}

// Chooses the member that the frame goes to. Returns why there is none.
static __noinline enum reason choose_reached(struct packet *p)
{
	struct notes *n = p->notes;
	struct listener_key *key = &n->map.member.listener;
	bool error = !n->tuple && find_subject(p);
	if (n->later && !n->tuple)
		return REASON_LISTENER_FRAGMENT;
	key->vrf = p->vrf;
	key->family = p->family;
	key->address = p->destination;
	key->protocol = error ? n->subject.protocol : n->protocol;
	key->port = error ? n->subject.local_port : n->destination_port;
	struct listener_value *l = bpf_map_lookup_elem(&listeners, key);
	if (!l || (!error && (!n->tuple || !balanced(n->protocol))))
		return REASON_NO_LISTENER;
	struct pool_member_value *m = member_reached(p, l, error);
	if (!m)
		return REASON_NO_MEMBER;
	take_member(p, m, false);
	return REASON_NONE;
}
