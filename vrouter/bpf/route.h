// SPDX-License-Identifier: Apache-2.0
// Stage route: where the frame goes, and what changes on the way.
#pragma once

#include "echo.h"
#include "error.h"
#include "float.h"
#include "group.h"
#include "learn.h"
#include "lookup.h"
#include "service.h"

static __always_inline int refuse_groups(struct packet *p)
{
	const struct mac *m = &p->ethernet.destination;
	if (mac_broadcast(m) || (p->family == FAMILY_4 && p->destination.word[0] == 0xffffffff))
		return end_or_bridge(p, REASON_BROADCAST);
	bool group = p->family == FAMILY_4 ? (p->destination.word[0] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) :
						   multicast6(&p->destination);
	if (group || m->byte[0] & 1)
		return end_or_bridge(p, REASON_MULTICAST);
	return NEXT;
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
static __always_inline bool hop(const struct packet *p)
{
	if (p->from_fabric)
		return true;
	return !p->from_tunnel && (p->notes->route.flags & ROUTE_ROUTED || p->next->kind == NEXT_HOP_FABRIC);
}

// The largest packet that can go there, 0 for any.
static __always_inline __u32 limit_of(const struct packet *p)
{
	if (p->next->kind == NEXT_HOP_PORT)
		return p->to ? p->to->mtu : 0;
	if (!p->next->mtu || (p->notes->route.mtu && p->notes->route.mtu < p->next->mtu))
		return p->notes->route.mtu;
	return p->next->mtu;
}

static __always_inline int refuse_unfit(struct packet *p)
{
	if (hop(p) && p->notes->ttl <= 1)
		return end_with_error(p, REASON_TTL_EXPIRED, 0);
	// An offloaded frame is cut before anybody sees it.
	__u32 limit = limit_of(p);
	if (limit && !p->skb->gso_size && p->skb->len - ETHERNET_SIZE > limit)
		return end_with_error(p, REASON_TOO_BIG, limit);
	return NEXT;
}

static __always_inline int rewrite(struct packet *p)
{
	struct config_value *c = configuration();
	struct mac source = p->ethernet.source;
	if (hop(p)) {
		if (!c || set_hop_count(p, p->notes->ttl - 1))
			return end(p, REASON_REWRITE_FAILED);
		source = c->gateway;
	}
	if (set_ethernet(p, &p->notes->route.mac, &source))
		return end(p, REASON_REWRITE_FAILED);
	return NEXT;
}

// Where addresses do not lead, the MAC may. A link-local source is nobody's for
// sure, so the frame goes only where the network floods anyway.
static __always_inline int refuse_stray(struct packet *p, enum reason reason)
{
	if (p->bridging & BRIDGES && p->from && !p->from->unchecked && p->family == FAMILY_6 && link_local6(&p->source))
		return end_or_bridge(p, REASON_LINK_LOCAL);
	return end_or_bridge(p, reason);
}

// In a gap somebody has the address, else nobody.
static __always_inline int refuse_unrouted(struct packet *p, bool gap)
{
	struct config_value *c = configuration();
	bool to_gateway = !c || mac_equal(&p->ethernet.destination, &c->gateway);
	if (gap)
		return to_gateway ? end(p, REASON_ROUTE_LEFT_OUT) : refuse_stray(p, REASON_ROUTE_LEFT_OUT);
	return to_gateway ? end(p, REASON_NO_ROUTE) : refuse_stray(p, REASON_NO_ROUTE);
}

// From a tunnel: whether its sender's host went by the MAC and not by the route.
static __always_inline bool sent_by_mac(const struct packet *p)
{
	const struct route_value *route = &p->notes->route;
	return !(route->flags & ROUTE_PROXIED) && !mac_equal(&p->ethernet.destination, &route->mac) && mac_known(p);
}

// From a tunnel to a virtual address, for which map had its turn before.
static __noinline __attribute__((unused)) int end_unmapped(struct packet *p)
{
	bool fragment = p->notes->later && !p->notes->tuple;
	return fragment ? end(p, REASON_MAPPING_FRAGMENT) : end(p, REASON_NO_MAPPING);
}

// From a tunnel: whether it is what a member of a virtual address answers this host itself.
static __noinline __attribute__((unused)) bool answers_host(struct packet *p)
{
	struct config_value *c = configuration();
	struct route_value *back = route_of(UNDERLAY_VRF, p->family, &p->source);
	struct next_hop_value *next = back ? next_hop_of(back) : 0;
	if (!c || p->next->ifindex || !next || next->kind != NEXT_HOP_BALANCER || next->vni != p->vrf)
		return false;
	return p->family == FAMILY_4 ? address_equal(&p->destination, &c->local4) : address_equal(&p->destination, &c->local6);
}

// The long way to a route. Leaves a next hop of kind port, tunnel or fabric.
static __always_inline int stage_route(struct packet *p)
{
	world_meet(STAGE_ROUTE);
	RUN(refuse_groups(p));
	struct route_value *route = route_of(p->vrf, p->family, &p->destination);
	if (!route || route->flags & ROUTE_GAP)
		return may_float(p) ? FLOAT : refuse_unrouted(p, route);
	p->notes->route = *route;
	world_take(p);
	if (!p->from_tunnel && !right_destination_mac(p))
		return refuse_stray(p, REASON_WRONG_DESTINATION_MAC);
	p->next = next_hop_of(&p->notes->route);
	if (p->next && p->next->kind == NEXT_HOP_BALANCER)
		return p->from_tunnel ? end_unmapped(p) : BALANCE;
	if (p->next && p->next->kind == NEXT_HOP_MAPPED)
		return FLOAT;
	if (p->next && p->next->kind == NEXT_HOP_GROUP) {
		RUN(stage_group(p));
		p->next = next_hop_of(&p->notes->route);
	} else if (p->from_tunnel && p->bridging & BRIDGES && sent_by_mac(p)) {
		return end_or_bridge(p, REASON_WRONG_DESTINATION_MAC);
	}
	if (!p->next)
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	switch (p->next->kind) {
	case NEXT_HOP_PORT:
		break;
	case NEXT_HOP_TUNNEL:
		if (p->from_tunnel)
			return end(p, REASON_TUNNEL_TO_TUNNEL);
		break;
	case NEXT_HOP_FABRIC:
		if (p->from_tunnel && !answers_host(p))
			return end(p, REASON_TUNNEL_TO_FABRIC);
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
	if (!p->from_tunnel && p->next->kind == NEXT_HOP_FABRIC && !leads_back(p))
		return end(p, REASON_FABRIC_FOREIGN_SOURCE);
	return NEXT;
}

// What remains when the frame may go where it goes.
static __always_inline int stage_forward(struct packet *p)
{
	RUN(refuse_unfit(p));
	return rewrite(p);
}
