// SPDX-License-Identifier: Apache-2.0
// Stage map: what a workload has, and what its network sees. See doc/packet-path.md.
#pragma once

#include "inward.h"
#include "outward.h"
#include "route.h"
#include "service.h"

// Who a workload that calls itself sees: 169.254.64.1, fd77:6566:7400::1.
static __always_inline struct address hairpin_remote(enum family family)
{
	if (family == FAMILY_4)
		return (struct address){ { bpf_htonl(0xa9fe4001), 0, 0, 0 } };
	return (struct address){ { bpf_htonl(0xfd776566), bpf_htonl(0x74000000), 0, bpf_htonl(1) } };
}

enum candidate {
	CANDIDATE_NONE, // all are taken
	CANDIDATE_FREE,
	CANDIDATE_OURS, // the conversation's own
};

static __always_inline __u32 hash_of_client(const struct mapped *m)
{
	__u32 h = 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = (h ^ bpf_ntohl(m->client.word[i])) * HASH_PRIME;
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = (h ^ bpf_ntohl(m->external[DIRECTION_IN].word[i])) * HASH_PRIME;
	return (h ^ ((__u32)bpf_ntohs(m->client_port) << 16 | bpf_ntohs(m->external_port[DIRECTION_IN]))) * HASH_PRIME;
}

// Finds the port that the client of a mapped conversation has towards the workload,
// and leaves it in the key of the receiver's end. A global function: the verifier
// looks at it once. port is the id of the workload's.
__noinline int find_candidate(__u32 port)
{
	struct notes *n = notes();
	if (!n)
		return CANDIDATE_NONE;
	struct mapped *m = &n->map;
	struct connection_key *key = &n->keys[DIRECTION_IN];
	__be16 free = 0;
	int found = CANDIDATE_NONE;
	__u32 h = 0;
#pragma unroll
	for (__u32 i = 0; i < PORT_CANDIDATES; i++) {
		key->remote_port = m->client_port;
		if (i == 1)
			h = hash_of_client(m);
		if (i) {
			h = (h ^ i) * HASH_PRIME;
			key->remote_port = bpf_htons(FIRST_CANDIDATE + (h >> 17));
		}
		struct connection_value *c = entry_of(n, port, DIRECTION_IN);
		if (c && c->mapping == m->number && c->itself == m->client_port)
			return CANDIDATE_OURS;
		if (!found && (!c || closed(c->state))) {
			found = CANDIDATE_FREE;
			free = key->remote_port;
		}
		if (key->protocol != PROTOCOL_TCP && key->protocol != PROTOCOL_UDP)
			break;
	}
	key->remote_port = free;
	return found;
}

// Lets the receiver's mapping begin with the frame as it was sent, unless it has left
// through another one.
static __always_inline void take_sent(struct packet *p)
{
	struct notes *n = p->notes;
	struct mapped *m = &n->map;
	if (m->translates)
		return;
	m->source = p->source;
	m->destination = p->destination;
	m->source_port = n->source_port;
	m->destination_port = n->destination_port;
}

// Whether the frame is an error about what the workload sent, which is in quoted then.
static __always_inline bool quotes(struct packet *p)
{
	struct notes *n = p->notes;
	if (n->tuple)
		return false;
	if (n->map.quotes)
		return true;
	if (!find_subject(p))
		return false;
	n->map.quoted = n->subject;
	return true;
}

// Writes down the ends of the conversation as the mapping has them. Returns whether its
// workload calls itself through it.
static __always_inline void take_mapping(struct notes *n, const struct mapping_value *to, bool error)
{
	struct mapped *m = &n->map;
	struct connection_key *key = &n->keys[DIRECTION_IN], *q = &m->quoted;
	__be16 port = error ? q->local_port : m->destination_port; // of a floating address: any
	bool floats = !to->protocol;
	m->external[DIRECTION_IN] = to->external;
	m->external_port[DIRECTION_IN] = floats ? port : to->external_port;
	m->vrf[DIRECTION_IN] = to->vrf;
	m->client = error ? q->remote : m->source;
	m->client_port = error ? q->remote_port : m->source_port;
	*key = (struct connection_key){ .ifindex = to->ifindex, .protocol = to->protocol, .family = q->family, .local_port = to->internal_port, .local = to->internal };
	if (floats) {
		key->protocol = error ? q->protocol : n->protocol;
		key->local_port = port;
	}
}

// What belongs to no connection is translated by its addresses, if to a floating one.
static __always_inline int map_unnoted(struct packet *p, const struct mapping_value *to)
{
	struct mapped *m = &p->notes->map;
	if (to->protocol || p->notes->later)
		return end(p, REASON_MAPPING_FRAGMENT);
	if (icmp_error(p))
		return end(p, REASON_NO_MAPPING);
	m->translates = true;
	m->destination = to->internal;
	m->number = 0; // it is noted nowhere
	return NEXT;
}

// Finds what the workload behind a mapping is to see of the frame: its number is in
// the notes.
static __noinline int map_inward(struct packet *p)
{
	struct notes *n = p->notes;
	struct mapped *m = &n->map;
	struct mapping_value *to = bpf_map_lookup_elem(&mappings, &m->number);
	if (!to)
		return end(p, REASON_NO_MAPPING);
	__u32 ifindex = to->ifindex;
	struct port_value *port = bpf_map_lookup_elem(&ports, &ifindex);
	if (port && port->flags & PORT_FRAMES)
		return end(p, REASON_NO_MAPPING);
	struct address hairpin = hairpin_remote(p->family);
	take_sent(p);
	m->self = p->from && p->ifindex == ifindex;
	bool itself = m->self && to->protocol; // else it went outward first
	if (itself != address_equal(&m->source, itself ? &to->internal : &hairpin))
		return end(p, REASON_HAIRPIN_SOURCE);
	bool error = quotes(p);
	m->quoted.family = p->family;
	take_mapping(n, to, error);
	if (!error && !n->tuple)
		return map_unnoted(p, to);
	if (error && !itself && address_equal(&m->client, &hairpin))
		return end(p, REASON_HAIRPIN_SOURCE);
	struct connection_key *key = &n->keys[DIRECTION_IN];
	if (itself)
		m->source = hairpin;
	key->remote = error && !itself ? m->client : m->source;
	int found = find_candidate(port ? port->port : 0);
	if (error && found != CANDIDATE_OURS)
		return end(p, REASON_NO_MAPPING);
	if (!found)
		return end(p, REASON_MAPPING_EXHAUSTED);
	m->translates = true;
	m->destination = to->internal;
	if (error) { // what the workload is to see of it
		m->quotes = true;
		m->quoted = *key;
		m->number = 0; // it is noted nowhere
		return NEXT;
	}
	m->itself = m->source_port;
	m->source_port = key->remote_port;
	m->destination_port = key->local_port;
	return NEXT;
}

// Finds what the other end is to see of a frame that leaves through a mapping.
static __noinline int map_outward(struct packet *p)
{
	struct notes *n = p->notes;
	struct mapped *m = &n->map;
	const struct connection_value *c = conversation_of(p);
	if (!c)
		return end(p, REASON_NO_MAPPING);
	__u64 number = c->mapping;
	__be16 itself = c->itself;
	struct mapping_value *of = bpf_map_lookup_elem(&mappings, &number);
	if (!of)
		return end(p, REASON_NO_MAPPING);
	struct address client = n->keys[DIRECTION_OUT].remote, hairpin = hairpin_remote(p->family);
	m->self = address_equal(&client, &hairpin);
	if (m->self)
		client = of->internal;
	m->translates = true;
	m->vrf[DIRECTION_OUT] = of->vrf;
	m->external[DIRECTION_OUT] = of->external;
	m->external_port[DIRECTION_OUT] = of->protocol ? of->external_port : n->keys[DIRECTION_OUT].local_port; // of a floating address: any
	m->source = of->external;
	m->destination = client;
	if (n->tuple) {
		m->source_port = m->external_port[DIRECTION_OUT];
		m->destination_port = itself;
		return NEXT;
	}
	struct connection_key *q = &m->quoted;
	m->quotes = true;
	*q = n->subject;
	q->local = client;
	q->local_port = itself;
	q->remote = of->external;
	q->remote_port = m->external_port[DIRECTION_OUT];
	return NEXT;
}

// Lets the packet in hand be what its receiver has, and the other way round.
static __always_inline void exchange_ends(struct packet *p)
{
	struct notes *n = p->notes;
	struct mapped *m = &n->map;
	struct address source = p->source, destination = p->destination;
	__be16 source_port = n->source_port, destination_port = n->destination_port;
	p->source = m->source;
	p->destination = m->destination;
	n->source_port = m->source_port;
	n->destination_port = m->destination_port;
	m->source = source;
	m->destination = destination;
	m->source_port = source_port;
	m->destination_port = destination_port;
}

// The next hop of the route: a copy, so that the verifier knows one kind of them.
static __always_inline void take_hop(struct packet *p)
{
	struct notes *n = p->notes;
	struct next_hop_value *next = next_hop_of(&n->route);
	p->next = 0;
	if (!next)
		return;
	n->hop = *next;
	p->next = &n->hop;
}

// Whether the underlay has the external address in the network of the mapping.
static __noinline bool leads_to_balancer(struct packet *p)
{
	const struct mapped *m = &p->notes->map;
	struct route_value *back = route_of(UNDERLAY_VRF, p->family, &m->external[DIRECTION_OUT]);
	struct next_hop_value *next = back ? next_hop_of(back) : 0;
	return next && next->kind == NEXT_HOP_BALANCER && next->vni == m->vrf[DIRECTION_OUT];
}

// The route of a frame that leaves through a mapping, in the external VRF.
static __noinline int route_outward(struct packet *p)
{
	struct notes *n = p->notes;
	__u32 vrf = n->map.vrf[DIRECTION_OUT];
	n->vrf_generation = vrf_generation(vrf);
	n->numbers[DIRECTION_OUT] = (__u64)n->vrf_generation << 32 | n->port_generation;
	world_meet(STAGE_ROUTE);
	struct route_value *route = route_of(vrf, p->family, &n->map.destination);
	if (!route)
		return end(p, REASON_NO_ROUTE);
	if (route->flags & ROUTE_GAP)
		return end(p, REASON_ROUTE_LEFT_OUT);
	n->route = *route;
	take_hop(p);
	bool direct = !p->next || p->next->kind != NEXT_HOP_GROUP;
	if (!direct) {
		p->connection = n->tuple ? connection_of(p, p->from, DIRECTION_OUT) : 0; // keeps its member
		exchange_ends(p); // its hash is over the frame as it becomes
		int action = stage_group(p);
		exchange_ends(p);
		p->connection = 0;
		if (action != NEXT)
			return action;
		take_hop(p);
	}
	n->route.flags |= ROUTE_UNLED;
	if (!p->next)
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	switch (p->next->kind) {
	case NEXT_HOP_PORT:
	case NEXT_HOP_TUNNEL:
		return refuse_local(p);
	case NEXT_HOP_MAPPED:
		return direct ? NEXT : end(p, REASON_UNRESOLVED_NEXT_HOP);
	case NEXT_HOP_FABRIC:
		RUN(refuse_local(p));
		return leads_to_balancer(p) ? NEXT : end_refused(p, REASON_FABRIC_FOREIGN_SOURCE);
	case NEXT_HOP_DISCARD:
		return end(p, REASON_DISCARD_ROUTE);
	default:
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	}
}

// The way of a frame to the port that it came from.
static __always_inline int return_to_port(struct packet *p)
{
	struct notes *n = p->notes;
	n->hop = (struct next_hop_value){ .kind = NEXT_HOP_PORT, .ifindex = p->ifindex };
	n->route = (struct route_value){ .flags = ROUTE_UNLED, .mac = p->from->mac };
	p->next = &n->hop;
	return refuse_local(p);
}

// Whether the next hop of a member's port can take the frame.
static __always_inline int check_member_hop(struct packet *p)
{
	if (!p->next)
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	switch (p->next->kind) {
	case NEXT_HOP_PORT:
		return refuse_local(p);
	case NEXT_HOP_TUNNEL:
		return end(p, REASON_TUNNEL_TO_TUNNEL);
	case NEXT_HOP_FABRIC:
		return end(p, REASON_TUNNEL_TO_FABRIC);
	case NEXT_HOP_GATEWAY:
		return end(p, REASON_GATEWAY_FROM_TUNNEL);
	case NEXT_HOP_DISCARD:
		return end(p, REASON_DISCARD_ROUTE);
	default:
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	}
}
