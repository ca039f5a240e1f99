// SPDX-License-Identifier: Apache-2.0
// Part of stage policy: the packet that an ICMP error is about. The error
// belongs to that one's conversation.
#pragma once

#include "connection.h"
#include "ruleset.h"
#include "parse.h"

// Fills in addresses and protocol of a quoted IPv4 header and returns where
// the transport header is, 0 if it does not tell.
static __always_inline __u32 quoted4(struct __sk_buff *skb, struct notes *n, __u32 at)
{
	struct connection_key *s = &n->subject;
	struct ipv4 ip;
	if (at + IPV4_SIZE > n->end || bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return 0;
	__u32 header = (ip.version_length & 0x0f) * 4;
	if (ip.version_length >> 4 != 4 || header < IPV4_SIZE || ip.fragment & bpf_htons(0x1fff))
		return 0;
	s->protocol = ip.protocol;
	s->local.word[0] = ip.source;
	s->remote.word[0] = ip.destination;
	return at + header;
}

static __always_inline __u32 quoted6(struct __sk_buff *skb, struct notes *n, __u32 at)
{
	struct connection_key *s = &n->subject;
	__u8 head[8];
	if (at + IPV6_SIZE > n->end || bpf_skb_load_bytes(skb, at, head, sizeof(head)))
		return 0;
	if (head[0] >> 4 != 6 || bpf_skb_load_bytes(skb, at + 8, &s->local, 2 * sizeof(struct address)))
		return 0;
	s->protocol = head[6];
	return at + IPV6_SIZE;
}

// The ports of what is quoted, or what stands for them.
static __always_inline bool quoted_ports(struct __sk_buff *skb, struct notes *n, __u32 at)
{
	struct connection_key *s = &n->subject;
	__u16 head[4];
	bool four = s->family == FAMILY_4;
	switch (s->protocol) {
	case PROTOCOL_TCP:
	case PROTOCOL_UDP:
	case PROTOCOL_SCTP:
	case PROTOCOL_DCCP:
	case PROTOCOL_UDP_LITE:
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		break;
	default:
		return true;
	}
	bool icmp = s->protocol == (four ? PROTOCOL_ICMP : PROTOCOL_ICMPV6);
	if (!icmp && (s->protocol == PROTOCOL_ICMP || s->protocol == PROTOCOL_ICMPV6))
		return true; // that of the other family has no ports
	if (at + sizeof(head) > n->end || bpf_skb_load_bytes(skb, at, head, sizeof(head)))
		return false;
	s->local_port = head[0];
	s->remote_port = head[1];
	if (!icmp)
		return true;
	__u8 type = *(__u8 *)head, code = *((__u8 *)head + 1);
	__u8 request = four ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
	__u8 reply = four ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	if (code || (type != request && type != reply))
		return false;
	s->local_port = type == request ? head[2] : bpf_htons(request);
	s->remote_port = type == request ? bpf_htons(request) : head[2];
	return true;
}

static __always_inline bool icmp_error(const struct packet *p)
{
	const struct notes *n = p->notes;
	if (!n->icmp)
		return false;
	if (p->family == FAMILY_6)
		return n->icmp_type && n->icmp_type <= ICMPV6_PARAMETER_PROBLEM;
	switch (n->icmp_type) {
	case ICMP_UNREACHABLE:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return true;
	}
	return false;
}

// Reads what an ICMP error quotes: the connection of that packet as its sender
// has it, which an end that hears the error is. A global function: the verifier
// looks at it once, and not for each way that leads here. Returns 0 if it tells.
__noinline int read_subject(struct __sk_buff *skb, __u32 family)
{
	struct notes *n = notes();
	if (!n)
		return -1;
	struct connection_key *s = &n->subject;
	__builtin_memset(s, 0, sizeof(*s));
	s->family = family;
	__u32 at = family == FAMILY_4 ? quoted4(skb, n, n->l4 + ICMP_SIZE) : quoted6(skb, n, n->l4 + ICMP_SIZE);
	return at && quoted_ports(skb, n, at) ? 0 : -1;
}

// Whether the packet is an ICMP error that quotes enough of one that the error's
// destination sent.
static __always_inline bool find_subject(struct packet *p)
{
	return icmp_error(p) && !read_subject(p->skb, p->family) && address_equal(&p->notes->subject.local, &p->destination);
}

// Makes the end's key that of what the error is about.
static __always_inline void set_subject_key(struct notes *n, enum direction end)
{
	struct connection_key *key = &n->keys[end];
	const struct connection_key *s = &n->subject;
	bool hears = end == DIRECTION_IN;
	key->protocol = s->protocol;
	key->local = hears ? s->local : s->remote;
	key->remote = hears ? s->remote : s->local;
	key->local_port = hears ? s->local_port : s->remote_port;
	key->remote_port = hears ? s->remote_port : s->local_port;
}

// The end's entry of what the error is about, if there is one: then its key is
// the end's.
static __always_inline struct connection_value *subject_connection(struct packet *p, const struct port_value *port, __u32 ifindex, enum direction end)
{
	if (!port || port->flags & PORT_STATELESS)
		return 0;
	set_subject_key(p->notes, end);
	struct connection_value *c = connection_of(p, port, end);
	if (!c)
		set_connection_key(p, ifindex, end);
	return c;
}
