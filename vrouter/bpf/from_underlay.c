// SPDX-License-Identifier: Apache-2.0
// Hook from_underlay: what this host receives, of which MPLS over UDP for its
// own tunnel addresses is taken. See doc/packet-path.md.
#include "deliver.h"
#include "label.h"
#include "parse.h"
#include "policy.h"
#include "reject.h"
#include "route.h"
#include "tunnel.h"

// What is known of the outer headers.
struct outer {
	struct tunnel_source_key from; // the VNI is the label's
	struct tunnel_address_key to;
	__u32 header; // size of the IP header
	__u32 size; // of the IP packet
	bool more; // fragments
};

static __always_inline bool outer4(struct packet *p, struct outer *o)
{
	struct ipv4 ip;
	if (load(p, ETHERNET_SIZE, &ip, sizeof(ip)) || ip.version_length >> 4 != 4 || ip.protocol != PROTOCOL_UDP ||
	    ip.fragment & bpf_htons(0x1fff))
		return false;
	o->header = (ip.version_length & 0x0f) * 4;
	o->size = bpf_ntohs(ip.total_length);
	o->more = ip.fragment & bpf_htons(0x2000);
	o->from.family = FAMILY_4;
	o->from.address.word[0] = ip.source;
	o->to.family = FAMILY_4;
	o->to.address.word[0] = ip.destination;
	return true;
}

static __always_inline bool outer6(struct packet *p, struct outer *o)
{
	struct ipv6 ip;
	if (load(p, ETHERNET_SIZE, &ip, sizeof(ip)) || ip.version_class >> 4 != 6 || ip.next_header != PROTOCOL_UDP)
		return false;
	o->header = IPV6_SIZE;
	o->size = IPV6_SIZE + bpf_ntohs(ip.payload_length);
	o->from.family = FAMILY_6;
	o->from.address = ip.source;
	o->to.family = FAMILY_6;
	o->to.address = ip.destination;
	return true;
}

// Whether the frame is for us. Nothing of it has changed if not.
static __always_inline bool ours(struct packet *p, struct outer *o, struct udp *udp)
{
	struct __sk_buff *skb = p->skb;
	if (skb->vlan_present)
		return false;
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		if (!outer4(p, o))
			return false;
	} else if (skb->protocol != bpf_htons(ETHERTYPE_IPV6) || !outer6(p, o)) {
		return false;
	}
	if (bpf_skb_load_bytes(skb, ETHERNET_SIZE + o->header, udp, sizeof(*udp)) || udp->destination != bpf_htons(MPLS_PORT))
		return false;
	return bpf_map_lookup_elem(&tunnel_addresses, &o->to);
}

static __always_inline int check_outer(struct packet *p, const struct outer *o, const struct udp *udp)
{
	if (o->more)
		return end(p, REASON_OUTER_FRAGMENT);
	if (p->skb->gso_size)
		return end(p, REASON_LABEL_AGGREGATED);
	if (o->header < IPV4_SIZE || o->size > p->skb->len - ETHERNET_SIZE ||
	    o->size < o->header + sizeof(struct labelled) + 1 || bpf_ntohs(udp->length) != o->size - o->header)
		return end(p, REASON_LABEL_MALFORMED);
	return NEXT;
}

// Which VRF the label means, and whether the sender may use it.
static __always_inline int check_label(struct packet *p, struct outer *o)
{
	__be32 raw;
	if (bpf_skb_load_bytes(p->skb, ETHERNET_SIZE + o->header + sizeof(struct udp), &raw, sizeof(raw)))
		return end(p, REASON_LABEL_MALFORMED);
	if (!(raw & bpf_htonl(LABEL_BOTTOM)))
		return end(p, REASON_LABEL_STACK);
	o->from.vni = bpf_ntohl(raw) >> LABEL_SHIFT;
	struct vni_value *vni = bpf_map_lookup_elem(&vnis, &o->from.vni);
	if (!vni || !(vni->flags & VNI_LABEL))
		return end(p, REASON_UNKNOWN_LABEL);
	if (!bpf_map_lookup_elem(&tunnel_sources, &o->from))
		return end(p, REASON_UNKNOWN_TUNNEL_SOURCE);
	p->vrf = vni->vrf;
	return NEXT;
}

// Takes the outer headers off. The kernel refuses to leave less than an IP
// header of the outer family, which a short packet of the other one is: such a
// one is longer meanwhile.
static __always_inline int take_off(struct packet *p, __u32 size)
{
	__u32 left = p->skb->len - size;
	bool few = left < ETHERNET_SIZE + IPV6_SIZE;
	if (few && bpf_skb_change_tail(p->skb, p->skb->len + IPV6_SIZE, 0))
		return -1;
	if (bpf_skb_adjust_room(p->skb, -(__s32)size, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	return few && bpf_skb_change_tail(p->skb, left, 0);
}

// Puts an Ethernet header in the place of the outer ones.
static __always_inline int unwrap(struct packet *p, const struct outer *o)
{
	struct config_value *c = configuration();
	__u8 version;
	if (bpf_skb_load_bytes(p->skb, ETHERNET_SIZE + o->header + sizeof(struct labelled), &version, sizeof(version)))
		return end(p, REASON_LABEL_MALFORMED);
	version >>= 4;
	if (version != 4 && version != 6)
		return end(p, REASON_LABEL_MALFORMED);
	if (!c || take_off(p, o->header + sizeof(struct labelled)))
		return end(p, REASON_UNLABEL_FAILED);
	struct ethernet e = { .destination = c->gateway, .source = c->gateway };
	e.type = bpf_htons(version == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
	if (bpf_skb_store_bytes(p->skb, 0, &e, sizeof(e), 0))
		return end(p, REASON_UNLABEL_FAILED);
	world_count_received(0, p->skb->len);
	return NEXT;
}

static __always_inline int go_on(struct packet *p)
{
	RUN(stage_parse(p));
	RUN(stage_tunnel_carried(p));
	find_fragment(p); // before the route, which may be a group
	int action = stage_route(p);
	if (action == FLOAT)
		return end(p, REASON_NO_MAPPING); // here is no room for translation
	if (action != NEXT)
		return action;
	RUN(stage_policy(p));
	RUN(stage_forward(p));
	stage_connection(p);
	if (p->next->kind == NEXT_HOP_FABRIC)
		return send_to_host(p);
	return deliver_by(p, false);
}

enum { OPENED = -2 }; // neither NEXT nor a tc action

// Takes what is ours out of its outer headers. Apart, so that its stack is not
// that of the rest.
static __noinline int open_up(struct packet *p)
{
	struct outer o = {};
	struct udp udp;

	if (!ours(p, &o, &udp)) {
		world_verdict(VERDICT_PASSED, REASON_NONE);
		return TC_ACT_UNSPEC;
	}
	p->ifindex = world_ifindex(p->skb);
	world_meet(STAGE_UNLABEL);
	if (!take_notes(p))
		return TC_ACT_SHOT; // cannot be: an array has its element
	RUN(check_outer(p, &o, &udp));
	RUN(check_label(p, &o));
	RUN(unwrap(p, &o));
	return OPENED;
}

SEC("tc")
int from_underlay(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .from_tunnel = true };
	struct packet *p = &packet;

	int action = open_up(p);
	if (action != OPENED)
		return action;
	return end_run(p, go_on(p), STAGE_SLOT_ANSWER_TUNNEL);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
