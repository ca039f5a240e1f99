// SPDX-License-Identifier: Apache-2.0
// Stage request: what a workload asks of its own host in a single packet, and
// the agent answers: DHCP, DHCPv6, router solicitations.
#pragma once

#include "lookup.h"
#include "parse.h"
#include "share.h"

enum {
	DHCP4_CLIENT = 68,
	DHCP4_SERVER = 67,
	DHCP6_CLIENT = 546,
	DHCP6_SERVER = 547,
};

// Takes one of the port's requests, if it has one left.
static __always_inline bool use_request(const struct packet *p)
{
	__u32 ifindex = p->ifindex;
	struct config_value *c = configuration();
	if (!c)
		return false;
	__u64 until;
	return share_left(bpf_map_lookup_elem(&request_times, &ifindex), c->request_interval, c->request_burst, 1, &until) &&
	       world_use_request(ifindex, until);
}

// Ends a frame by handing it to the agent.
static __noinline int hand_over(struct packet *p)
{
	__u32 size = p->skb->len;
	if (size > REQUEST_FRAME)
		return end(p, REASON_REQUEST_TOO_LONG);
	if (!use_request(p))
		return end(p, REASON_REQUEST_LIMITED);
	if (world_hand_over(p->skb, p->ifindex, size))
		return end(p, REASON_REQUEST_UNHEARD);
	world_verdict(VERDICT_HANDED, REASON_NONE);
	return TC_ACT_SHOT;
}

// Whether this is UDP between these ports, in host byte order.
static __always_inline bool between(const struct packet *p, __u16 source, __u16 destination)
{
	const struct notes *n = p->notes;
	if (n->fragment || n->protocol != PROTOCOL_UDP)
		return false;
	return n->source_port == bpf_htons(source) && n->destination_port == bpf_htons(destination);
}

static __always_inline bool asks_dhcp4(const struct packet *p)
{
	__be32 to = p->destination.word[0];
	if (to != 0xffffffff && (!to || to != p->from->gateway4.word[0]))
		return false;
	return between(p, DHCP4_CLIENT, DHCP4_SERVER);
}

// All_DHCP_Relay_Agents_and_Servers, ff02::1:2 (RFC 8415).
static __always_inline bool asks_dhcp6(const struct packet *p)
{
	const struct address servers = { { bpf_htonl(0xff020000), 0, 0, bpf_htonl(0x00010002) } };
	return address_equal(&p->destination, &servers) && link_local6(&p->source) &&
	       between(p, DHCP6_CLIENT, DHCP6_SERVER);
}

static __always_inline int stage_request(struct packet *p)
{
	world_meet(STAGE_REQUEST);
	if (p->family == FAMILY_4) {
		if (p->from->flags & PORT_DHCP4 && asks_dhcp4(p))
			return hand_over(p);
	} else if (p->from->flags & PORT_DHCP6 && asks_dhcp6(p)) {
		return hand_over(p);
	}
	return NEXT;
}
