// SPDX-License-Identifier: Apache-2.0
// Part of stage parse: ports, or what stands for them, and flags.
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
	TCP_ACKNOWLEDGEMENT_OFFSET = 8, // from here to the flags, 6 bytes
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

// Positions and expectations are upper halves of 32-bit numbers, see state.h.
static __always_inline int parse_tcp(struct packet *p, const __u16 *head)
{
	struct notes *n = p->notes;
	__u16 rest[3];
	if (load_transport(p, TCP_ACKNOWLEDGEMENT_OFFSET, rest, sizeof(rest)))
		return end(p, REASON_MALFORMED);
	n->position = bpf_ntohs(head[2]);
	n->shown = bpf_ntohs(rest[0]);
	n->flags = (__u8)(bpf_ntohs(rest[2]));
	return NEXT;
}

enum sctp_chunk {
	CHUNK_DATA = 0,
	CHUNK_INIT = 1,
	CHUNK_INIT_ACK = 2,
	CHUNK_ABORT = 6,
	CHUNK_SHUTDOWN = 7,
	CHUNK_SHUTDOWN_ACK = 8,
	CHUNK_SHUTDOWN_COMPLETE = 14,
	CHUNK_I_DATA = 64,
};

enum {
	CHUNK_HEAD = 4,
	CHUNK_INIT_HEAD = 8, // to the end of the tag
	CHUNKS_READ = 4,
	CHUNK_REFLECTED = 1, // the T bit
};

// What a chunk stands for, as a flag of TCP.
static __always_inline __u8 flags_of_chunk(__u8 type)
{
	switch (type) {
	case CHUNK_INIT:
		return TCP_SYN;
	case CHUNK_INIT_ACK:
		return TCP_SYN | TCP_ACK;
	case CHUNK_ABORT:
		return TCP_RST;
	case CHUNK_SHUTDOWN:
	case CHUNK_SHUTDOWN_ACK:
	case CHUNK_SHUTDOWN_COMPLETE:
		return TCP_FIN;
	}
	return 0;
}

// Looks for a chunk that stands for a flag. A global function: the verifier looks
// at it once, and not for each way that leads here.
__noinline __attribute__((unused)) int read_chunks(struct __sk_buff *skb)
{
	struct notes *n = notes();
	if (!n)
		return 0;
	__u32 at = n->l4 + SCTP_SIZE;
	for (int i = 0; i < CHUNKS_READ; i++) {
		__u8 head[CHUNK_HEAD];
		__be16 tag;
		if (at + CHUNK_HEAD > n->end || bpf_skb_load_bytes(skb, at, head, sizeof(head)))
			return 0;
		if (head[0] == CHUNK_DATA || head[0] == CHUNK_I_DATA)
			return 0;
		__u8 flags = flags_of_chunk(head[0]);
		if (flags & TCP_SYN) {
			if (at + CHUNK_INIT_HEAD > n->end || bpf_skb_load_bytes(skb, at + CHUNK_HEAD, &tag, sizeof(tag)))
				return 0;
			n->shown = bpf_ntohs(tag);
		}
		if (flags) {
			n->flags = flags;
			n->reflected = head[1] & CHUNK_REFLECTED && (head[0] == CHUNK_ABORT || head[0] == CHUNK_SHUTDOWN_COMPLETE);
			return 0;
		}
		__u32 length = head[2] << 8 | head[3];
		at += length < CHUNK_HEAD ? CHUNK_HEAD : (length + 3) & ~3;
	}
	return 0;
}

static __always_inline int parse_sctp(struct packet *p, const __u16 *head)
{
	struct notes *n = p->notes;
	__u8 first;
	n->position = bpf_ntohs(head[2]);
	if (n->l4 + SCTP_SIZE + CHUNK_HEAD > n->end || load_transport(p, SCTP_SIZE, &first, sizeof(first)) || first == CHUNK_DATA)
		return NEXT;
	read_chunks(p->skb);
	return NEXT;
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
	switch (p->notes->protocol) {
	case PROTOCOL_TCP:
		return parse_tcp(p, head);
	case PROTOCOL_SCTP:
		return parse_sctp(p, head);
	}
	return NEXT;
}
