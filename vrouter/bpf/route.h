// SPDX-License-Identifier: Apache-2.0
// Stage route: where the frame goes, and what changes on the way.
#pragma once

#include "echo.h"
#include "error.h"
#include "lookup.h"
#include "service.h"

static __always_inline int refuse_groups(struct packet *p)
{
	const struct mac *m = &p->ethernet.destination;
	if (mac_broadcast(m) || (p->family == FAMILY_4 && p->destination.word[0] == 0xffffffff))
		return end(p, REASON_BROADCAST);
	bool group = p->family == FAMILY_4 ? (p->destination.word[0] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) :
						   multicast6(&p->destination);
	if (group || m->byte[0] & 1)
		return end(p, REASON_MULTICAST);
	return NEXT;
}

static __always_inline int check_destination_mac(struct packet *p, const struct route_value *route)
{
	struct config_value *c = configuration();
	if (c && mac_equal(&p->ethernet.destination, &c->gateway))
		return NEXT;
	if (!(route->flags & ROUTE_ROUTED) && mac_equal(&p->ethernet.destination, &route->mac))
		return NEXT;
	return end(p, REASON_WRONG_DESTINATION_MAC);
}

static __always_inline int refuse_local(struct packet *p)
{
	if (p->family != FAMILY_6)
		return NEXT;
	if (link_local6(&p->source) || link_local6(&p->destination) || unspecified(&p->source))
		return end(p, REASON_LINK_LOCAL);
	return NEXT;
}

// Whether this is the router's hop of the packet.
static __always_inline bool hop(const struct packet *p, const struct route_value *route)
{
	return !p->from_tunnel && route->flags & ROUTE_ROUTED;
}

// The largest packet that can go there, 0 for any.
static __always_inline __u32 limit_of(const struct packet *p, const struct route_value *route,
				      const struct next_hop_value *next)
{
	if (next->kind == NEXT_HOP_PORT)
		return p->to ? p->to->mtu : 0;
	if (!next->mtu || (route->mtu && route->mtu < next->mtu))
		return route->mtu;
	return next->mtu;
}

static __always_inline int refuse_unfit(struct packet *p, const struct route_value *route,
					  const struct next_hop_value *next)
{
	if (hop(p, route) && p->ttl <= 1)
		return end_with_error(p, REASON_TTL_EXPIRED, 0);
	// An offloaded frame is cut before anybody sees it.
	__u32 limit = limit_of(p, route, next);
	if (limit && !p->skb->gso_size && p->skb->len - ETHERNET_SIZE > limit)
		return end_with_error(p, REASON_TOO_BIG, limit);
	return NEXT;
}

static __always_inline int rewrite(struct packet *p, const struct route_value *route)
{
	struct config_value *c = configuration();
	struct mac source = p->ethernet.source;
	if (hop(p, route)) {
		if (!c || set_hop_count(p, p->ttl - 1))
			return end(p, REASON_REWRITE_FAILED);
		source = c->gateway;
	}
	if (set_ethernet(p, &route->mac, &source))
		return end(p, REASON_REWRITE_FAILED);
	return NEXT;
}

// Leaves a next hop of kind port or tunnel, and the port if there is one.
static __always_inline int stage_route(struct packet *p, struct next_hop_value **next)
{
	RUN(refuse_groups(p));
	struct route_value *route = route_of(p->vrf, p->family, &p->destination);
	if (!route)
		return end(p, REASON_NO_ROUTE);
	if (!p->from_tunnel)
		RUN(check_destination_mac(p, route));
	*next = next_hop_of(route);
	if (!*next)
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	switch ((*next)->kind) {
	case NEXT_HOP_PORT:
		break;
	case NEXT_HOP_TUNNEL:
		if (p->from_tunnel)
			return end(p, REASON_TUNNEL_TO_TUNNEL);
		break;
	case NEXT_HOP_GATEWAY:
		if (p->from_tunnel)
			return end(p, REASON_GATEWAY_FROM_TUNNEL);
		RUN(stage_service(p));
		return answer_echo(p);
	case NEXT_HOP_DISCARD:
		return end(p, REASON_DISCARD_ROUTE);
	default:
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	}
	RUN(refuse_local(p));
	if ((*next)->kind == NEXT_HOP_PORT) {
		__u32 ifindex = (*next)->ifindex;
		p->to = bpf_map_lookup_elem(&ports, &ifindex);
	}
	RUN(refuse_unfit(p, route, *next));
	return rewrite(p, route);
}
