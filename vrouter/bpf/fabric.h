// SPDX-License-Identifier: Apache-2.0
// Stages leave and enter: between a workload and the underlay, where its
// packets travel as they are.
#pragma once

#include "policy.h"
#include "route.h"

static __always_inline int stage_leave(struct packet *p)
{
	__u32 uplink = p->next->ifindex;
	world_meet(STAGE_LEAVE);
	if (!uplink)
		return send_to_host(p);
	if (world_redirect_neighbour(p->skb, uplink) != TC_ACT_REDIRECT)
		return end(p, REASON_FABRIC_REDIRECT_FAILED);
	world_count_fabric_sent(p->skb->len);
	world_verdict(VERDICT_ROUTED, REASON_NONE);
	return TC_ACT_REDIRECT;
}

// A source that is no single machine's, or none beyond a link.
static __always_inline bool never_a_source(const struct packet *p)
{
	const struct address *a = &p->source;
	if (p->family == FAMILY_4) {
		__u8 first = bpf_ntohl(a->word[0]) >> 24;
		return first == 0 || first == 127 || first >= 224;
	}
	bool low = !(a->word[0] | a->word[1] | a->word[2]) && (!a->word[3] || a->word[3] == bpf_htonl(1));
	return low || link_local6(a) || multicast6(a);
}

// Whether the workload would answer the source into the underlay.
static __always_inline bool from_underlay(const struct packet *p)
{
	if (never_a_source(p))
		return false;
	struct route_value *back = route_of(p->vrf, p->family, &p->source);
	struct next_hop_value *next = back ? next_hop_of(back) : 0;
	return next && next->kind == NEXT_HOP_FABRIC;
}

// A route of the underlay's VRF was found for the destination: finds the port
// behind it and whether the source may be.
static __noinline int find_entry(struct packet *p)
{
	if (p->notes->route.flags & ROUTE_GAP)
		return end(p, REASON_ROUTE_LEFT_OUT);
	p->next = next_hop_of(&p->notes->route);
	if (p->next && p->next->kind == NEXT_HOP_BALANCER)
		return BALANCE;
	if (!p->next || p->next->kind != NEXT_HOP_PORT)
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	__u32 ifindex = p->next->ifindex;
	p->to = bpf_map_lookup_elem(&ports, &ifindex);
	if (!p->to)
		return end(p, REASON_PORT_GONE);
	p->vrf = p->to->vrf;
	if (!from_underlay(p))
		return end(p, REASON_FABRIC_SPOOFED);
	return NEXT;
}

// asks is a constant: what does not ask has no room on its stack for it.
static __always_inline int stage_enter(struct packet *p, bool asks)
{
	struct config_value *c = configuration();
	world_meet(STAGE_ENTER);
	world_take(p);
	RUN(find_entry(p));
	find_fragment(p);
	if (p->from_fabric)
		world_count_fabric_received(p->skb->len);
	if (asks)
		RUN(stage_policy(p));
	else {
		find_receiver(p);
		RUN(refuse_taken(p));
	}
	RUN(refuse_unfit(p));
	if (!c || (p->from_fabric && set_hop_count(p, p->notes->ttl - 1)))
		return end(p, REASON_REWRITE_FAILED);
	struct mac gateway = c->gateway;
	if (set_ethernet(p, &p->notes->route.mac, &gateway))
		return end(p, REASON_REWRITE_FAILED);
	stage_connection(p);
	return NEXT;
}
