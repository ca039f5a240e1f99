// SPDX-License-Identifier: Apache-2.0
// Stage error: a packet that cannot go on is answered with an ICMP error.
#pragma once

#include "lookup.h"
#include "parse.h"
#include "share.h"
#include "vlan.h"

enum {
	ERROR_HOP_COUNT = 64,
	ERROR_QUOTE = 128, // bytes at most of the packet it is about
	ERROR_SERVICE = 0xc0, // internetwork control, RFC 1812
};

enum {
	ICMP_FRAGMENTATION_NEEDED = 4, // a code of ICMP_UNREACHABLE
	ICMPV6_TOO_BIG = 2,
	ICMPV6_TIME_EXCEEDED = 3,
	ICMPV6_QUERIES = 128, // and errors before them
};

// Type and code of what is sent.
enum error_kind {
	ERROR4_TOO_BIG = ICMP_UNREACHABLE << 8 | ICMP_FRAGMENTATION_NEEDED,
	ERROR4_TIME_EXCEEDED = ICMP_TIME_EXCEEDED << 8,
	ERROR4_PROHIBITED = ICMP_UNREACHABLE << 8 | 13, // administratively
	ERROR6_TOO_BIG = ICMPV6_TOO_BIG << 8,
	ERROR6_TIME_EXCEEDED = ICMPV6_TIME_EXCEEDED << 8,
	ERROR6_PROHIBITED = 1 << 8 | 1,
	ERROR4_PORT_UNREACHABLE = ICMP_UNREACHABLE << 8 | 3,
	ERROR6_PORT_UNREACHABLE = 1 << 8 | 4,
};

struct error_message {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 limit;
	__u8 quote[ERROR_QUOTE];
};

// The pad aligns the addresses and is not sent.
struct error4 {
	__u16 pad;
	struct ethernet ethernet;
	struct ipv4 ip;
	struct error_message icmp;
};

struct error6 {
	__u16 pad;
	struct ethernet ethernet;
	struct ipv6 ip;
	struct error_message icmp;
};

static __always_inline bool icmp_query(const struct packet *p)
{
	if (p->notes->fragment)
		return false;
	if (p->family == FAMILY_6)
		return p->notes->icmp_type >= ICMPV6_QUERIES;
	switch (p->notes->icmp_type) {
	case ICMP_UNREACHABLE:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return false;
	}
	return true;
}

// Notes which address the error is from: the port's gateway, or on an uplink
// this host's own.
static __always_inline bool take_router(const struct packet *p)
{
	bool four = p->family == FAMILY_4;
	struct config_value *c = configuration();
	if (p->from)
		p->notes->router = four ? p->from->gateway4 : p->from->gateway6;
	else if (p->from_fabric && c)
		p->notes->router = four ? c->local4 : c->local6;
	else
		return false;
	return true;
}

static __always_inline bool error_allowed(const struct packet *p)
{
	__u8 icmp = p->family == FAMILY_4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
	if (p->notes->later || (p->notes->protocol == icmp && !icmp_query(p)))
		return false;
	return take_router(p) && !unspecified(&p->notes->router);
}

// Takes one of the port's errors, if it has one left.
static __always_inline bool use_error(const struct packet *p)
{
	__u32 ifindex = p->ifindex;
	struct config_value *c = configuration();
	if (!c)
		return false;
	__u64 until;
	return share_left(bpf_map_lookup_elem(&error_times, &ifindex), c->error_interval, c->error_burst, 1, &until) &&
	       world_use_error(ifindex, until);
}

// How much of the packet is quoted. 64 bits wide, which spares the compiler
// conversions behind which the verifier loses the bounds.
static __always_inline __u64 quoted(const struct packet *p)
{
	__u64 size = p->notes->end - ETHERNET_SIZE;
	return size < ERROR_QUOTE ? size : ERROR_QUOTE;
}

// Fills the quote, whose rest stays zero and so out of every sum.
static __always_inline int quote(struct packet *p, struct error_message *m, __u64 size)
{
	barrier_var(size);
	if (size < IPV4_SIZE || size > ERROR_QUOTE)
		return -1;
	return bpf_skb_load_bytes(p->skb, ETHERNET_SIZE, m->quote, size);
}

// Makes the frame this one, which ends with size bytes of quote.
static __always_inline int replace_frame(struct packet *p, const void *frame, __u64 header, __u64 size)
{
	if (bpf_skb_change_tail(p->skb, header + size, 0))
		return -1;
	barrier_var(size);
	if (size < IPV4_SIZE || size > ERROR_QUOTE)
		return -1;
	return bpf_skb_store_bytes(p->skb, 0, frame, header + size, 0);
}

static __always_inline struct ethernet error_ethernet(const struct packet *p)
{
	struct config_value *c = configuration();
	struct ethernet e = { .destination = p->ethernet.source, .source = p->ethernet.destination, .type = p->ethernet.type };
	if (c && !p->from_fabric)
		e.source = c->gateway;
	return e;
}

// The answer under construction, which is too large for the stack.
union error_frame {
	struct error4 four;
	struct error6 six;
};

struct {
	TABLE(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, union error_frame);
} error_scratch SEC(".maps");

static __always_inline union error_frame *error_frame(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&error_scratch, &zero);
}

static __noinline int build_error4(struct packet *p, enum error_kind kind, __u32 limit)
{
	enum { HEADER = ETHERNET_SIZE + IPV4_SIZE + ICMP_SIZE };
	__u64 size = quoted(p);
	union error_frame *frame = error_frame();
	if (!frame)
		return -1;
	struct error4 *e = &frame->four;
	*e = (struct error4){
		.ethernet = error_ethernet(p),
		.ip = {
			.version_length = 4 << 4 | IPV4_SIZE / 4,
			.tos = ERROR_SERVICE,
			.total_length = bpf_htons(IPV4_SIZE + ICMP_SIZE + size),
			.fragment = bpf_htons(IPV4_DONT_FRAGMENT),
			.ttl = ERROR_HOP_COUNT,
			.protocol = PROTOCOL_ICMP,
			.source = p->notes->router.word[0],
			.destination = p->source.word[0],
		},
		.icmp = { .type = kind >> 8, .code = kind & 0xff, .limit = bpf_htonl(limit) },
	};
	if (quote(p, &e->icmp, size))
		return -1;
	e->ip.checksum = fold(bpf_csum_diff(0, 0, (__be32 *)&e->ip, sizeof(e->ip), 0));
	e->icmp.checksum = fold(bpf_csum_diff(0, 0, (__be32 *)&e->icmp, sizeof(e->icmp), 0));
	return replace_frame(p, &e->ethernet, HEADER, size);
}

static __noinline int build_error6(struct packet *p, enum error_kind kind, __u32 limit)
{
	enum { HEADER = ETHERNET_SIZE + IPV6_SIZE + ICMP_SIZE };
	__u64 size = quoted(p);
	union error_frame *frame = error_frame();
	if (!frame)
		return -1;
	struct error6 *e = &frame->six;
	*e = (struct error6){
		.ethernet = error_ethernet(p),
		.ip = {
			.version_class = 6 << 4,
			.payload_length = bpf_htons(ICMP_SIZE + size),
			.next_header = PROTOCOL_ICMPV6,
			.hop_limit = ERROR_HOP_COUNT,
			.source = p->notes->router,
			.destination = p->source,
		},
		.icmp = { .type = kind >> 8, .code = kind & 0xff, .limit = bpf_htonl(limit) },
	};
	if (quote(p, &e->icmp, size))
		return -1;
	// Both addresses and the message, then length and protocol.
	__u32 rest = bpf_htonl(ICMP_SIZE + size + PROTOCOL_ICMPV6);
	__s64 sum = bpf_csum_diff(0, 0, (__be32 *)&e->ip.source, 2 * sizeof(struct address) + sizeof(e->icmp),
				  (rest >> 16) + (rest & 0xffff));
	e->icmp.checksum = fold(sum);
	return replace_frame(p, &e->ethernet, HEADER, size);
}

// Ends a packet for a reason that its sender should hear. limit is that of a
// packet too big, else 0.
static __always_inline int end_with_error(struct packet *p, enum reason reason, __u32 limit)
{
	__u32 came = p->skb->len;
	world_meet(STAGE_ERROR);
	if (!error_allowed(p))
		return end(p, reason);
	if (!use_error(p))
		return end(p, REASON_ERROR_LIMITED);
	report_drop(p, reason); // while the frame is as it came
	if (p->family == FAMILY_4 ? build_error4(p, limit ? ERROR4_TOO_BIG : ERROR4_TIME_EXCEEDED, limit) :
				    build_error6(p, limit ? ERROR6_TOO_BIG : ERROR6_TIME_EXCEEDED, limit))
		return end(p, REASON_ERROR_FAILED);
	if (send_back(p) != TC_ACT_REDIRECT)
		return end(p, REASON_ERROR_FAILED);
	world_count_drop(p->ifindex, reason, came);
	if (p->from_fabric)
		world_count_fabric_sent(p->skb->len);
	else
		world_count_sent(p->from, p->skb->len);
	world_verdict(VERDICT_ANSWERED, reason);
	return TC_ACT_REDIRECT;
}
