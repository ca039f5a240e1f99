// SPDX-License-Identifier: Apache-2.0
// Stage balance: which member of a load-balancer a frame to a virtual address
// goes to. See doc/packet-path.md.
#pragma once

#include "affinity.h"
#include "group.h"
#include "subject.h"

// What the sender's end has used, of the conversation that the frame belongs to or
// that the error in hand is about.
static __always_inline const struct connection_value *used(struct packet *p, bool *error)
{
	struct connection_value *c;
	*error = false;
	if (p->notes->tuple) {
		c = connection_of(p, p->from, DIRECTION_OUT);
		return c && !begins_anew(c->state, p, DIRECTION_OUT) ? c : 0;
	}
	if (!find_subject(p))
		return 0;
	set_connection_key(p, p->ifindex, DIRECTION_OUT);
	c = subject_connection(p, p->from, p->ifindex, DIRECTION_OUT);
	*error = c;
	return c;
}

static __always_inline bool balanced(__u8 protocol)
{
	return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == PROTOCOL_SCTP;
}

// The member with the MAC in the key.
static __always_inline struct pool_member_value *member_at(struct notes *n, const struct mac *mac)
{
	n->map.member.mac = *mac;
	return bpf_map_lookup_elem(&pool_members, &n->map.member);
}

// That of the bucket of the frame.
static __always_inline struct pool_member_value *member_of_bucket(struct packet *p, const struct listener_value *l)
{
	struct notes *n = p->notes;
	__u32 every = GROUP_SOURCE | GROUP_DESTINATION | GROUP_PROTOCOL | GROUP_SOURCE_PORT | GROUP_DESTINATION_PORT;
	__u32 h = flow_hash(p, l->flags & LISTENER_BY_SOURCE ? GROUP_SOURCE : every);
	__u32 bucket = (__u64)h * l->buckets >> 32;
	struct choice_key at = { .choice = l->choice, .page = bucket / CHOICE_PAGE };
	struct choice_value *page = bpf_map_lookup_elem(&choices, &at);
	if (!l->choice || !l->buckets || !page)
		return 0;
	struct choice_member_key key = { .choice = l->choice, .number = page->members[bucket % CHOICE_PAGE] };
	if (key.number == CHOICE_NONE)
		return 0;
	struct choice_member_value *chosen = bpf_map_lookup_elem(&choice_members, &key);
	return chosen ? member_at(n, &chosen->mac) : 0;
}

// Lets the member's next hop, MAC and MTU stand for the route's, which is that of the
// virtual address.
static __always_inline void take_member(struct packet *p, const struct pool_member_value *m, bool long_way)
{
	struct notes *n = p->notes;
	n->route.next_hop = m->next_hop;
	n->route.mtu = m->mtu;
	n->route.mac = n->map.member.mac;
	n->route.flags |= ROUTE_CHOSEN | (long_way ? ROUTE_UNLED : 0);
	n->map.chosen = true;
	n->map.number = m->mapping;
}

// Chooses the member that the frame goes to. Returns why there is none.
static __noinline enum reason choose_member(struct packet *p)
{
	struct notes *n = p->notes;
	struct listener_key *key = &n->map.member.listener;
	bool error;
	const struct connection_value *c = used(p, &error);
	if (n->later && !n->tuple)
		return REASON_LISTENER_FRAGMENT;
	key->vrf = p->next->vni;
	key->family = p->family;
	key->address = p->destination;
	key->protocol = error ? n->subject.protocol : n->protocol;
	key->port = error ? n->subject.local_port : n->destination_port;
	struct listener_value *l = bpf_map_lookup_elem(&listeners, key);
	if (!l || (!error && (!n->tuple || !balanced(n->protocol))))
		return REASON_NO_LISTENER;
	bool remembers = l->ticks;
	struct pool_member_value *m = 0;
	if (c && c->mac.byte[0] == MEMBER_MAC) { // also of an entry that came from another host, and has no way yet
		struct mac mac = c->mac;
		m = member_at(n, &mac);
	}
	if (!m && !error && remembers)
		m = remembered_member(p, l->ticks);
	if (!m && !error)
		m = member_of_bucket(p, l);
	if (!m)
		return REASON_NO_MEMBER;
	n->map.remembers = remembers && !error;
	take_member(p, m, remembers);
	return REASON_NONE;
}
