// SPDX-License-Identifier: Apache-2.0
// Hook to_underlay: frames in the label path, each one packet. See
// doc/packet-path.md.
#include "label.h"
#include "lookup.h"
#include "sum.h"

// The pad aligns the addresses and is not sent.
struct outer4 {
	__u16 pad;
	struct ethernet ethernet;
	struct ipv4 ip;
	struct labelled labelled;
};

struct outer6 {
	__u16 pad;
	struct ethernet ethernet;
	struct ipv6 ip;
	struct labelled labelled;
};

enum { OUTER4_SIZE = sizeof(struct outer4) - sizeof(__u16), OUTER6_SIZE = sizeof(struct outer6) - sizeof(__u16) };

static __always_inline void set_labelled(struct labelled *l, const struct next_hop_value *n, __be16 port, __u32 size)
{
	l->udp.source = port;
	l->udp.destination = bpf_htons(MPLS_PORT);
	l->udp.length = bpf_htons(sizeof(*l) + size);
	l->label = bpf_htonl(n->vni << LABEL_SHIFT | LABEL_BOTTOM | OUTER_TTL);
}

static __always_inline struct ethernet outer_ethernet(const struct packet *p, __u16 type)
{
	return (struct ethernet){ .destination = p->ethernet.source, .source = p->ethernet.source, .type = bpf_htons(type) };
}

static __always_inline __u64 room(__u64 family)
{
	return family | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | (__u64)LABEL_SIZE << BPF_ADJ_ROOM_ENCAP_L2_SHIFT;
}

static __noinline int wrap4(struct packet *p, const struct next_hop_value *n, __u32 port)
{
	__u32 size = p->skb->len - ETHERNET_SIZE;
	struct outer4 o = {
		.ethernet = outer_ethernet(p, ETHERTYPE_IPV4),
		.ip = {
			.version_length = 4 << 4 | IPV4_SIZE / 4,
			.total_length = bpf_htons(IPV4_SIZE + sizeof(struct labelled) + size),
			.fragment = bpf_htons(IPV4_DONT_FRAGMENT),
			.ttl = OUTER_TTL,
			.protocol = PROTOCOL_UDP,
			.source = n->local.word[0],
			.destination = n->remote.word[0],
		},
	};
	struct ipv4 ip = o.ip;
	o.ip.checksum = fold(bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0));
	set_labelled(&o.labelled, n, port, size);
	if (bpf_skb_adjust_room(p->skb, OUTER4_SIZE - ETHERNET_SIZE, BPF_ADJ_ROOM_MAC, room(BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)))
		return -1;
	return bpf_skb_store_bytes(p->skb, 0, &o.ethernet, OUTER4_SIZE, 0);
}

static __noinline int wrap6(struct packet *p, const struct next_hop_value *n, __u32 port)
{
	__u32 size = p->skb->len - ETHERNET_SIZE;
	struct outer6 o = {
		.ethernet = outer_ethernet(p, ETHERTYPE_IPV6),
		.ip = {
			.version_class = 6 << 4,
			.payload_length = bpf_htons(sizeof(struct labelled) + size),
			.next_header = PROTOCOL_UDP,
			.hop_limit = OUTER_TTL,
			.source = n->local,
			.destination = n->remote,
		},
	};
	set_labelled(&o.labelled, n, port, size);
	struct {
		struct address source, destination;
		__be32 length, protocol;
		struct labelled labelled;
	} head = { n->local, n->remote, bpf_htonl(sizeof(struct labelled) + size), bpf_htonl(PROTOCOL_UDP), o.labelled };
	__s64 sum = sum_from(p->skb, ETHERNET_SIZE, bpf_csum_diff(0, 0, (__be32 *)&head, sizeof(head), 0));
	if (sum < 0)
		return -1;
	o.labelled.udp.checksum = fold(sum);
	if (!o.labelled.udp.checksum)
		o.labelled.udp.checksum = 0xffff; // 0 would say that there is none
	if (bpf_skb_adjust_room(p->skb, OUTER6_SIZE - ETHERNET_SIZE, BPF_ADJ_ROOM_MAC, room(BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)))
		return -1;
	return bpf_skb_store_bytes(p->skb, 0, &o.ethernet, OUTER6_SIZE, 0);
}

static __always_inline int stage_label(struct packet *p, const struct label_path *head)
{
	__u32 id = bpf_ntohl(head->next_hop);
	world_meet(STAGE_LABEL);
	struct next_hop_value *found = bpf_map_lookup_elem(&next_hops, &id);
	if (!found || found->kind != NEXT_HOP_TUNNEL || found->encapsulation != ENCAPSULATION_MPLSUDP)
		return end(p, REASON_UNKNOWN_LABEL_HOP);
	struct next_hop_value n = *found;
	if (n.mtu && p->skb->len - ETHERNET_SIZE > n.mtu)
		return end(p, REASON_LABEL_TOO_BIG);
	if (unspecified(&n.local) || (n.family == FAMILY_4 ? wrap4(p, &n, head->source_port) : wrap6(p, &n, head->source_port)))
		return end(p, REASON_LABEL_FAILED);
	if (world_redirect_neighbour(p->skb, n.ifindex) != TC_ACT_REDIRECT)
		return end(p, REASON_LABEL_REDIRECT_FAILED);
	world_verdict(VERDICT_TUNNELLED, REASON_NONE);
	return TC_ACT_REDIRECT;
}

SEC("tc")
int to_underlay(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb) };
	struct packet *p = &packet;
	struct label_path head;

	if (load(p, 0, &head, sizeof(head)))
		return end(p, REASON_UNKNOWN_LABEL_HOP);
	p->ethernet.source = head.source;
	return stage_label(p, &head);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
