// SPDX-License-Identifier: Apache-2.0
// Stage parse: Ethernet, IPv4, IPv6 with its extension headers, ARP.
#pragma once

#include "transport.h"

enum { MAX_EXTENSION_HEADERS = 6 }; // more is an attack or a mistake; each costs a read

enum {
	EXTENSION_HOP_BY_HOP = 0,
	EXTENSION_ROUTING = 43,
	EXTENSION_FRAGMENT = 44,
	EXTENSION_AH = 51,
	EXTENSION_DESTINATION = 60,
	EXTENSION_MOBILITY = 135,
	EXTENSION_HIP = 139,
	EXTENSION_SHIM6 = 140,
};

enum { EXTENSION_MIN_SIZE = 8 };

struct ipv4 {
	__u8 version_length;
	__u8 tos;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6 {
	__u8 version_class;
	__u8 class_label;
	__be16 label;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	struct address source;
	struct address destination;
};

static __always_inline bool is_extension(__u8 header)
{
	switch (header) {
	case EXTENSION_HOP_BY_HOP:
	case EXTENSION_ROUTING:
	case EXTENSION_FRAGMENT:
	case EXTENSION_AH:
	case EXTENSION_DESTINATION:
	case EXTENSION_MOBILITY:
	case EXTENSION_HIP:
	case EXTENSION_SHIM6:
		return true;
	}
	return false;
}

static __always_inline int parse_ipv4(struct packet *p)
{
	struct ipv4 ip;
	if (load(p, ETHERNET_SIZE, &ip, sizeof(ip)))
		return end(p, REASON_MALFORMED);
	__u32 header = (ip.version_length & 0x0f) * 4;
	__u32 total = bpf_ntohs(ip.total_length);
	if (ip.version_length >> 4 != 4 || header < IPV4_SIZE || total < header || ETHERNET_SIZE + total > p->skb->len)
		return end(p, REASON_MALFORMED);
	p->family = FAMILY_4;
	p->notes->protocol = ip.protocol;
	p->notes->ttl = ip.ttl;
	p->notes->fragment = ip.fragment & bpf_htons(0x3fff); // MF and offset
	p->notes->later = ip.fragment & bpf_htons(0x1fff);
	p->notes->fragment_id = ip.id;
	p->source.word[0] = ip.source;
	p->destination.word[0] = ip.destination;
	p->notes->l4 = ETHERNET_SIZE + header;
	p->notes->end = ETHERNET_SIZE + total;
	return parse_transport(p);
}

// Walks the chain from next on; leaves protocol and l4 behind its last link.
static __always_inline int parse_extensions(struct packet *p, __u8 next)
{
	__u32 offset = ETHERNET_SIZE + IPV6_SIZE;
#pragma unroll // kernels before 6.10 refuse a loop that is entered by falling into it
	for (int i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
		__u8 head[EXTENSION_MIN_SIZE];
		if (!is_extension(next))
			break;
		if (i == MAX_EXTENSION_HEADERS)
			return end(p, REASON_TOO_MANY_EXTENSION_HEADERS);
		if (offset + EXTENSION_MIN_SIZE > p->notes->end || bpf_skb_load_bytes(p->skb, offset, head, sizeof(head)))
			return end(p, REASON_MALFORMED);
		bool later = false;
		if (next == EXTENSION_FRAGMENT) {
			__u16 where = head[2] << 8 | head[3];
			later = where >> 3;
			p->notes->later |= later;
			p->notes->fragment |= (where & 0xfff9) != 0; // offset and M
			p->notes->fragment_id = *(__be32 *)(head + 4);
			offset += EXTENSION_MIN_SIZE;
		} else if (next == EXTENSION_AH) {
			offset += (head[1] + 2) * 4;
		} else {
			offset += (head[1] + 1) * 8;
		}
		next = head[0];
		if (offset > p->notes->end)
			return end(p, REASON_MALFORMED);
		if (later)
			break;
	}
	p->notes->protocol = next;
	p->notes->l4 = offset;
	return NEXT;
}

static __always_inline int parse_ipv6(struct packet *p)
{
	struct ipv6 ip;
	if (load(p, ETHERNET_SIZE, &ip, sizeof(ip)))
		return end(p, REASON_MALFORMED);
	__u32 payload = bpf_ntohs(ip.payload_length);
	if (ip.version_class >> 4 != 6 || ETHERNET_SIZE + IPV6_SIZE + payload > p->skb->len)
		return end(p, REASON_MALFORMED);
	p->family = FAMILY_6;
	p->notes->ttl = ip.hop_limit;
	p->source = ip.source;
	p->destination = ip.destination;
	p->notes->end = ETHERNET_SIZE + IPV6_SIZE + payload;
	RUN(parse_extensions(p, ip.next_header));
	return parse_transport(p);
}

static __always_inline int parse_arp(struct packet *p)
{
	struct arp a;
	if (load(p, ETHERNET_SIZE, &a, sizeof(a)))
		return end(p, REASON_ARP_MALFORMED);
	__u16 operation = bpf_ntohs(a.operation);
	if (a.hardware != bpf_htons(1) || a.protocol != bpf_htons(ETHERTYPE_IPV4) || a.hardware_size != 6 ||
	    a.protocol_size != 4 || (operation != ARP_REQUEST && operation != ARP_REPLY))
		return end(p, REASON_ARP_MALFORMED);
	p->arp = true;
	p->family = FAMILY_4;
	p->notes->arp_operation = operation;
	p->notes->arp_sender_mac = a.sender_mac;
	p->source.word[0] = a.sender;
	p->destination.word[0] = a.target;
	return NEXT;
}

// Of hooks that have no stage vlan: none of what they carry has a tag.
static __always_inline int refuse_tag(struct packet *p)
{
	return p->skb->vlan_present ? end(p, REASON_VLAN_TAGGED) : NEXT;
}

// Of frames that are not parsed: a port's device must not get what its sub-ports are to get.
static __always_inline __attribute__((unused)) int refuse_inner_tag(struct packet *p)
{
	if (load(p, 0, &p->ethernet, sizeof(p->ethernet)))
		return end(p, REASON_MALFORMED);
	__u16 type = bpf_ntohs(p->ethernet.type);
	return type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ ? end(p, REASON_VLAN_TAGGED) : NEXT;
}

static __always_inline int parse_frame(struct packet *p)
{
	if (load(p, 0, &p->ethernet, sizeof(p->ethernet)))
		return end(p, REASON_MALFORMED);
	switch (bpf_ntohs(p->ethernet.type)) {
	case ETHERTYPE_IPV4:
		return parse_ipv4(p);
	case ETHERTYPE_IPV6:
		return parse_ipv6(p);
	case ETHERTYPE_ARP:
		return parse_arp(p);
	case ETHERTYPE_VLAN:
	case ETHERTYPE_QINQ:
		return end(p, REASON_VLAN_TAGGED);
	}
	return end_or_bridge(p, REASON_UNKNOWN_PROTOCOL);
}

static __always_inline int stage_parse(struct packet *p)
{
	world_meet(STAGE_PARSE);
	return parse_frame(p);
}
