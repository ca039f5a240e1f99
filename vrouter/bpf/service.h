// SPDX-License-Identifier: Apache-2.0
// Stage service: between a workload and this host's own TCP/IP, where services
// listen and from where the host reaches its workloads.
#pragma once

#include "request.h"
#include "rewrite.h"

enum {
	TCP_CHECKSUM_OFFSET = 16,
	UDP_CHECKSUM_OFFSET = 6,
	BPF_F_PSEUDO_HDR = 1 << 4,
	BPF_F_MARK_MANGLED_0 = 1 << 5,
	SOCKET_NONE = 0,
	SOCKET_LIMITED = 1 << 16, // no port
	HOST_ALIAS = 1, // the host's own; ports have others
	ALIAS_BITS = 14,
};

// A UDP conversation that the host began is over when it has been silent for
// this long (the kernel's own value for one that was answered).
#define UDP_SILENCE (120 * 1000000000ULL)

struct ports_pair {
	__be16 source;
	__be16 destination;
};

// The alias of a number: 169.254.64.0/18, or fe80::7765:6674:0:0/114.
static __always_inline struct address alias_of(enum family family, __u32 number)
{
	if (family == FAMILY_4)
		return (struct address){ { bpf_htonl(0xa9fe4000 | number), 0, 0, 0 } };
	return (struct address){ { bpf_htonl(0xfe800000), 0, bpf_htonl(0x77656674), bpf_htonl(number) } };
}

static __always_inline __u32 alias_number(enum family family, const struct address *a)
{
	__u32 number = bpf_ntohl(family == FAMILY_4 ? a->word[0] : a->word[3]) & ((1 << ALIAS_BITS) - 1);
	struct address alias = alias_of(family, number);
	return address_equal(a, &alias) ? number : 0;
}

// The transport ports, if this is a whole packet of TCP or UDP.
static __always_inline bool transport(const struct packet *p, struct ports_pair *ports)
{
	const struct notes *n = p->notes;
	if (p->arp || n->fragment || (n->protocol != PROTOCOL_TCP && n->protocol != PROTOCOL_UDP))
		return false;
	ports->source = n->source_port;
	ports->destination = n->destination_port;
	return true;
}

struct translation {
	struct address source;
	struct address destination;
	struct ports_pair ports;
};

static __always_inline int translate4(struct packet *p, const struct translation *t)
{
	__be32 before[2] = { p->source.word[0], p->destination.word[0] };
	__be32 after[2] = { t->source.word[0], t->destination.word[0] };
	__u32 at = ETHERNET_SIZE + __builtin_offsetof(struct ipv4, source);
	__s64 difference = bpf_csum_diff(before, sizeof(before), after, sizeof(after), 0);
	__u64 flags = BPF_F_PSEUDO_HDR | (p->notes->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0);
	__u32 checksum = p->notes->l4 + (p->notes->protocol == PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);
	return bpf_l4_csum_replace(p->skb, checksum, 0, difference, flags) ||
	       bpf_l3_csum_replace(p->skb, ETHERNET_SIZE + __builtin_offsetof(struct ipv4, checksum), 0, difference, 0) ||
	       bpf_skb_store_bytes(p->skb, at, after, sizeof(after), 0);
}

static __always_inline int translate6(struct packet *p, const struct translation *t)
{
	struct address before[2] = { p->source, p->destination };
	struct address after[2] = { t->source, t->destination };
	__u32 at = ETHERNET_SIZE + __builtin_offsetof(struct ipv6, source);
	__s64 difference = bpf_csum_diff((__be32 *)before, sizeof(before), (__be32 *)after, sizeof(after), 0);
	__u64 flags = BPF_F_PSEUDO_HDR | (p->notes->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0);
	__u32 checksum = p->notes->l4 + (p->notes->protocol == PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);
	return bpf_l4_csum_replace(p->skb, checksum, 0, difference, flags) ||
	       bpf_skb_store_bytes(p->skb, at, after, sizeof(after), 0);
}

static __noinline int translate(struct packet *p, const struct translation *t, const struct ports_pair *was)
{
	__u32 checksum = p->notes->l4 + (p->notes->protocol == PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);
	__u64 flags = sizeof(__u32) | (p->notes->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0);
	__u32 before = was->source | (__u32)was->destination << 16;
	__u32 after = t->ports.source | (__u32)t->ports.destination << 16;
	if (p->family == FAMILY_4 ? translate4(p, t) : translate6(p, t))
		return -1;
	if (before == after)
		return 0;
	return bpf_l4_csum_replace(p->skb, checksum, before, after, flags) ||
	       bpf_skb_store_bytes(p->skb, p->notes->l4, &after, sizeof(after), 0);
}

static __always_inline struct host_flow_key flow_key_of(const struct packet *p, __u32 ifindex, __be16 workload, __be16 host)
{
	return (struct host_flow_key){
		.ifindex = ifindex, .family = p->family, .protocol = p->notes->protocol, .workload_port = workload, .host_port = host,
	};
}

// Whether a packet belongs to a conversation that the host began.
static __always_inline bool host_began(const struct packet *p, const struct host_flow_value *flow)
{
	if (!flow || !flow->from_host || !address_equal(&flow->workload, &p->source) || !address_equal(&flow->peer, &p->destination))
		return false;
	if (p->notes->protocol == PROTOCOL_UDP)
		return bpf_ktime_get_ns() - flow->seen < UDP_SILENCE;
	// A workload opens no connection to the host.
	return (p->notes->flags & (TCP_SYN | TCP_ACK)) != TCP_SYN;
}

// How often the time of a conversation is written.
#define FLOW_TICK (1ULL << 30)

enum { PORT_CANDIDATES = 4, FIRST_CANDIDATE = 32768 };

#define HASH_PRIME 2654435761U

static __always_inline __u32 hash_of(const struct packet *p, const struct ports_pair *ports)
{
	__u32 h = 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = (h ^ bpf_ntohl(p->source.word[i])) * HASH_PRIME;
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = (h ^ bpf_ntohl(p->destination.word[i])) * HASH_PRIME;
	return (h ^ ((__u32)bpf_ntohs(ports->source) << 16 | bpf_ntohs(ports->destination))) * HASH_PRIME;
}

// Whether a flow is the conversation with a service that a packet belongs to.
static __always_inline bool converses(const struct packet *p, const struct ports_pair *ports, const struct host_flow_value *flow)
{
	return !flow->from_host && flow->workload_port == ports->source && flow->peer_port == ports->destination &&
	       address_equal(&flow->workload, &p->source) && address_equal(&flow->peer, &p->destination);
}

enum { BEGINNING = 4 }; // what a new conversation takes, in packets of UDP

// Takes what a packet to a service costs from the port's share, if it has that
// much left.
static __always_inline bool use_service(const struct packet *p, bool begins)
{
	__u32 ifindex = p->ifindex;
	struct config_value *c = configuration();
	__u64 until, count = (p->notes->protocol == PROTOCOL_UDP) + (begins ? BEGINNING : 0);
	if (!count)
		return true;
	return c && share_left(bpf_map_lookup_elem(&service_times, &ifindex), c->service_interval, c->service_burst, count, &until) &&
	       world_use_service(ifindex, until);
}

// Chooses the port from which the host sees a conversation with a listener, and
// remembers what the conversation looked like; SOCKET_NONE if it cannot,
// SOCKET_LIMITED if the port has no share left for it.
static __noinline __u32 host_side_port(struct packet *p, const struct ports_pair *ports, __be16 listener)
{
	struct host_flow_key at = flow_key_of(p, p->ifindex, ports->source, listener);
	struct host_flow_value now = {
		.seen = bpf_ktime_get_ns(), .workload = p->source, .peer = p->destination,
		.peer_port = ports->destination, .workload_port = ports->source,
	};
	__u64 least = ~0ULL;
	__be16 chosen = ports->source;
	bool begins = true, recent = false;
	__u32 h = hash_of(p, ports);
#pragma unroll
	for (__u32 i = 0; i < PORT_CANDIDATES; i++) {
		if (i) {
			h = (h ^ i) * HASH_PRIME;
			at.workload_port = bpf_htons(FIRST_CANDIDATE + (h >> 17));
		}
		struct host_flow_value *flow = bpf_map_lookup_elem(&host_flows, &at);
		if (flow && converses(p, ports, flow)) {
			begins = false;
			recent = now.seen - flow->seen < FLOW_TICK;
			chosen = at.workload_port;
			break;
		}
		__u64 seen = flow ? flow->seen : 0;
		if (seen < least) {
			least = seen;
			chosen = at.workload_port;
		}
	}
	if (!use_service(p, begins))
		return SOCKET_LIMITED;
	if (recent)
		return chosen;
	at.workload_port = chosen;
	return world_remember_flow(&at, &now) ? SOCKET_NONE : chosen;
}

// Where on the host a packet goes and from which port; no listener: it is not
// for the host, or was limited.
static __always_inline struct ports_pair host_ports(struct packet *p, const struct ports_pair *ports, bool *limited)
{
	struct service_key key = { .vrf = p->vrf, .family = p->family, .protocol = p->notes->protocol, .port = ports->destination, .address = p->destination };
	__be16 *listener = bpf_map_lookup_elem(&services, &key);
	struct ports_pair host = *ports;
	if (listener) {
		__u32 source = host_side_port(p, ports, *listener);
		*limited = source == SOCKET_LIMITED;
		host.source = source;
		host.destination = *limited || source == SOCKET_NONE ? SOCKET_NONE : *listener;
		return host;
	}
	struct host_flow_key at = flow_key_of(p, p->ifindex, ports->source, ports->destination);
	if (!host_began(p, bpf_map_lookup_elem(&host_flows, &at)))
		host.destination = SOCKET_NONE;
	return host;
}

// Out of the vRouter's end of the host path.
static __noinline int send_to_host(struct packet *p)
{
	struct config_value *c = configuration();
	if (!c || !c->host_ifindex)
		return end(p, REASON_NO_HOST_PATH);
	struct mac host = c->host_mac, gateway = c->gateway;
	__u32 ifindex = c->host_ifindex;
	if (set_ethernet(p, &host, &gateway))
		return end(p, REASON_REWRITE_FAILED);
	if (world_redirect(p->skb, ifindex) != TC_ACT_REDIRECT)
		return end(p, REASON_HOST_REDIRECT_FAILED);
	world_count_hosted(p->skb->len);
	world_verdict(VERDICT_HOSTED, REASON_NONE);
	return TC_ACT_REDIRECT;
}

// From a workload to a gateway address; NEXT if that is not for the host.
static __always_inline int stage_service(struct packet *p)
{
	world_meet(STAGE_SERVICE);
	struct ports_pair ports;
	struct config_value *c = configuration();
	if (!p->from || !c || !transport(p, &ports))
		return NEXT;
	bool limited = false;
	struct ports_pair host_side = host_ports(p, &ports, &limited);
	if (limited)
		return end(p, REASON_SERVICE_LIMITED);
	if (host_side.destination == SOCKET_NONE)
		return NEXT;
	if (!c->host_ifindex || !p->from->alias)
		return end(p, REASON_NO_HOST_PATH);
	struct translation t = {
		.source = alias_of(p->family, p->from->alias),
		.destination = alias_of(p->family, HOST_ALIAS),
		.ports = host_side,
	};
	if (translate(p, &t, &ports))
		return end(p, REASON_REWRITE_FAILED);
	return send_to_host(p);
}
