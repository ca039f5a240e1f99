// SPDX-License-Identifier: Apache-2.0
// Part of stage map: what a port sends through a floating address that its
// conversation need not have yet. See doc/packet-path.md, floating.
#pragma once

#include "float.h"
#include "map.h"

// Finds the mapping in whose VRF the longest route is to the destination in the notes,
// 0 = in none is any. A global function: the verifier looks at it once.
__noinline __u64 longest_float(__u32 ifindex)
{
	struct notes *n = notes();
	if (!n)
		return 0;
	struct mapped *m = &n->map;
	struct float_key key = { .ifindex = ifindex, .family = m->family, .internal = m->source };
	struct float_value *f = bpf_map_lookup_elem(&floats, &key);
	if (!f)
		return 0;
	__u64 best = 0;
	__u32 longest = 0; // of the best, and one more
	for (__u32 i = 0; i < FLOATS; i++) {
		__u64 number = f->mappings[i];
		if (!number)
			break;
		struct mapping_value *of = bpf_map_lookup_elem(&mappings, &number);
		if (!of)
			continue;
		struct route_value *route = route_of(of->vrf, m->family, &m->destination);
		if (!route || route->flags & ROUTE_GAP || route->length < longest)
			continue;
		longest = route->length + 1;
		best = number;
	}
	return best;
}

// What the port sends to a floating address of its own goes outward first.
static __always_inline int float_to_itself(struct packet *p, __u64 number)
{
	struct mapping_value *to = bpf_map_lookup_elem(&mappings, &number);
	if (!to || to->ifindex != p->ifindex)
		return NEXT;
	if (!address_equal(&p->source, &to->internal))
		return end(p, REASON_HAIRPIN_SOURCE);
	if (icmp_error(p))
		return end(p, REASON_NO_MAPPING);
	p->notes->map.sends = number;
	return NEXT;
}

// Finds the mapping by which the frame leaves, or the floating address that it is for.
static __noinline int find_float(struct packet *p)
{
	struct notes *n = p->notes;
	struct mapped *m = &n->map;
	struct float_value *f = floats_of(p);
	p->next = &n->hop;
	if (f && f->alias && p->from->flags & PORT_ALIASES) {
		m->sends = f->alias;
		return NEXT;
	}
	struct route_value *route = route_of(p->vrf, p->family, &p->destination);
	if (!route || route->flags & ROUTE_GAP) {
		m->source = p->source;
		m->destination = p->destination;
		m->sends = f ? longest_float(p->ifindex) : 0;
		return m->sends ? NEXT : end(p, route ? REASON_ROUTE_LEFT_OUT : REASON_NO_ROUTE);
	}
	n->route = *route;
	take_hop(p);
	if (!p->next || p->next->kind != NEXT_HOP_MAPPED)
		return end(p, REASON_UNRESOLVED_NEXT_HOP); // it went at this very moment
	return float_to_itself(p, (__u64)p->next->mtu << 32 | p->next->vni);
}

// What the other end is to see of a frame that leaves through the mapping in the notes.
static __noinline int leave_through(struct packet *p)
{
	struct notes *n = p->notes;
	struct mapped *m = &n->map;
	struct mapping_value *of = bpf_map_lookup_elem(&mappings, &m->sends);
	if (!of)
		return end(p, REASON_NO_MAPPING);
	m->translates = true;
	m->vrf[DIRECTION_OUT] = of->vrf;
	m->external[DIRECTION_OUT] = of->external;
	m->external_port[DIRECTION_OUT] = n->source_port;
	m->source = of->external;
	m->destination = p->destination;
	m->source_port = n->source_port;
	m->destination_port = n->destination_port;
	if (!n->tuple)
		m->sends = 0; // it is noted nowhere
	return NEXT;
}
