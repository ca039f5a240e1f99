// SPDX-License-Identifier: Apache-2.0
// Stage spoof: a workload sends from its own MAC and its own addresses
// only, or as one of its prefixes allows, or from others behind it, which are
// learned.
#pragma once

#include "learn.h"
#include "request.h"
#include "tell.h"
#include "transport.h"

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
		return !has_owner(p->vrf, FAMILY_6, &p->source); // the gateway's, for one
	return unspecified(&p->source) && (is_neighbour_discovery(p) || is_multicast_listener(p));
}

// The longest of the port's prefixes for an address and a MAC.
static __noinline struct port_prefix_value *port_prefix_of(const struct packet *p, const struct mac *mac, const struct address *a)
{
	if (p->family == FAMILY_4) {
		struct port_prefix4_key key = { .prefix_length = PORT_PREFIX_MAC + 32, .ifindex = p->ifindex, .mac = *mac, .address = a->word[0] };
		return bpf_map_lookup_elem(&port_prefixes4, &key);
	}
	struct port_prefix6_key key = { .prefix_length = PORT_PREFIX_MAC + 128, .ifindex = p->ifindex, .mac = *mac, .address = *a };
	return bpf_map_lookup_elem(&port_prefixes6, &key);
}

// Whether the port may have the address whatever the routes say.
static __always_inline bool may_take(const struct packet *p, const struct address *a)
{
	struct port_prefix_value *prefix = port_prefix_of(p, &p->ethernet.source, a);
	return prefix && !(prefix->flags & (PORT_PREFIX_BEHIND | PORT_PREFIX_ASKED));
}

static __always_inline bool nobodys(enum family family, const struct address *a)
{
	bool group = family == FAMILY_4 ? (a->word[0] & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000) : multicast6(a);
	return group || unspecified(a);
}

// A route to this address alone.
static __always_inline struct route_value *exact_route(const struct packet *p, const struct address *a)
{
	struct host_route_key exact = { .vrf = p->vrf, .family = p->family, .address = *a };
	return bpf_map_lookup_elem(&host_routes, &exact);
}

// Whether the agent is to be told that the port speaks for an address, with
// this MAC: it may, and the address is not known to be here.
static __noinline bool is_news(const struct packet *p, const struct mac *mac, const struct address *a)
{
	struct port_prefix_value *prefix = port_prefix_of(p, mac, a);
	if (!prefix || !(prefix->flags & PORT_PREFIX_STANDBY) || nobodys(p->family, a))
		return false;
	struct route_value *route = exact_route(p, a);
	struct next_hop_value *next = route ? next_hop_of(route) : 0;
	return !next || next->kind != NEXT_HOP_PORT || next->ifindex != p->ifindex;
}

// Whether the port may not have an address yet, and asks for it by probing.
static __noinline bool is_asked(const struct packet *p, const struct address *a)
{
	struct port_prefix_value *prefix = port_prefix_of(p, &p->ethernet.source, a);
	return prefix && prefix->flags & PORT_PREFIX_ASKED && !nobodys(p->family, a);
}

// Tells the agent of a source that nobody has spoken for, with the head of the
// frame, which goes on.
static __noinline void tell_of_source(struct packet *p)
{
	if (!exact_route(p, &p->source) && use_request(p))
		world_tell(p->skb, p->ifindex, p->skb->len < REQUEST_HEAD ? p->skb->len : REQUEST_HEAD);
}

static __always_inline bool prefix_allows_source(struct packet *p)
{
	const struct address *source = &p->source;
	if (nobodys(p->family, source))
		return false;
	struct port_prefix_value *prefix = port_prefix_of(p, &p->ethernet.source, source);
	if (!prefix || prefix->flags & PORT_PREFIX_ASKED)
		return false;
	if (!(prefix->flags & PORT_PREFIX_BEHIND)) {
		if (prefix->flags & PORT_PREFIX_STANDBY && !p->arp && !is_neighbour_discovery(p))
			tell_of_source(p);
		return true;
	}
	__u32 length = prefix->length;
	struct route_value *route = route_of(p->vrf, p->family, source);
	return route && !(route->flags & ROUTE_GAP) && route->length == length;
}

// Whether ARP from the port's MAC may be about a MAC of its pairs, as of VRRP.
static __noinline bool sends_for_mac(const struct packet *p)
{
	struct port_prefix_value *prefix = port_prefix_of(p, &p->notes->arp_sender_mac, &p->source);
	return prefix && !(prefix->flags & (PORT_PREFIX_BEHIND | PORT_PREFIX_ASKED)) && !nobodys(p->family, &p->source);
}

static __always_inline int stage_spoof_mac(struct packet *p)
{
	world_meet(STAGE_SPOOF);
	p->notes->other_mac = !mac_equal(&p->ethernet.source, &p->from->mac);
	if (p->arp && !p->from->unchecked && !mac_equal(&p->notes->arp_sender_mac, &p->ethernet.source) && (p->notes->other_mac || !sends_for_mac(p)))
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
	if (prefix_allows_source(p) || (p->arp && !p->notes->other_mac && sends_for_mac(p)))
		return NEXT;
	return end(p, own_mac ? REASON_SPOOFED_ADDRESS : REASON_SPOOFED_MAC);
}
