// SPDX-License-Identifier: Apache-2.0
// Stage neighbour: ARP, neighbour discovery and gateway echo are answered
// here, from the routes; no address is ever learned from a frame.
#pragma once

#include "group.h"
#include "lookup.h"
#include "parse.h"
#include "request.h"
#include "spoof.h"
#include "vlan.h"

enum {
	ICMPV6_ROUTER_SOLICITATION = 133,
	ICMPV6_SOLICITATION = 135,
	ICMPV6_ADVERTISEMENT = 136,
	ND_HOP_LIMIT = 255,
};

enum { ND_ROUTER = 0x80, ND_SOLICITED = 0x40, ND_OVERRIDE = 0x20 };
enum { ND_OPTION_TARGET = 2 };

enum resolution {
	RESOLUTION_UNKNOWN,
	RESOLUTION_OWN,
	RESOLUTION_NEIGHBOUR,
	RESOLUTION_GATEWAY,
	RESOLUTION_LEFT_OUT, // somebody has it, and its route found no room
};

// Who in the port's own network has the address, and at which MAC.
static __always_inline enum resolution resolve(const struct packet *p, const struct address *target, struct mac *mac)
{
	if (owns_address(p->ifindex, p->family, target) || (unspecified(&p->source) && may_take(p, target)))
		return RESOLUTION_OWN;
	struct route_value *route = route_of(p->vrf, p->family, target);
	if (!route || route->flags & ROUTE_ROUTED)
		return RESOLUTION_UNKNOWN;
	if (route->flags & ROUTE_GAP)
		return RESOLUTION_LEFT_OUT;
	struct next_hop_value *next = next_hop_of(route);
	struct config_value *c = configuration();
	if (!next || !c)
		return RESOLUTION_UNKNOWN;
	*mac = route->flags & ROUTE_PROXIED ? c->gateway : route->mac;
	switch (next->kind) {
	case NEXT_HOP_PORT:
		return next->ifindex == p->ifindex ? RESOLUTION_OWN : RESOLUTION_NEIGHBOUR;
	case NEXT_HOP_TUNNEL:
	case NEXT_HOP_FABRIC:
	case NEXT_HOP_BALANCER:
	case NEXT_HOP_MAPPED:
		return RESOLUTION_NEIGHBOUR;
	case NEXT_HOP_GROUP:
		*mac = c->gateway;
		return is_member(route->next_hop, p->ifindex) ? RESOLUTION_OWN : RESOLUTION_NEIGHBOUR;
	case NEXT_HOP_GATEWAY:
		*mac = c->gateway;
		return RESOLUTION_GATEWAY;
	default:
		return RESOLUTION_UNKNOWN;
	}
}

static __always_inline int send_answer(struct packet *p)
{
	if (send_back(p) != TC_ACT_REDIRECT)
		return end(p, REASON_ANSWER_FAILED);
	world_count_sent(p->from, p->skb->len);
	world_verdict(VERDICT_ANSWERED, REASON_NONE);
	return TC_ACT_REDIRECT;
}

static __always_inline int answer_arp(struct packet *p, const struct mac *mac)
{
	struct {
		struct ethernet ethernet;
		struct arp arp;
	} __attribute__((packed)) reply = {
		.ethernet = { .destination = p->ethernet.source, .source = *mac, .type = p->ethernet.type },
		.arp = {
			.hardware = bpf_htons(1),
			.protocol = bpf_htons(ETHERTYPE_IPV4),
			.hardware_size = 6,
			.protocol_size = 4,
			.operation = bpf_htons(ARP_REPLY),
			.sender_mac = *mac,
			.sender = p->destination.word[0],
			.target_mac = p->notes->arp_sender_mac,
			.target = p->source.word[0],
		},
	};
	if (bpf_skb_store_bytes(p->skb, 0, &reply, sizeof(reply), 0))
		return end(p, REASON_ANSWER_FAILED);
	return send_answer(p);
}

static __always_inline int neighbour_arp(struct packet *p)
{
	struct mac mac;
	if (p->notes->arp_operation == ARP_REPLY || address_equal(&p->source, &p->destination)) {
		if (is_news(p, &p->notes->arp_sender_mac, &p->source))
			return hand_over(p);
		return end_or_bridge(p, REASON_ARP_ANNOUNCEMENT);
	}
	switch (resolve(p, &p->destination, &mac)) {
	case RESOLUTION_OWN:
		return end(p, REASON_ARP_OWN_ADDRESS);
	case RESOLUTION_UNKNOWN:
		if (unspecified(&p->source))
			return end_or_bridge(p, REASON_ARP_PROBE_UNCLAIMED);
		return end_or_bridge(p, REASON_ARP_UNKNOWN_TARGET);
	case RESOLUTION_LEFT_OUT:
		return end_or_bridge(p, REASON_TARGET_LEFT_OUT);
	default:
		return answer_arp(p, &mac);
	}
}

// A whole neighbour advertisement. Its tail from source to the end of
// target_mac is also what its checksum covers, but for length and protocol.
struct advertisement {
	__u16 pad; // aligns the addresses; not sent
	struct ethernet ethernet;
	struct ipv6 ip;
	__u8 type;
	__u8 code;
	__be16 checksum;
	__u8 flags;
	__u8 reserved[3];
	struct address target;
	__u8 option;
	__u8 option_length; // in 8 bytes
	struct mac target_mac;
};

enum {
	ADVERTISEMENT_ICMP_SIZE = 32,
	ADVERTISEMENT_SIZE = ETHERNET_SIZE + IPV6_SIZE + ADVERTISEMENT_ICMP_SIZE,
	ADVERTISEMENT_SUMMED = 2 * sizeof(struct address) + ADVERTISEMENT_ICMP_SIZE,
};

static __always_inline int answer_solicitation(struct packet *p, const struct address *target, const struct mac *mac,
					       bool gateway)
{
	bool probe = unspecified(&p->source);
	struct advertisement a = {
		.ethernet = { .source = *mac, .destination = p->ethernet.source, .type = p->ethernet.type },
		.ip = {
			.version_class = 6 << 4,
			.payload_length = bpf_htons(ADVERTISEMENT_ICMP_SIZE),
			.next_header = PROTOCOL_ICMPV6,
			.hop_limit = ND_HOP_LIMIT,
			.source = *target,
			.destination = p->source,
		},
		.type = ICMPV6_ADVERTISEMENT,
		.flags = ND_OVERRIDE | (gateway ? ND_ROUTER : 0) | (probe ? 0 : ND_SOLICITED),
		.target = *target,
		.option = ND_OPTION_TARGET,
		.option_length = 1,
		.target_mac = *mac,
	};
	if (probe) {
		a.ethernet.destination = (struct mac){ { 0x33, 0x33, 0, 0, 0, 1 } };
		a.ip.destination = (struct address){ { bpf_htonl(0xff020000), 0, 0, bpf_htonl(1) } };
	}
	__u32 rest = bpf_htonl(ADVERTISEMENT_ICMP_SIZE + PROTOCOL_ICMPV6);
	__s64 sum = bpf_csum_diff(0, 0, (__be32 *)&a.ip.source, ADVERTISEMENT_SUMMED, (rest >> 16) + (rest & 0xffff));
	a.checksum = fold(sum);
	if (bpf_skb_change_tail(p->skb, ADVERTISEMENT_SIZE, 0) ||
	    bpf_skb_store_bytes(p->skb, 0, &a.ethernet, ADVERTISEMENT_SIZE, 0))
		return end(p, REASON_ANSWER_FAILED);
	return send_answer(p);
}

static __always_inline int load_target(const struct packet *p, struct address *target)
{
	if (p->notes->l4 + ICMP_SIZE + sizeof(*target) > p->notes->end)
		return -1;
	return bpf_skb_load_bytes(p->skb, p->notes->l4 + ICMP_SIZE, target, sizeof(*target));
}

static __always_inline int neighbour_solicitation(struct packet *p)
{
	struct address target;
	struct mac mac;
	if (load_target(p, &target) || multicast6(&target))
		return end(p, REASON_ND_MALFORMED);
	enum resolution resolution = resolve(p, &target, &mac);
	switch (resolution) {
	case RESOLUTION_OWN:
		if (unspecified(&p->source) && is_news(p, &p->ethernet.source, &target))
			return hand_over(p);
		return end(p, REASON_ND_OWN_ADDRESS);
	case RESOLUTION_UNKNOWN:
	case RESOLUTION_LEFT_OUT:
		if (unspecified(&p->source) && is_asked(p, &target))
			return hand_over(p);
		if (resolution == RESOLUTION_LEFT_OUT)
			return end_or_bridge(p, REASON_TARGET_LEFT_OUT);
		if (unspecified(&p->source))
			return end_or_bridge(p, REASON_ND_PROBE_UNCLAIMED);
		return end_or_bridge(p, REASON_ND_UNKNOWN_TARGET);
	case RESOLUTION_GATEWAY:
		return answer_solicitation(p, &target, &mac, true);
	default:
		return answer_solicitation(p, &target, &mac, false);
	}
}

// Others may come to see it, so it must not say that this port has what it has not.
static __always_inline int neighbour_advertisement(struct packet *p)
{
	struct address target;
	if (!load_target(p, &target) && is_news(p, &p->ethernet.source, &target))
		return hand_over(p);
	if (p->bridging & BRIDGES && !p->from->unchecked) {
		if (load_target(p, &target))
			return end(p, REASON_ND_MALFORMED);
		bool free = link_local6(&target) && !has_owner(p->vrf, FAMILY_6, &target);
		if (!owns_address(p->ifindex, p->family, &target) && !may_take(p, &target) && !free)
			return end(p, REASON_SPOOFED_ADDRESS);
	}
	return end_or_bridge(p, REASON_ND_ADVERTISEMENT);
}

static __always_inline int neighbour_discovery(struct packet *p)
{
	if (p->notes->ttl != ND_HOP_LIMIT || p->notes->icmp_code)
		return end(p, REASON_ND_MALFORMED);
	switch (p->notes->icmp_type) {
	case ICMPV6_ROUTER_SOLICITATION:
		if (p->from->flags & PORT_ADVERTISE)
			return hand_over(p);
		return end_or_bridge(p, REASON_ROUTER_SOLICITATION);
	case ICMPV6_SOLICITATION:
		return neighbour_solicitation(p);
	case ICMPV6_ADVERTISEMENT:
		return neighbour_advertisement(p);
	default:
		return p->from->unchecked ? end_or_bridge(p, REASON_ND_NOT_ALLOWED) : end(p, REASON_ND_NOT_ALLOWED);
	}
}

static __always_inline int stage_neighbour(struct packet *p)
{
	world_meet(STAGE_NEIGHBOUR);
	if (p->arp)
		return neighbour_arp(p);
	if (is_neighbour_discovery(p))
		return neighbour_discovery(p);
	if (is_multicast_listener(p))
		return end_or_bridge(p, REASON_MULTICAST_LISTENER);
	return NEXT;
}
