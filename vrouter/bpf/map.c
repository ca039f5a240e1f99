// SPDX-License-Identifier: Apache-2.0
// What from_port and from_tunnel go on with by tail call for virtual addresses: which
// member of a load-balancer serves a frame, and the translation at the member's end.
// See doc/packet-path.md, balance and map.
#define TRANSLATES 1

#include "balance.h"
#include "deliver.h"
#include "encap.h"
#include "fabric.h"
#include "leave.h"
#include "map.h"
#include "parse.h"
#include "policy.h"
#include "reach.h"
#include "reject.h"
#include "translate.h"
#include "vrf.h"

// Reads the frame once more, as the hook did.
static __noinline int read_frame(struct packet *p)
{
	if (load(p, 0, &p->ethernet, sizeof(p->ethernet)))
		return end(p, REASON_MALFORMED);
	switch (bpf_ntohs(p->ethernet.type)) {
	case ETHERTYPE_IPV4:
		RUN(parse_ipv4(p));
		break;
	case ETHERTYPE_IPV6:
		RUN(parse_ipv6(p));
		break;
	default:
		return end(p, REASON_UNKNOWN_PROTOCOL); // cannot be: the hook has seen it
	}
	find_fragment(p);
	p->notes->map.family = p->family;
	p->family = *(volatile enum family *)&p->notes->map.family; // the verifier is to try the rest once, not for each
	return NEXT;
}

// Finds what the hook knew of a frame from a port.
static __noinline int take_from_port(struct packet *p)
{
	if (!take_notes(p))
		return TC_ACT_SHOT; // cannot be: an array has its element
	__builtin_memset(&p->notes->map, 0, sizeof(p->notes->map));
	p->from = bpf_map_lookup_elem(&ports, &p->ifindex);
	if (!p->from)
		return end(p, REASON_NO_PORT);
	p->vrf = p->from->vrf;
	RUN(read_frame(p));
	p->notes->other_mac = !mac_equal(&p->ethernet.source, &p->from->mac);
	p->notes->port_generation = port_generation(p->ifindex);
	if (p->notes->tuple)
		find_sender(p);
	p->connection = 0; // see take_entries
	return NEXT;
}

static __noinline int rewrite_mapped(struct packet *p)
{
	const struct mapped *m = &p->notes->map;
	struct config_value *c = configuration();
	struct mac to = p->notes->route.mac, from = p->ethernet.source;
	if (!c || (hop(p) && set_hop_count(p, p->notes->ttl - 1)))
		return end(p, REASON_REWRITE_FAILED);
	if (hop(p) || m->translates || p->from_host)
		from = c->gateway;
	if (p->next->kind == NEXT_HOP_PORT)
		to = p->to ? p->to->mac : (struct mac){};
	if (set_ethernet(p, &to, &from) || (m->translates && translate_frame(p)) || (m->quotes && translate_quoted(p)))
		return end(p, REASON_REWRITE_FAILED);
	if (p->next->kind == NEXT_HOP_PORT && !m->chosen)
		p->notes->route.mac = to;
	return NEXT;
}

// The entries of both ends are looked for where they are needed, and not kept: there
// are six tables that they may be of, and the verifier tries what follows for each.
static __always_inline void take_entries(struct packet *p)
{
	bool tuple = p->notes->tuple;
	p->connection = tuple && p->from ? connection_of(p, p->from, DIRECTION_OUT) : 0;
	p->receiver = tuple && p->to ? receiver_of(p) : 0;
}

static __always_inline int ask_taken(struct packet *p)
{
	struct mapped *m = &p->notes->map;
	RUN(refuse_taken(p));
	m->asks[DIRECTION_OUT] = !m->self && to_ask(p, p->from, p->connection, DIRECTION_OUT);
	m->asks[DIRECTION_IN] = !m->self && to_ask(p, p->to, p->receiver, DIRECTION_IN);
	bool sends = *(volatile bool *)&m->asks[DIRECTION_OUT], hears = *(volatile bool *)&m->asks[DIRECTION_IN];
	return sends || hears ? ask_policy(p, sends, hears) : NEXT;
}

// As stage policy; of what a port sends to itself nobody is asked.
static __noinline int ask_ends(struct packet *p)
{
	world_take(p);
	find_receiver(p);
	if (p->from_host)
		return NEXT; // what this host says
	take_entries(p);
	int action = ask_taken(p);
	p->connection = p->receiver = 0;
	return action;
}

// As stage connection.
static __noinline void note_ends(struct packet *p)
{
	take_entries(p);
	stage_connection(p);
	remember_client(p);
	p->connection = p->receiver = 0;
}

static __noinline int check_fit(struct packet *p)
{
	return refuse_unfit(p);
}

// Lets the frame in hand be what is sent, so that the hash of its flow is that.
static __noinline void become_sent(struct packet *p)
{
	if (p->notes->map.translates)
		exchange_ends(p);
}

// Goes on with what remains for a frame whose next hop is known, in a program of its
// own: here the verifier would try it for each way that leads to it, and it needs the
// whole stack.
static __always_inline int hand_on(struct packet *p, enum stage_slot slot)
{
	struct handed *h = &p->notes->map.handed;
	h->ifindex = p->ifindex;
	h->vrf = p->vrf;
	h->source = p->source;
	h->destination = p->destination;
	h->ethernet = p->ethernet;
	h->there = true;
	bpf_tail_call(p->skb, &stage_programs, slot);
	h->there = false;
	return end_refused(p, REASON_UNRESOLVED_NEXT_HOP); // there is no such program yet
}

// Takes what another program has handed on. Not if that is of another build.
static __always_inline bool take_handed(struct packet *p)
{
	struct notes *n = notes();
	if (!n || !n->map.handed.there)
		return false;
	struct handed *h = &n->map.handed;
	h->there = false;
	p->notes = n;
	p->ifindex = h->ifindex;
	p->vrf = h->vrf;
	p->source = h->source;
	p->destination = h->destination;
	p->ethernet = h->ethernet;
	p->family = n->map.family;
	p->next = &n->hop;
	return true;
}

static __always_inline int go_on(struct packet *p)
{
	RUN(ask_ends(p));
	RUN(check_fit(p));
	RUN(rewrite_mapped(p));
	note_ends(p);
	if (p->next->kind == NEXT_HOP_PORT)
		return stage_deliver(p);
	if (p->next->kind == NEXT_HOP_FABRIC)
		return stage_leave(p);
	become_sent(p);
	return stage_encap(p);
}

// The member's next hop is there, and can take the frame.
static __always_inline int check_chosen(struct packet *p)
{
	take_hop(p);
	if (!p->next || (p->next->kind != NEXT_HOP_PORT && p->next->kind != NEXT_HOP_TUNNEL))
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	if (p->next->kind == NEXT_HOP_TUNNEL) {
		p->notes->map.number = 0;
		return refuse_local(p);
	}
	p->notes->route.flags |= ROUTE_UNLED;
	world_meet(STAGE_MAP);
	RUN(map_inward(p));
	return refuse_local(p);
}

// The route of the virtual address, which from_port has seen.
static __always_inline int find_balancer(struct packet *p)
{
	struct route_value *route = route_of(p->vrf, p->family, &p->destination);
	if (route)
		p->notes->route = *route;
	p->next = route ? next_hop_of(route) : 0;
	if (!p->next || p->next->kind != NEXT_HOP_BALANCER)
		return end(p, REASON_UNRESOLVED_NEXT_HOP); // it went at this very moment
	return NEXT;
}

static __always_inline bool echo_request(const struct packet *p)
{
	const struct notes *n = p->notes;
	return n->icmp && !n->icmp_code && n->icmp_type == (p->family == FAMILY_4 ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST);
}

SEC("tc")
int balance_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1] };
	struct packet *p = &packet;

	RUN(take_from_port(p));
	world_meet(STAGE_BALANCE);
	RUN(find_balancer(p));
	if (echo_request(p))
		return answer_echo(p);
	enum reason reason = choose_member(p);
	if (reason) {
		int action = end_refused(p, reason);
		skb->cb[0] = reason;
		skb->cb[1] = p->ifindex; // of a sub-port it is not the device's
		if (reason != REASON_LISTENER_FRAGMENT)
			bpf_tail_call(skb, &stage_programs, STAGE_SLOT_ANSWER_CLOSED);
		return action;
	}
	RUN(check_chosen(p));
	return hand_on(p, STAGE_SLOT_MAPPED_PORT);
}

// Brings a frame to the workload behind the floating address that is its next hop.
static __noinline int map_float(struct packet *p)
{
	struct notes *n = p->notes;
	n->map.number = (__u64)p->next->mtu << 32 | p->next->vni;
	n->route.flags |= ROUTE_UNLED;
	RUN(map_inward(p));
	n->hop = (struct next_hop_value){ .kind = NEXT_HOP_PORT, .ifindex = n->keys[DIRECTION_IN].ifindex };
	return refuse_local(p);
}

SEC("tc")
int map_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1] };
	struct packet *p = &packet;

	RUN(take_from_port(p));
	world_meet(STAGE_MAP);
	RUN(map_outward(p));
	RUN(p->notes->map.self ? return_to_port(p) : route_outward(p));
	if (p->next->kind == NEXT_HOP_MAPPED)
		RUN(map_float(p));
	return hand_on(p, STAGE_SLOT_MAPPED_PORT);
}

SEC("tc")
int float_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1] };
	struct packet *p = &packet;

	RUN(take_from_port(p));
	world_meet(STAGE_MAP);
	RUN(find_float(p));
	if (p->notes->map.sends) {
		RUN(leave_through(p));
		RUN(route_outward(p));
	}
	if (p->next->kind == NEXT_HOP_MAPPED)
		RUN(map_float(p));
	return hand_on(p, STAGE_SLOT_MAPPED_PORT);
}

SEC("tc")
int float_tunnel(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_tunnel = true };
	struct packet *p = &packet;

	if (!take_notes(p))
		return TC_ACT_SHOT;
	__builtin_memset(&p->notes->map, 0, sizeof(p->notes->map));
	RUN(stage_vrf(p));
	RUN(read_frame(p));
	world_meet(STAGE_MAP);
	struct route_value *route = route_of(p->vrf, p->family, &p->destination);
	p->next = 0;
	if (route) {
		p->notes->route = *route;
		take_hop(p);
	}
	if (!p->next || p->next->kind != NEXT_HOP_MAPPED)
		return end(p, REASON_UNRESOLVED_NEXT_HOP); // it went at this very moment
	RUN(map_float(p));
	return hand_on(p, STAGE_SLOT_MAPPED_TUNNEL);
}

SEC("tc")
int map_tunnel(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_tunnel = true };
	struct packet *p = &packet;

	if (!take_notes(p))
		return TC_ACT_SHOT;
	__builtin_memset(&p->notes->map, 0, sizeof(p->notes->map));
	RUN(stage_vrf(p));
	RUN(read_frame(p));
	world_meet(STAGE_MAP);
	struct pool_member_value *m = member_named(p);
	if (!m)
		return end(p, REASON_NO_MAPPING); // it went at this very moment
	p->notes->map.number = m->mapping;
	p->notes->route = (struct route_value){ .next_hop = m->next_hop };
	RUN(map_inward(p));
	take_hop(p);
	RUN(check_member_hop(p));
	return hand_on(p, STAGE_SLOT_MAPPED_TUNNEL);
}

// What balance_port does of a frame that came from the underlay or from this host
// itself: the network is that of the virtual address, and nothing here remembers it.
static __always_inline int balance_entered(struct packet *p)
{
	if (!take_notes(p))
		return TC_ACT_SHOT;
	__builtin_memset(&p->notes->map, 0, sizeof(p->notes->map));
	RUN(read_frame(p));
	world_meet(STAGE_BALANCE);
	p->vrf = UNDERLAY_VRF;
	RUN(find_balancer(p));
	p->vrf = p->next->vni;
	find_fragment(p);
	if (!from_underlay(p))
		return end(p, REASON_FABRIC_SPOOFED);
	enum reason reason = choose_reached(p);
	if (reason)
		return end_refused(p, reason);
	return check_chosen(p);
}

SEC("tc")
int balance_host(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_tunnel = true, .from_host = true };
	struct packet *p = &packet;

	RUN(balance_entered(p));
	return hand_on(p, STAGE_SLOT_MAPPED_HOST);
}

SEC("tc")
int balance_fabric(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_fabric = true };
	struct packet *p = &packet;

	RUN(balance_entered(p));
	world_count_fabric_received(skb->len);
	return hand_on(p, STAGE_SLOT_MAPPED_FABRIC);
}

SEC("tc")
int mapped_host(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .from_tunnel = true, .from_host = true };
	struct packet *p = &packet;

	if (!take_handed(p))
		return TC_ACT_SHOT;
	return go_on(p);
}

SEC("tc")
int mapped_fabric(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .from_fabric = true };
	struct packet *p = &packet;

	if (!take_handed(p))
		return TC_ACT_SHOT;
	return end_run(p, go_on(p), STAGE_SLOT_ANSWER_FABRIC);
}

SEC("tc")
int mapped_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb };
	struct packet *p = &packet;

	if (!take_handed(p))
		return TC_ACT_SHOT;
	p->from = bpf_map_lookup_elem(&ports, &p->ifindex);
	if (!p->from)
		return end(p, REASON_NO_PORT);
	return end_run(p, go_on(p), STAGE_SLOT_ANSWER_PORT);
}

SEC("tc")
int mapped_tunnel(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .from_tunnel = true };
	struct packet *p = &packet;

	if (!take_handed(p))
		return TC_ACT_SHOT;
	int action = go_on(p);
	skb->cb[2] = p->notes->map.vrf[DIRECTION_IN]; // where the client is known
	return end_run(p, action, STAGE_SLOT_ANSWER_MAPPED);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
