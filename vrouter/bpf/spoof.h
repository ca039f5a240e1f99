// SPDX-License-Identifier: Apache-2.0
// Stage spoof: a workload sends from its own MAC and its own addresses
// only, or as one of its prefixes allows, or from others behind it, which are
// learned.
#pragma once

#include "learn.h"

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
// Nothing that passes here is ever forwarded but where the network floods.
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

// The longest of the port's prefixes for an address and the frame's MAC.
static __noinline struct port_prefix_value *port_prefix_of(const struct packet *p, const struct address *a)
{
	if (p->family == FAMILY_4) {
		struct port_prefix4_key key = { .prefix_length = PORT_PREFIX_MAC + 32, .ifindex = p->ifindex, .mac = p->ethernet.source, .address = a->word[0] };
		return bpf_map_lookup_elem(&port_prefixes4, &key);
	}
	struct port_prefix6_key key = { .prefix_length = PORT_PREFIX_MAC + 128, .ifindex = p->ifindex, .mac = p->ethernet.source, .address = *a };
	return bpf_map_lookup_elem(&port_prefixes6, &key);
}

// Whether the port may have the address whatever the routes say.
static __always_inline bool may_take(const struct packet *p, const struct address *a)
{
	struct port_prefix_value *prefix = port_prefix_of(p, a);
	return prefix && !(prefix->flags & PORT_PREFIX_BEHIND);
}

static __always_inline bool prefix_allows_source(const struct packet *p)
{
	const struct address *source = &p->source;
	bool group = p->family == FAMILY_4 ? (source->word[0] & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000) : multicast6(source);
	if (group || unspecified(source))
		return false;
	struct port_prefix_value *prefix = port_prefix_of(p, source);
	if (!prefix)
		return false;
	if (!(prefix->flags & PORT_PREFIX_BEHIND))
		return true;
	__u32 length = prefix->length;
	struct route_value *route = route_of(p->vrf, p->family, source);
	return route && route->length == length;
}

static __always_inline int stage_spoof_mac(struct packet *p)
{
	world_meet(STAGE_SPOOF);
	p->notes->other_mac = !mac_equal(&p->ethernet.source, &p->from->mac);
	if (p->arp && !p->from->unchecked && !mac_equal(&p->arp_sender_mac, &p->ethernet.source))
		return end(p, REASON_SPOOFED_MAC);
	if (p->notes->other_mac && (p->from->mac_limit || p->from->unchecked))
		return learn_source(p);
	return NEXT;
}

static __always_inline int stage_spoof_address(struct packet *p)
{
	bool own_mac = !p->notes->other_mac || p->from->mac_limit;
	if (p->from->unchecked)
		return NEXT;
	if (own_mac && (owns_address(p->ifindex, p->family, &p->source) || source_excepted(p)))
		return NEXT;
	if (prefix_allows_source(p))
		return NEXT;
	return end(p, own_mac ? REASON_SPOOFED_ADDRESS : REASON_SPOOFED_MAC);
}
