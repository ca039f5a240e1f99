// SPDX-License-Identifier: Apache-2.0
// Stage answer: whoever sent what policy rejects is told so. See
// doc/packet-path.md.
#pragma once

#include "encap.h"
#include "error.h"

struct tcp {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 offset; // in words, in the upper half
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

// The pad aligns the addresses and is not sent.
struct reset4 {
	__u16 pad;
	struct ethernet ethernet;
	struct ipv4 ip;
	struct tcp tcp;
};

struct reset6 {
	__u16 pad;
	struct ethernet ethernet;
	struct ipv6 ip;
	struct tcp tcp;
};

// Makes t the reset that answers the segment in hand. Returns 0 on success.
static __always_inline int make_reset(const struct packet *p, struct tcp *t)
{
	struct tcp came;
	__u32 size = p->notes->end - p->notes->l4;
	if (load_transport(p, 0, &came, sizeof(came)))
		return -1;
	__u32 header = (came.offset >> 4) * 4;
	if (came.flags & TCP_RST || header < sizeof(came) || header > size)
		return -1;
	*t = (struct tcp){ .source = came.destination, .destination = came.source, .offset = sizeof(came) / 4 << 4 };
	if (came.flags & TCP_ACK) {
		t->sequence = came.acknowledgement;
		t->flags = TCP_RST;
		return 0;
	}
	__u32 length = size - header + !!(came.flags & TCP_SYN) + !!(came.flags & TCP_FIN);
	t->acknowledgement = bpf_htonl(bpf_ntohl(came.sequence) + length);
	t->flags = TCP_RST | TCP_ACK;
	return 0;
}

// The sum of what a checksum of TCP covers besides the segment.
static __always_inline __u16 pseudo_sum(const __be32 *addresses, __u32 size)
{
	__u32 rest = bpf_htonl(sizeof(struct tcp) + PROTOCOL_TCP);
	return ~fold(bpf_csum_diff(0, 0, (__be32 *)addresses, size, (rest >> 16) + (rest & 0xffff)));
}

// Makes the frame a reset, whose checksum is the sum of the pseudo header: what
// the kernel or the hardware completes if it was to do so for the segment. If
// not, the helper completes it, for it does nothing to the others.
static __always_inline int send_reset(struct packet *p, const void *frame, __u64 header, const struct tcp *t)
{
	__u32 sum = (__u16)~fold(bpf_csum_diff(0, 0, (__be32 *)t, sizeof(*t), 0)); // with the pseudo header's in it
	if (bpf_skb_change_tail(p->skb, header + sizeof(*t), 0) || bpf_skb_store_bytes(p->skb, 0, frame, header + sizeof(*t), 0))
		return -1;
	return bpf_l4_csum_replace(p->skb, header + __builtin_offsetof(struct tcp, checksum), 0, sum + t->checksum, 0);
}

static __noinline int build_reset4(struct packet *p)
{
	struct reset4 r = { .ethernet = error_ethernet(p) };
	r.ip = (struct ipv4){
		.version_length = 4 << 4 | IPV4_SIZE / 4,
		.total_length = bpf_htons(IPV4_SIZE + sizeof(r.tcp)),
		.fragment = bpf_htons(IPV4_DONT_FRAGMENT),
		.ttl = ERROR_HOP_COUNT,
		.protocol = PROTOCOL_TCP,
		.source = p->destination.word[0],
		.destination = p->source.word[0],
	};
	r.ip.checksum = fold(bpf_csum_diff(0, 0, (__be32 *)&r.ip, sizeof(r.ip), 0));
	if (make_reset(p, &r.tcp))
		return -1;
	r.tcp.checksum = pseudo_sum(&r.ip.source, 2 * sizeof(r.ip.source));
	return send_reset(p, &r.ethernet, ETHERNET_SIZE + IPV4_SIZE, &r.tcp);
}

static __noinline int build_reset6(struct packet *p)
{
	struct reset6 r = { .ethernet = error_ethernet(p) };
	r.ip = (struct ipv6){
		.version_class = 6 << 4,
		.payload_length = bpf_htons(sizeof(r.tcp)),
		.next_header = PROTOCOL_TCP,
		.hop_limit = ERROR_HOP_COUNT,
		.source = p->destination,
		.destination = p->source,
	};
	if (make_reset(p, &r.tcp))
		return -1;
	r.tcp.checksum = pseudo_sum((__be32 *)&r.ip.source, 2 * sizeof(r.ip.source));
	return send_reset(p, &r.ethernet, ETHERNET_SIZE + IPV6_SIZE, &r.tcp);
}

// Whether there may be an answer to the packet.
static __always_inline bool answerable(const struct packet *p)
{
	const struct notes *n = p->notes;
	__u8 icmp = p->family == FAMILY_4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
	if (p->arp || n->later || p->ethernet.destination.byte[0] & 1)
		return false;
	if (n->protocol == PROTOCOL_TCP)
		return !(n->flags & TCP_RST);
	return n->protocol != icmp || icmp_query(p);
}

// Takes one of the interface's answers, if it has one left.
static __always_inline bool use_answer(__u32 ifindex)
{
	struct config_value *c = configuration();
	__u64 until;
	return c && share_left(bpf_map_lookup_elem(&answer_times, &ifindex), c->error_interval, c->error_burst, 1, &until) &&
	       world_use_answer(ifindex, until);
}

// Makes the frame the answer to what it was, and the packet in hand that of the
// answer. port is the one whose gateway it is from, null of an uplink.
static __always_inline int build_answer(struct packet *p, const struct port_value *port)
{
	struct notes *n = p->notes;
	bool four = p->family == FAMILY_4;
	struct config_value *c = configuration();
	if (!c)
		return -1;
	if (n->protocol == PROTOCOL_TCP)
		return four ? build_reset4(p) : build_reset6(p);
	if (port)
		n->router = four ? port->gateway4 : port->gateway6;
	else
		n->router = four ? c->local4 : c->local6;
	if (unspecified(&n->router))
		n->router = p->destination;
	return four ? build_error4(p, ERROR4_PROHIBITED, 0) : build_error6(p, ERROR6_PROHIBITED, 0);
}

// Makes it the answer of a virtual address.
static __always_inline int build_virtual(struct packet *p, enum error_kind kind4, enum error_kind kind6)
{
	bool four = p->family == FAMILY_4;
	if (p->notes->protocol == PROTOCOL_TCP)
		return four ? build_reset4(p) : build_reset6(p);
	p->notes->router = p->destination;
	return four ? build_error4(p, kind4, 0) : build_error6(p, kind6, 0);
}

static __always_inline int answered(int action, enum reason reason)
{
	if (action == TC_ACT_REDIRECT)
		world_verdict(VERDICT_ANSWERED, reason);
	return action;
}
