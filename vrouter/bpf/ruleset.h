// SPDX-License-Identifier: Apache-2.0
// Part of stage policy: what rulesets say about a question in the notes. The
// functions that are not static are verified once, by themselves, and not
// again wherever they are called.
#pragma once

#include "event.h"
#include "lookup.h"

static __always_inline void better(struct policy_verdict *best, const struct policy_verdict *v)
{
	if (v->order && v->order < best->order)
		*best = *v;
}

// The class of a port, or of a source port.
static __always_inline __u32 service_class(struct notes *n, __u32 ruleset, const struct connection_key *of, __u16 port, __u16 bit)
{
	struct service_class_key *key = &n->service_key;
	key->ruleset = ruleset;
	key->family = of->family;
	key->protocol = of->protocol;
	key->page = port >> 8 | bit;
	struct service_class_value *v = bpf_map_lookup_elem(&service_classes, key);
	if (!v) {
		key->page = SERVICE_PAGE_OTHERS | bit;
		v = bpf_map_lookup_elem(&service_classes, key);
	}
	if (!v) {
		key->protocol = 0;
		v = bpf_map_lookup_elem(&service_classes, key);
	}
	if (!v)
		return 0;
	if (!v->page)
		return v->class;
	struct service_page_key *at = &n->page_key;
	at->ruleset = ruleset;
	at->page = v->page;
	struct service_page_value *page = bpf_map_lookup_elem(&service_pages, at);
	return page ? page->class[port & 0xff] : 0;
}

// The longer key begins like the shorter one. It is in the notes, for the stack
// is nearly used up here.
static __always_inline struct remote_class_value *range_class(struct notes *n, __u32 ruleset, __u32 flags, const struct connection_key *of)
{
	bool four = of->family == FAMILY_4;
	if (!(flags & (four ? RULESET_RANGES4 : RULESET_RANGES6)))
		return 0;
	struct remote_range6_key *key = &n->range_key;
	key->prefix_length = four ? 64 : 160;
	key->ruleset = ruleset;
	key->address = n->server.asked ? n->server.address : of->remote;
	return four ? bpf_map_lookup_elem(&remote_ranges4, key) : bpf_map_lookup_elem(&remote_ranges6, key);
}

static __always_inline void try_verdict(struct policy_verdict *best, const struct verdict_key *key)
{
	struct policy_verdict *v = bpf_map_lookup_elem(&verdicts, key);
	if (v)
		better(best, v);
}

static __always_inline void try_remote(struct notes *n, struct policy_verdict *best, __u32 remote)
{
	struct verdict_key *key = &n->verdict_key;
	key->remote = remote;
	key->service = n->service;
	key->source = 0;
	if (n->service)
		try_verdict(best, key);
	if (!n->source)
		return;
	key->source = n->source;
	if (n->service)
		try_verdict(best, key);
	key->service = 0;
	try_verdict(best, key);
}

// Finds the classes of a question, and the best of what is said of them and any
// service. What is found is left in the notes. Returns 0, or -1 if there is no
// such ruleset.
__noinline int find_classes(__u32 id, __u32 end, __u32 audit)
{
	struct notes *n = notes();
	struct ruleset_value *r = bpf_map_lookup_elem(&rulesets, &id);
	if (!n)
		return -1;
	end &= 1;
	barrier_var(end);
	struct question *q = &n->questions[end];
	if (!r) {
		q->rule = 0; // that of an earlier layer has passed it
		return -1;
	}
	const struct connection_key *of = &n->keys[end];
	struct policy_verdict *best = audit ? &n->audited : &n->found;
	__u64 identity = n->server.asked ? n->server.identity : q->identity;
	*best = identity == IDENTITY_NONE ? r->outside : r->identified;
	if (!audit)
		n->audit = r->audit;
	n->ruleset_flags = r->flags;
	n->named = n->ranged = n->service = n->source = 0;
	if (n->ruleset_flags & RULESET_IDENTITIES && identity != IDENTITY_NONE) {
		n->class_key = (struct remote_class_key){ .identity = identity, .ruleset = id };
		struct remote_class_value *v = bpf_map_lookup_elem(&remote_classes, &n->class_key);
		if (v) {
			n->named = v->class;
			better(best, &v->any);
		}
	}
	struct remote_class_value *range = range_class(n, id, n->ruleset_flags, of);
	if (range) {
		n->ranged = range->class;
		better(best, &range->any);
	}
	if (n->ruleset_flags & RULESET_SERVICES)
		n->service = service_class(n, id, of, q->about.port, 0);
	if (n->ruleset_flags & RULESET_SOURCE_PORTS)
		n->source = service_class(n, id, of, q->about.source_port, SERVICE_PAGE_SOURCE);
	return 0;
}

// Finds the best of what is said of the classes in the notes.
__noinline int find_verdict(__u32 id, __u32 audit)
{
	struct notes *n = notes();
	if (!n)
		return -1;
	struct policy_verdict *best = audit ? &n->audited : &n->found;
	n->verdict_key.ruleset = id;
	if (n->ruleset_flags & RULESET_ANYBODY)
		try_remote(n, best, 0);
	if (n->named)
		try_remote(n, best, n->named);
	if (n->ranged)
		try_remote(n, best, n->ranged);
	return 0;
}

static __always_inline int look_up(__u32 id, __u32 end, __u32 audit)
{
	return find_classes(id, end, audit) || find_verdict(id, audit);
}

// The prefix that the remote address has in tries of VRFs. Their longer key
// begins like the shorter one, and like that of ranges.
static __always_inline struct remote_range6_key *prefix_key(struct notes *n, __u32 vrf, __u8 family, const struct address *a)
{
	struct remote_range6_key *key = &n->range_key;
	key->prefix_length = family == FAMILY_4 ? 64 : 160;
	key->ruleset = vrf;
	key->address = *a;
	return key;
}

// As route_of, with its keys in the notes.
static __always_inline struct route_value *route_of_remote(struct notes *n, __u32 vrf, __u8 family, const struct address *a)
{
	struct host_route_key *exact = &n->host_key;
	exact->vrf = vrf;
	exact->family = family;
	exact->address = *a;
	struct route_value *route = bpf_map_lookup_elem(&host_routes, exact);
	if (route)
		return route;
	struct remote_range6_key *key = prefix_key(n, vrf, family, a);
	return family == FAMILY_4 ? bpf_map_lookup_elem(&routes4, key) : bpf_map_lookup_elem(&routes6, key);
}

static __always_inline bool managed(struct notes *n, __u32 vrf, __u8 family, const struct address *a)
{
	struct remote_range6_key *key = prefix_key(n, vrf, family, a);
	return family == FAMILY_4 ? bpf_map_lookup_elem(&managed4, key) : bpf_map_lookup_elem(&managed6, key);
}

// Whose an address is, by its route in a VRF if it has one.
static __always_inline __u64 identity_of(struct notes *n, const struct route_value *route, __u32 vrf, __u8 family, const struct address *a)
{
	__u64 identity = route ? route->identity : IDENTITY_NONE;
	return identity == IDENTITY_NONE && managed(n, vrf, family, a) ? IDENTITY_PENDING : identity;
}

// Finds whose the remote address is, as the end knows it, and whether it is virtual.
__noinline int find_identity(__u32 end)
{
	struct notes *n = notes();
	if (!n)
		return -1;
	end &= 1;
	barrier_var(end);
	struct question *q = &n->questions[end];
	const struct connection_key *of = &n->keys[end];
	struct route_value *route = route_of_remote(n, q->vrf, of->family, &of->remote);
	n->server.next_hop = route ? route->next_hop : 0;
	q->identity = identity_of(n, route, q->vrf, of->family, &of->remote);
	return 0;
}

// Finds whose the virtual address is that the end serves, which is of another network.
__noinline __attribute__((unused)) int find_external(__u32 end)
{
	struct notes *n = notes();
	if (!n)
		return -1;
	end &= 1;
	barrier_var(end);
	__u32 vrf = n->questions[end].vrf;
	__u8 family = n->keys[end].family;
	n->server.address = n->map.external[end];
	n->server.identity = identity_of(n, route_of_remote(n, vrf, family, &n->map.external[end]), vrf, family, &n->map.external[end]);
	return 0;
}

// Finds who serves the end, if the remote is a virtual address and the end began.
// Returns 0, or -1 if nobody does any more. Apart from find_identity, as little stack is left.
__noinline int find_server(__u32 end)
{
	struct notes *n = notes();
	if (!n)
		return -1;
	end &= 1;
	barrier_var(end);
	const struct question *q = &n->questions[end];
	const struct connection_key *of = &n->keys[end];
	n->server.known = n->server.asked = false;
	if ((TRANSLATES && q->mapped) || !n->server.next_hop || q->began.direction != DIRECTION_EGRESS)
		return 0;
	struct next_hop_value *next = bpf_map_lookup_elem(&next_hops, &n->server.next_hop);
	if (!next || next->kind != NEXT_HOP_BALANCER)
		return 0;
	struct pool_member_key *key = &n->member_key;
	__builtin_memset(key, 0, sizeof(*key));
	key->listener.vrf = next->vni;
	key->listener.family = of->family;
	key->listener.protocol = of->protocol;
	key->listener.port = of->remote_port;
	key->listener.address = of->remote;
	key->mac = q->member;
	struct pool_member_value *m = bpf_map_lookup_elem(&pool_members, key);
	if (!m)
		return world_answers() && q->first ? 0 : -1; // a trace of an answer to nobody does not know who gives it
	n->server.known = true;
	n->server.port = m->internal_port;
	n->server.address = m->internal;
	n->server.identity = m->identity;
	return 0;
}

// Counts the rules that decided in a layer, and notes those that are to be told.
static __always_inline void count_hits(struct notes *n, const struct question *q, __u32 layer, bool refused)
{
	if ((!q->first || n->former) && !refused)
		return;
	if (n->found.rule)
		world_hit(n->found.rule);
	if (n->found.flags & POLICY_VERDICT_LOG) {
		n->logged.has_rule |= 1 << layer;
		n->logged.rules[layer] = n->found.rule;
	}
	if (!n->audited.order || n->audited.order >= n->found.order || !n->audited.rule)
		return;
	world_hit(n->audited.rule);
	n->logged.has_audit |= 1 << layer;
	n->logged.audits[layer] = n->audited.rule;
}

// Asks the layer in the notes. Returns an action; what is not known is absent.
static __always_inline int ask_layer(struct notes *n, struct question *q, __u32 id, __u32 layer, __u32 end)
{
	n->audited.order = 0;
	if (look_up(id, end, 0))
		return ACTION_ABSENT;
	if (n->audit && look_up(n->audit, end, 1))
		return ACTION_ABSENT;
	__u8 action = n->found.action;
	bool refused = action != ACTION_PASS && action != ACTION_NEXT;
	if (!n->former || refused)
		q->rule = n->found.rule;
	world_answer(n, end);
	count_hits(n, q, layer, refused);
	return action == ACTION_NONE ? ACTION_ABSENT : action;
}

// As network-policies of who serves a virtual address see the conversation: in another
// network it is with that address; in its own the port is asked as that address would be.
static __always_inline void set_about_network(struct notes *n, struct question *q, const struct connection_key *of, __u32 end)
{
	n->server.asked = q->mapped == MAPPED_INTO;
	if (n->server.asked || of->protocol == PROTOCOL_ICMP || of->protocol == PROTOCOL_ICMPV6)
		return;
	if (q->about.direction == DIRECTION_EGRESS)
		q->about.source_port = bpf_ntohs(n->map.external_port[end]);
	else
		q->about.port = bpf_ntohs(n->map.external_port[end]);
}

// Notes what a layer is asked about: the packet itself, or that with which the
// conversation began; and of a virtual address about who serves. Returns the direction.
__noinline int set_about(__u32 end, __u32 layer)
{
	struct notes *n = notes();
	if (!n)
		return 0;
	end &= 1;
	barrier_var(end);
	struct question *q = &n->questions[end];
	q->about = n->stateless && layer == LAYER_SECURITY_GROUP ? q->own : q->began;
	if (TRANSLATES && q->mapped && layer == LAYER_NETWORK_POLICY) {
		set_about_network(n, q, &n->keys[end], end);
		return q->about.direction;
	}
	n->server.asked = n->server.known && layer != LAYER_NETWORK_POLICY;
	if (!n->server.asked)
		return q->about.direction;
	// The port of who serves stands for that of the virtual address.
	if (q->about.direction == DIRECTION_EGRESS)
		q->about.port = bpf_ntohs(n->server.port);
	else
		q->about.source_port = bpf_ntohs(n->server.port);
	return q->about.direction;
}

enum { ASK_FORMER = 2 }; // the former rulesets of an end

// Asks the layers of an end. Returns pass, or the action of the one that refuses.
__noinline int ask_end(__u32 end)
{
	struct notes *n = notes();
	if (!n)
		return ACTION_ABSENT;
	n->former = end & ASK_FORMER;
	end &= 1;
	barrier_var(end);
	struct question *q = &n->questions[end];
	const struct connection_key *of = &n->keys[end];
	__u32 ifindex = of->ifindex;
	struct port_policy *policy = bpf_map_lookup_elem(&port_policies, &ifindex);
	n->layer = LAYER_NONE;
	if (!n->former) {
		n->logged.has_rule = n->logged.has_audit = 0;
		q->rule = 0;
	}
	if (!policy)
		return ACTION_ABSENT;
	const __u32(*sets)[LAYER_COUNT] = n->former ? policy->former : policy->rulesets;
	__u32 stateless = n->former ? PORT_POLICY_FORMER_STATELESS : PORT_POLICY_STATELESS;
	n->strict = policy->flags & PORT_POLICY_STRICT;
	n->stateless = q->stateless && policy->flags & stateless;
	if (find_identity(end))
		return ACTION_ABSENT;
	if (find_server(end))
		return ACTION_GONE;
	if (TRANSLATES && q->mapped == MAPPED_INTO)
		find_external(end);
#pragma unroll
	for (__u32 layer = 0; layer < LAYER_COUNT; layer++) {
		if (q->passed && !(n->stateless && layer == LAYER_SECURITY_GROUP))
			continue;
		__u32 direction = set_about(end, layer) & 1;
		barrier_var(direction);
		__u32 id = direction ? sets[DIRECTION_INGRESS][layer] : sets[DIRECTION_EGRESS][layer];
		if (!id)
			continue;
		n->layer = layer;
		int action = ask_layer(n, q, id, layer, end);
		if (action == ACTION_PASS && layer >= LAYER_FIREWALL_ADMIN)
			return ACTION_PASS; // of the tiers the first that decides counts
		if (action != ACTION_PASS && action != ACTION_NEXT)
			return action;
	}
	return ACTION_PASS;
}
