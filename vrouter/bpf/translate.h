// SPDX-License-Identifier: Apache-2.0
// Part of stage map: changes addresses and ports of a frame, and of what an ICMP
// error quotes, to what its receiver has.
#pragma once

#include "echo.h"
#include "rewrite.h"
#include "service.h"

// Where the checksum is that covers addresses, 0 = nowhere.
static __always_inline __u32 checksum_of(const struct packet *p)
{
	if (p->notes->later)
		return 0;
	if (p->notes->map.quotes)
		return p->family == FAMILY_6 ? p->notes->l4 + ICMP_CHECKSUM_OFFSET : 0;
	switch (p->notes->protocol) {
	case PROTOCOL_TCP:
		return p->notes->l4 + TCP_CHECKSUM_OFFSET;
	case PROTOCOL_UDP:
		return p->notes->l4 + UDP_CHECKSUM_OFFSET;
	case PROTOCOL_DCCP:
	case PROTOCOL_UDP_LITE: // where UDP has it
		return p->notes->l4 + UDP_SIZE <= p->notes->end ? p->notes->l4 + UDP_CHECKSUM_OFFSET : 0;
	case PROTOCOL_ICMPV6:
		return p->family == FAMILY_6 ? p->notes->l4 + ICMP_CHECKSUM_OFFSET : 0;
	}
	return 0;
}

// Whether a translation may change ports. What stands for those of others it does not.
static __always_inline bool ports_change(__u8 protocol)
{
	return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == PROTOCOL_SCTP;
}

// A checksum of UDP that is 0 stays so.
static __always_inline __u64 mangled(const struct packet *p)
{
	return p->notes->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

static __always_inline int set_addresses4(struct packet *p, __u32 checksum)
{
	const struct mapped *m = &p->notes->map;
	__be32 before[2] = { p->source.word[0], p->destination.word[0] };
	__be32 after[2] = { m->source.word[0], m->destination.word[0] };
	__u32 at = ETHERNET_SIZE + __builtin_offsetof(struct ipv4, source);
	__s64 difference = bpf_csum_diff(before, sizeof(before), after, sizeof(after), 0);
	if (checksum && bpf_l4_csum_replace(p->skb, checksum, 0, difference, BPF_F_PSEUDO_HDR | mangled(p)))
		return -1;
	return bpf_l3_csum_replace(p->skb, ETHERNET_SIZE + __builtin_offsetof(struct ipv4, checksum), 0, difference, 0) ||
	       bpf_skb_store_bytes(p->skb, at, after, sizeof(after), 0);
}

// A sum over the whole packet changes by the addresses, and by as much less by the
// checksum that covers them: the helper has taken that away.
static __always_inline int set_addresses6(struct packet *p, __u32 checksum)
{
	const struct mapped *m = &p->notes->map;
	struct address before[2] = { p->source, p->destination };
	struct address after[2] = { m->source, m->destination };
	__u32 at = ETHERNET_SIZE + __builtin_offsetof(struct ipv6, source);
	__s64 difference = bpf_csum_diff((__be32 *)before, sizeof(before), (__be32 *)after, sizeof(after), 0);
	if (checksum && bpf_l4_csum_replace(p->skb, checksum, 0, difference, BPF_F_PSEUDO_HDR | mangled(p)))
		return -1;
	return bpf_skb_store_bytes(p->skb, at, after, sizeof(after), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int set_ports(struct packet *p, __u32 checksum)
{
	const struct notes *n = p->notes;
	__u32 before = n->source_port | (__u32)n->destination_port << 16;
	__u32 after = n->map.source_port | (__u32)n->map.destination_port << 16;
	if (checksum && bpf_l4_csum_replace(p->skb, checksum, before, after, sizeof(__u32) | mangled(p)))
		return -1;
	return bpf_skb_store_bytes(p->skb, n->l4, &after, sizeof(after), 0);
}

// What changes in a quoted packet: all that a checksum of words in any order needs.
struct quoted4 {
	__be32 source;
	__be32 destination;
	__be16 ports[2];
	__u16 checksum; // of the IP header
	__u16 udp;
};

struct quoted6 {
	struct address source;
	struct address destination;
	__be16 ports[2];
	__u16 pad;
	__u16 udp;
};

// A checksum whose words have changed.
static __always_inline __u16 adjusted(__u16 checksum, __u32 difference)
{
	return fold((__u16)~checksum + (difference & 0xffff) + (difference >> 16));
}

enum { QUOTED_PROTOCOL4 = 9, QUOTED_CHECKSUM4 = 10, QUOTED_SOURCE4 = 12, QUOTED_SOURCE6 = 8 };

// The words of TCP and UDP that are quoted and change.
static __always_inline int set_quoted_ports(struct packet *p, __u32 at, const __be16 *ports, bool udp, const __u16 *checksum)
{
	return bpf_skb_store_bytes(p->skb, at, ports, 2 * sizeof(*ports), 0) ||
	       (udp && bpf_skb_store_bytes(p->skb, at + UDP_CHECKSUM_OFFSET, checksum, sizeof(*checksum), 0));
}

static __noinline int translate_quoted4(struct packet *p)
{
	const struct connection_key *q = &p->notes->map.quoted;
	__u32 at = p->notes->l4 + ICMP_SIZE;
	__u8 head;
	__u16 l4[4] = {};
	struct quoted4 was, now;
	if (bpf_skb_load_bytes(p->skb, at, &head, sizeof(head)) || bpf_skb_load_bytes(p->skb, at + QUOTED_SOURCE4, &was, 8) ||
	    bpf_skb_load_bytes(p->skb, at + QUOTED_CHECKSUM4, &was.checksum, sizeof(was.checksum)))
		return -1;
	__u32 ports = at + (head & 0x0f) * 4;
	bool change = ports_change(q->protocol);
	if (change && bpf_skb_load_bytes(p->skb, ports, l4, sizeof(l4)))
		return -1;
	was.ports[0] = l4[0];
	was.ports[1] = l4[1];
	was.udp = l4[3];
	now = (struct quoted4){ .source = q->local.word[0], .destination = q->remote.word[0], .ports = { change ? q->local_port : 0, change ? q->remote_port : 0 } };
	__u32 addresses = bpf_csum_diff(&was.source, 8, &now.source, 8, 0);
	__u32 both = bpf_csum_diff(&was.source, 12, &now.source, 12, 0);
	bool udp = q->protocol == PROTOCOL_UDP && was.udp;
	now.checksum = adjusted(was.checksum, addresses);
	now.udp = udp ? adjusted(was.udp, both) : was.udp;
	__u32 all = bpf_csum_diff(&was.source, sizeof(was), &now.source, sizeof(now), 0);
	return bpf_skb_store_bytes(p->skb, at + QUOTED_SOURCE4, &now, 8, 0) ||
	       bpf_skb_store_bytes(p->skb, at + QUOTED_CHECKSUM4, &now.checksum, sizeof(now.checksum), 0) ||
	       (change && set_quoted_ports(p, ports, now.ports, udp, &now.udp)) ||
	       bpf_l4_csum_replace(p->skb, p->notes->l4 + ICMP_CHECKSUM_OFFSET, 0, all, 0);
}

static __noinline int translate_quoted6(struct packet *p)
{
	const struct connection_key *q = &p->notes->map.quoted;
	__u32 at = p->notes->l4 + ICMP_SIZE, ports = at + IPV6_SIZE;
	__u16 l4[4] = {};
	struct quoted6 was = {}, now;
	bool change = ports_change(q->protocol);
	if (bpf_skb_load_bytes(p->skb, at + QUOTED_SOURCE6, &was, 2 * sizeof(struct address)) || (change && bpf_skb_load_bytes(p->skb, ports, l4, sizeof(l4))))
		return -1;
	was.ports[0] = l4[0];
	was.ports[1] = l4[1];
	was.udp = l4[3];
	now = (struct quoted6){ .source = q->local, .destination = q->remote, .ports = { change ? q->local_port : 0, change ? q->remote_port : 0 } };
	__u32 both = bpf_csum_diff(was.source.word, 36, now.source.word, 36, 0);
	bool udp = q->protocol == PROTOCOL_UDP && was.udp;
	now.udp = udp ? adjusted(was.udp, both) : was.udp;
	__u32 all = bpf_csum_diff(was.source.word, sizeof(was), now.source.word, sizeof(now), 0);
	return bpf_skb_store_bytes(p->skb, at + QUOTED_SOURCE6, &now, 2 * sizeof(struct address), 0) ||
	       (change && set_quoted_ports(p, ports, now.ports, udp, &now.udp)) ||
	       bpf_l4_csum_replace(p->skb, p->notes->l4 + ICMP_CHECKSUM_OFFSET, 0, all, 0);
}

static __noinline int translate_quoted(struct packet *p)
{
	return p->family == FAMILY_4 ? translate_quoted4(p) : translate_quoted6(p);
}

// Makes the frame what its receiver has. Returns 0 on success.
static __noinline int translate_frame(struct packet *p)
{
	__u32 checksum = checksum_of(p);
	if (p->family == FAMILY_4 ? set_addresses4(p, checksum) : set_addresses6(p, checksum))
		return -1;
	return p->notes->map.quotes || p->notes->later || !ports_change(p->notes->protocol) ? 0 : set_ports(p, checksum);
}
