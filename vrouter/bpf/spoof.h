// SPDX-License-Identifier: Apache-2.0
// Stage spoof: a workload sends from its own MAC and its own addresses only.
#pragma once

#include "drop.h"

static __always_inline bool is_neighbour_discovery(const struct packet *p)
{
	return p->family == FAMILY_6 && p->notes->icmp && p->notes->icmp_type >= 133 && p->notes->icmp_type <= 137;
}

static __always_inline bool is_multicast_listener(const struct packet *p)
{
	return p->family == FAMILY_6 && p->notes->icmp && ((p->notes->icmp_type >= 130 && p->notes->icmp_type <= 132) || p->notes->icmp_type == 143);
}

static __always_inline bool owns_address(__u32 ifindex, enum family family, const struct address *address)
{
	struct port_address_key key = { .ifindex = ifindex, .family = family, .address = *address };
	return bpf_map_lookup_elem(&port_addresses, &key);
}

// Sources that no port has and that are still right where they occur.
// Nothing that passes here is ever forwarded.
static __always_inline bool source_excepted(const struct packet *p)
{
	if (p->arp)
		return unspecified(&p->source);
	if (p->family == FAMILY_4)
		return unspecified(&p->source) && p->destination.word[0] == 0xffffffff;
	if (link_local6(&p->source))
		return true;
	return unspecified(&p->source) && (is_neighbour_discovery(p) || is_multicast_listener(p));
}

static __always_inline int stage_spoof_mac(struct packet *p)
{
	const struct mac *mac = &p->from->mac;
	if (!mac_equal(&p->ethernet.source, mac) || (p->arp && !mac_equal(&p->arp_sender_mac, mac)))
		return end(p, REASON_SPOOFED_MAC);
	return NEXT;
}

static __always_inline int stage_spoof_address(struct packet *p)
{
	if (!owns_address(p->ifindex, p->family, &p->source) && !source_excepted(p))
		return end(p, REASON_SPOOFED_ADDRESS);
	return NEXT;
}
