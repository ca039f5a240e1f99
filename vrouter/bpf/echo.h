// SPDX-License-Identifier: Apache-2.0
// Stage neighbour, its last part: echo requests to a gateway address, which
// the route stage finds, are turned into their replies in place.
#pragma once

#include "neighbour.h"
#include "rewrite.h"

enum {
	ECHO_HOP_COUNT = 64,
	ICMP_CHECKSUM_OFFSET = 2,
};

static __always_inline int exchange_addresses(struct packet *p)
{
	// The sum over both addresses does not change, so no checksum does.
	if (p->family == FAMILY_4) {
		__be32 both[2] = { p->destination.word[0], p->source.word[0] };
		return bpf_skb_store_bytes(p->skb, ETHERNET_SIZE + __builtin_offsetof(struct ipv4, source), both, sizeof(both), 0);
	}
	struct address both[2] = { p->destination, p->source };
	return bpf_skb_store_bytes(p->skb, ETHERNET_SIZE + __builtin_offsetof(struct ipv6, source), both, sizeof(both), 0);
}

// The helper leaves a checksum alone that hardware has yet to fill in.
static __always_inline int change_icmp_type(struct packet *p, __u8 to)
{
	__be16 before = bpf_htons(p->notes->icmp_type << 8);
	__be16 after = bpf_htons(to << 8);
	return bpf_l4_csum_replace(p->skb, p->notes->l4 + ICMP_CHECKSUM_OFFSET, before, after, sizeof(after)) ||
	       bpf_skb_store_bytes(p->skb, p->notes->l4, &to, sizeof(to), 0);
}

static __always_inline int answer_echo(struct packet *p)
{
	__u8 request = p->family == FAMILY_4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
	__u8 reply = p->family == FAMILY_4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	struct config_value *c = configuration();
	if (!p->notes->icmp || p->notes->icmp_type != request || p->notes->icmp_code || !c)
		return end(p, REASON_GATEWAY_UNANSWERED);
	struct mac gateway = c->gateway;
	if (exchange_addresses(p) || set_hop_count(p, ECHO_HOP_COUNT) || change_icmp_type(p, reply) ||
	    set_ethernet(p, &p->ethernet.source, &gateway))
		return end(p, REASON_ANSWER_FAILED);
	return send_answer(p);
}
