// SPDX-License-Identifier: Apache-2.0
// Part of stage parse: ports, or what stands for them, and the flags of TCP.
#pragma once

#include "load.h"

enum {
	PROTOCOL_UDP = 17,
	PROTOCOL_DCCP = 33,
	PROTOCOL_SCTP = 132,
	PROTOCOL_UDP_LITE = 136,
};

enum {
	TCP_SIZE = 20,
	UDP_SIZE = 8,
	SCTP_SIZE = 12,
	DCCP_SIZE = 12,
	TCP_FLAGS_OFFSET = 13,
	TRANSPORT_LOADED = 8, // what every header has
};

enum {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

enum {
	ICMP_ECHO_REQUEST = 8,
	ICMP_ECHO_REPLY = 0,
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
	ICMP_UNREACHABLE = 3,
	ICMP_SOURCE_QUENCH = 4,
	ICMP_REDIRECT = 5,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETER_PROBLEM = 12,
	ICMPV6_PARAMETER_PROBLEM = 4, // the last of the errors, of which the first is 1
};

// Bytes of the header that must be in the packet, 0 for protocols without ports.
static __always_inline __u32 transport_size(const struct packet *p)
{
	switch (p->notes->protocol) {
	case PROTOCOL_TCP:
		return TCP_SIZE;
	case PROTOCOL_UDP:
	case PROTOCOL_UDP_LITE:
		return UDP_SIZE;
	case PROTOCOL_SCTP:
		return SCTP_SIZE;
	case PROTOCOL_DCCP:
		return DCCP_SIZE;
	case PROTOCOL_ICMP:
		return p->family == FAMILY_4 ? ICMP_SIZE : 0;
	case PROTOCOL_ICMPV6:
		return p->family == FAMILY_6 ? ICMP_SIZE : 0;
	}
	return 0;
}

// An echo has its identifier at the asker's end and the type of a request,
// as if it were a port, at the other; other messages belong to no connection.
static __always_inline void parse_icmp(struct packet *p, const __u8 *head)
{
	__u8 request = p->family == FAMILY_4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
	__u8 reply = p->family == FAMILY_4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	__be16 id = *(__be16 *)(head + 4);
	p->notes->icmp = !p->notes->fragment;
	p->notes->icmp_type = head[0];
	p->notes->icmp_code = head[1];
	if (head[1]) {
		p->notes->tuple = false;
	} else if (head[0] == request) {
		p->notes->source_port = id;
		p->notes->destination_port = bpf_htons(request);
	} else if (head[0] == reply) {
		p->notes->source_port = bpf_htons(request);
		p->notes->destination_port = id;
	} else {
		p->notes->tuple = false;
	}
}

static __always_inline bool is_neighbour_discovery(const struct packet *p)
{
	return p->family == FAMILY_6 && p->notes->icmp && p->notes->icmp_type >= 133 && p->notes->icmp_type <= 137;
}

static __always_inline bool is_multicast_listener(const struct packet *p)
{
	return p->family == FAMILY_6 && p->notes->icmp && ((p->notes->icmp_type >= 130 && p->notes->icmp_type <= 132) || p->notes->icmp_type == 143);
}

static __always_inline int parse_transport(struct packet *p)
{
	__u16 head[TRANSPORT_LOADED / 2];
	__u32 size = transport_size(p);
	if (p->notes->later)
		return NEXT;
	p->notes->tuple = true;
	if (!size)
		return NEXT;
	if (p->notes->l4 + size > p->notes->end || load_transport(p, 0, head, sizeof(head)))
		return end(p, REASON_MALFORMED);
	if (size == ICMP_SIZE && (p->notes->protocol == PROTOCOL_ICMP || p->notes->protocol == PROTOCOL_ICMPV6)) {
		parse_icmp(p, (__u8 *)head);
		return NEXT;
	}
	p->notes->source_port = head[0];
	p->notes->destination_port = head[1];
	if (p->notes->protocol == PROTOCOL_TCP && load_transport(p, TCP_FLAGS_OFFSET, &p->notes->tcp_flags, sizeof(p->notes->tcp_flags)))
		return end(p, REASON_MALFORMED);
	return NEXT;
}
