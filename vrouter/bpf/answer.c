// SPDX-License-Identifier: Apache-2.0
// What hooks go on with by tail call for what policy rejects, and for ports of virtual
// addresses where nobody serves: it is counted already, and its sender is told. See doc/packet-path.md, answer.
#include "answer.h"

// Reads the frame once more, as the hook did. It leaves the interface of the
// port that refused in the frame's control block, and the one that it came from.
static __always_inline bool read_frame(struct packet *p)
{
	world_meet(STAGE_ANSWER);
	return take_notes(p) && parse_frame(p) == NEXT && answerable(p);
}

SEC("tc")
int answer_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1] };
	struct packet *p = &packet;
	p->from = bpf_map_lookup_elem(&ports, &p->ifindex);
	if (!p->from || !read_frame(p) || !use_answer(p->ifindex) || build_answer(p, p->from))
		return TC_ACT_SHOT;
	if (send_back(p) != TC_ACT_REDIRECT)
		return TC_ACT_SHOT;
	world_count_sent(p->from, p->skb->len);
	return answered(TC_ACT_REDIRECT, REASON_POLICY_REJECTED);
}

// Finds the tunnel by which the port that refused would answer.
static __always_inline bool find_way_back(struct packet *p)
{
	struct config_value *c = configuration();
	struct route_value *route = route_of(p->vrf, p->family, &p->source);
	if (!c || !route)
		return false;
	p->notes->route = *route;
	p->ethernet.source = route->mac; // whom the answer is for
	p->next = next_hop_of(route);
	if (!p->next || p->next->kind != NEXT_HOP_TUNNEL)
		return false;
	switch (p->next->encapsulation) {
	case ENCAPSULATION_VXLAN:
		return c->tunnel_ifindex;
	case ENCAPSULATION_MPLSUDP:
		return c->label_ifindex;
	default:
		return false;
	}
}

// Lets the packet in hand be the answer, for encap looks at what it sends.
static __always_inline void become_answer(struct packet *p)
{
	struct notes *n = p->notes;
	struct address to = p->source;
	__be16 port = n->source_port;
	n->fragment = false;
	p->source = p->destination;
	p->destination = to;
	n->source_port = n->destination_port;
	n->destination_port = port;
	if (n->protocol == PROTOCOL_TCP)
		return;
	p->source = n->router;
	n->source_port = n->destination_port = 0;
	n->protocol = p->family == FAMILY_4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
}

SEC("tc")
int answer_tunnel(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1], .from_tunnel = true };
	struct packet *p = &packet;
	__u32 refused = skb->cb[0];
	struct port_value *port = bpf_map_lookup_elem(&ports, &refused);
	if (!port || !read_frame(p))
		return TC_ACT_SHOT;
	p->vrf = port->vrf;
	if (!find_way_back(p) || !use_answer(refused) || build_answer(p, port))
		return TC_ACT_SHOT;
	become_answer(p);
	return answered(stage_encap(p), REASON_POLICY_REJECTED);
}

// What a member's end rejects: its client knows the virtual address alone, and is known
// in that one's network. Stage map leaves its VRF in the frame's control block.
SEC("tc")
int answer_mapped(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1], .from_tunnel = true };
	struct packet *p = &packet;
	__u32 refused = skb->cb[0], vrf = skb->cb[2];
	if (!read_frame(p))
		return TC_ACT_SHOT;
	p->vrf = vrf;
	if (!find_way_back(p) || !use_answer(refused) || build_virtual(p, ERROR4_PROHIBITED, ERROR6_PROHIBITED))
		return TC_ACT_SHOT;
	become_answer(p);
	return answered(stage_encap(p), REASON_POLICY_REJECTED);
}

SEC("tc")
int answer_fabric(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1], .from_fabric = true };
	struct packet *p = &packet;
	if (!read_frame(p) || !use_answer(skb->cb[0]) || build_answer(p, 0))
		return TC_ACT_SHOT;
	if (world_redirect(skb, p->ifindex) != TC_ACT_REDIRECT)
		return TC_ACT_SHOT;
	world_count_fabric_sent(skb->len);
	return answered(TC_ACT_REDIRECT, REASON_POLICY_REJECTED);
}

// To a listener that nobody serves, or that is none. Stage balance leaves the reason
// in the frame's control block, and the interface that it came from.
SEC("tc")
int answer_closed(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1] };
	struct packet *p = &packet;
	enum reason reason = skb->cb[0];
	p->from = bpf_map_lookup_elem(&ports, &p->ifindex);
	if (!p->from || !read_frame(p))
		return TC_ACT_SHOT;
	__u8 protocol = p->notes->protocol;
	if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP && protocol != PROTOCOL_SCTP)
		return TC_ACT_SHOT;
	if (!use_answer(p->ifindex) || build_virtual(p, ERROR4_PORT_UNREACHABLE, ERROR6_PORT_UNREACHABLE) || send_back(p) != TC_ACT_REDIRECT)
		return TC_ACT_SHOT;
	world_count_sent(p->from, p->skb->len);
	return answered(TC_ACT_REDIRECT, reason);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
