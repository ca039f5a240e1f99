// SPDX-License-Identifier: Apache-2.0
// From an address in a VRF to a route and its next hop.
#pragma once

#include "drop.h"

enum { UNDERLAY_VRF = 0 }; // no network has it

// May be a gap, which leads nowhere.
static __always_inline struct route_value *route_of(__u32 vrf, enum family family, const struct address *address)
{
	struct host_route_key exact = { .vrf = vrf, .family = family, .address = *address };
	struct route_value *route = bpf_map_lookup_elem(&host_routes, &exact);
	if (route)
		return route;
	if (family == FAMILY_4) {
		struct route4_key key = { .prefix_length = 64, .vrf = vrf, .address = address->word[0] };
		return bpf_map_lookup_elem(&routes4, &key);
	}
	struct route6_key key = { .prefix_length = 160, .vrf = vrf, .address = *address };
	return bpf_map_lookup_elem(&routes6, &key);
}

// Whether somebody in the VRF has exactly this address.
static __always_inline bool has_owner(__u32 vrf, enum family family, const struct address *address)
{
	struct host_route_key exact = { .vrf = vrf, .family = family, .address = *address };
	return bpf_map_lookup_elem(&host_routes, &exact);
}

static __always_inline struct next_hop_value *next_hop_of(const struct route_value *route)
{
	__u32 id = route->next_hop;
	return bpf_map_lookup_elem(&next_hops, &id);
}

static __always_inline struct config_value *configuration(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&config, &zero);
}

// A frame goes to the router, or straight to a neighbour in its network.
static __always_inline bool right_destination_mac(const struct packet *p)
{
	struct config_value *c = configuration();
	if (c && mac_equal(&p->ethernet.destination, &c->gateway))
		return true;
	if (p->notes->route.flags & ROUTE_ROUTED)
		return false;
	if (p->notes->route.flags & ROUTE_PROXIED) // somebody else's, once
		return !(p->ethernet.destination.byte[0] & 1);
	if (p->notes->route.flags & ROUTE_CHOSEN)
		return false; // the long way knows the group's
	return mac_equal(&p->ethernet.destination, &p->notes->route.mac);
}

// Whether the underlay would lead an answer back to the packet's port. What
// stage spoof lets pass besides, of a pair or an unchecked port, could be the
// address of a host, which tunnels trust, or the alias of another port.
static __noinline __attribute__((unused)) bool leads_back(const struct packet *p)
{
	struct route_value *back = route_of(UNDERLAY_VRF, p->family, &p->source);
	struct next_hop_value *next = back ? next_hop_of(back) : 0;
	return next && next->kind == NEXT_HOP_PORT && next->ifindex == p->ifindex;
}
