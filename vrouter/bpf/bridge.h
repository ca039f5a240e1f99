// SPDX-License-Identifier: Apache-2.0
// Stage bridge: frames that go by their MAC, or to all of their network.
#pragma once

#include "deliver.h"
#include "encap.h"
#include "learn.h"
#include "parse.h"
#include "policy.h"
#include "share.h"

static __always_inline bool unparsed(enum reason refusal)
{
	return refusal == REASON_UNKNOWN_PROTOCOL;
}

// Whether a frame with this reason goes by its MAC also where nothing is flooded.
static __always_inline bool by_mac(enum reason refusal)
{
	return unparsed(refusal) || refusal == REASON_NO_ROUTE || refusal == REASON_ROUTE_LEFT_OUT ||
	       refusal == REASON_WRONG_DESTINATION_MAC || refusal == REASON_UNKNOWN_MAC;
}

// The largest packet that a next hop takes, 0 for any.
static __always_inline __u32 frame_limit(const struct next_hop_value *next, const struct port_value *to)
{
	return next->kind == NEXT_HOP_PORT ? (to ? to->mtu : 0) : next->mtu;
}

static __always_inline bool fits(const struct __sk_buff *skb, __u32 limit)
{
	return !limit || skb->gso_size || skb->len - ETHERNET_SIZE <= limit;
}

// A port of the frame's own network, or null.
static __always_inline struct port_value *port_of_network(__u32 vrf, __u32 ifindex)
{
	struct port_value *port = bpf_map_lookup_elem(&ports, &ifindex);
	return port && port->vrf == vrf ? port : 0;
}

// Reads the frame's headers, so that rules can be asked about it; what is no IP
// has no family.
static __noinline int read_packet(struct packet *p)
{
	if (load(p, 0, &p->ethernet, sizeof(p->ethernet)))
		return end(p, REASON_MALFORMED);
	switch (bpf_ntohs(p->ethernet.type)) {
	case ETHERTYPE_IPV4:
		return parse_ipv4(p);
	case ETHERTYPE_IPV6:
		return parse_ipv6(p);
	}
	return NEXT;
}

// Whether rules hold for the frame.
static __always_inline bool asked(const struct packet *p)
{
	return p->family && !is_neighbour_discovery(p) && !is_multicast_listener(p);
}

enum { SENDER_ASKS = 1, RECEIVER_ASKS = 2 };

// Finds what the ends remember, and tells which of them ask. Of a flooded frame
// there is no receiver yet.
static __noinline int find_frame_ends(struct packet *p)
{
	if (!asked(p))
		return 0;
	find_fragment(p);
	p->notes->other_mac = true; // a frame that goes by its MAC leaves no way
	if (p->from && p->notes->tuple)
		find_sender(p);
	find_receiver_end(p);
	return (to_ask(p, p->from, p->connection, DIRECTION_OUT) ? SENDER_ASKS : 0) |
	       (to_ask(p, p->to, p->receiver, DIRECTION_IN) ? RECEIVER_ASKS : 0);
}

// As stage policy.
static __always_inline int ask_frame(struct packet *p)
{
	int ends = find_frame_ends(p);
	RUN(refuse_taken(p));
	return ends ? ask_policy(p, ends & SENDER_ASKS, ends & RECEIVER_ASKS) : NEXT;
}

// As stage connection.
static __noinline void note_frame(struct packet *p)
{
	if (asked(p))
		stage_connection(p);
}

// Whether the port refuses a copy. What is there of the connection counts, but
// nothing is noted: all get a copy, and one is meant.
static __noinline bool refuses_copy(struct packet *p, struct port_value *to, __u32 ifindex)
{
	struct notes *n = p->notes;
	struct connection_value *c = 0;
	set_connection_key(p, ifindex, DIRECTION_IN);
	n->numbers[DIRECTION_IN] = (__u64)vrf_generation(p->vrf) << 32 | port_generation(ifindex);
	n->layer = LAYER_NONE;
	n->questions[DIRECTION_IN].rule = 0;
	if (n->tuple)
		c = connection_of(p, to, DIRECTION_IN);
	if (!to_ask(p, to, c, DIRECTION_IN))
		return false;
	if (n->later && !n->tuple) {
		count_refusal(p->skb, DIRECTION_IN, p->vrf, REASON_UNKNOWN_FRAGMENT);
		return true;
	}
	recall(p, DIRECTION_IN, c);
	introduce(p, DIRECTION_IN, to);
	return ask_port(p->skb, DIRECTION_IN, p->vrf) != ACTION_PASS;
}

static __always_inline int bridge_forward(struct packet *p, struct next_hop_value *next)
{
	p->next = next;
	if (next->kind == NEXT_HOP_PORT) {
		if (next->ifindex == p->ifindex)
			return end(p, REASON_SAME_PORT);
		p->to = port_of_network(p->vrf, next->ifindex);
		if (!p->to)
			return end(p, REASON_PORT_GONE);
	} else if (p->from_tunnel) {
		return end(p, REASON_TUNNEL_TO_TUNNEL);
	}
	RUN(ask_frame(p));
	if (!fits(p->skb, frame_limit(next, p->to)))
		return end(p, REASON_FRAME_TOO_BIG);
	note_frame(p);
	return next->kind == NEXT_HOP_PORT ? stage_deliver(p) : encap_frame(p);
}

// What the copies of one frame have in common.
struct flooding {
	struct packet *packet;
	bool asked;
	bool too_big; // a copy was left out
};

// Copies the frame to another host.
static __always_inline void copy_to_tunnel(struct packet *p, const struct next_hop_value *next)
{
	struct config_value *c = configuration();
	if (!c || !c->tunnel_ifindex) {
		world_count_drop(p->ifindex, REASON_NO_TUNNEL_DEVICE, p->skb->len);
		return;
	}
	struct tunnel_key key = { .vni = next->vni, .family = next->family, .remote = next->remote };
	key.local = key.family == FAMILY_4 ? c->local4 : c->local6;
	if (world_copy(p->skb, c->tunnel_ifindex, 0, &key))
		world_count_drop(p->ifindex, REASON_COPY_FAILED, p->skb->len);
	else
		world_count_sent(0, p->skb->len);
}

// One place of the list. Returns 0: the next one, please.
static long copy_to_place(__u32 place, struct flooding *f)
{
	struct packet *p = f->packet;
	struct receiver_key key = { .vrf = p->vrf, .place = place };
	struct port_value *to = 0;
	__u64 *word = bpf_map_lookup_elem(&receivers, &key);
	struct next_hop_value *next = word ? hop_of_word(p->vrf, word) : 0;
	if (!next)
		return 0;
	__u32 ifindex = next->ifindex;
	if (next->kind == NEXT_HOP_PORT) {
		to = port_of_network(p->vrf, ifindex);
		if (!to || to->flags & PORT_DISABLED || ifindex == p->ifindex)
			return 0;
	} else if (next->kind != NEXT_HOP_TUNNEL || p->from_tunnel) {
		return 0;
	}
	if (!fits(p->skb, frame_limit(next, to))) {
		f->too_big = true;
		world_count_drop(p->ifindex, REASON_FRAME_TOO_BIG, p->skb->len);
		return 0;
	}
	if (!to) {
		copy_to_tunnel(p, next);
		return 0;
	}
	if (f->asked && to->flags & PORT_POLICED && refuses_copy(p, to, ifindex))
		return 0;
	if (world_copy(p->skb, to->flags & PORT_SUB ? to->device : ifindex, to->flags & PORT_SUB ? to->vlan : 0, 0))
		world_count_drop(p->ifindex, REASON_COPY_FAILED, p->skb->len);
	else
		world_count_sent(to, p->skb->len);
	return 0;
}

// Takes what copies to so many places cost from the port's share, if it has
// that much. What comes from a tunnel was limited where it was sent.
static __always_inline bool use_flood(const struct packet *p, __u32 places)
{
	__u32 ifindex = p->ifindex;
	__u64 until;
	struct config_value *c = configuration();
	if (!p->from)
		return true;
	if (!c || !share_left(bpf_map_lookup_elem(&flood_times, &ifindex), c->flood_interval, c->flood_burst, places ? places : 1, &until))
		return false;
	return world_use_flood(ifindex, until);
}

static __always_inline int flood(struct packet *p, const struct flood_value *list)
{
	struct flooding f = { .packet = p, .asked = asked(p) };
	enum reason reason = list->left_out ? REASON_FLOOD_BOUND : REASON_NONE;
	__u32 places = list->places;
	if (places > FLOOD_RECEIVERS)
		places = FLOOD_RECEIVERS;
	RUN(ask_frame(p));
	if (!use_flood(p, places))
		return end(p, REASON_FLOOD_LIMITED);
	note_frame(p);
	if (reason)
		world_count_drop(p->ifindex, reason, p->skb->len);
	bpf_loop(places, copy_to_place, &f, 0);
	if (!reason && f.too_big)
		reason = REASON_FRAME_TOO_BIG;
	world_verdict(VERDICT_FLOODED, reason);
	return TC_ACT_SHOT; // the copies are on their way
}

// The next hop of the frame's destination; one that is no place if its workload
// is not there; null if nobody is known.
static __always_inline struct next_hop_value *place_of_mac(struct packet *p, bool *known)
{
	struct next_hop_value *copy = &p->notes->hop;
	struct mac_key key = mac_key_of(p->vrf, &p->ethernet.destination);
	__u64 *word = bpf_map_lookup_elem(&macs, &key);
	*known = word;
	if (word)
		return hop_of_word(p->vrf, word);
	struct learned_mac_value *learned = bpf_map_lookup_elem(&learned_macs, &key);
	if (!learned)
		return 0;
	*copy = learned->at;
	__u32 port = learned->port;
	if (learned->vrf != p->vrf)
		return 0;
	if (copy->kind == NEXT_HOP_PORT) {
		struct port_value *to = port_of_network(p->vrf, copy->ifindex);
		if (!to || to->port != port)
			return 0; // it is of a former port
		return copy;
	}
	struct config_value *c = configuration();
	if (c)
		copy->mtu = copy->family == FAMILY_4 ? c->tunnel_mtu4 : c->tunnel_mtu6;
	return copy;
}

static __always_inline int stage_bridge(struct packet *p, enum reason refusal)
{
	const struct mac *to = &p->ethernet.destination;
	struct next_hop_value *next = 0;
	bool known = false, group = to->byte[0] & 1;
	__u32 vrf = p->vrf;
	world_meet(STAGE_BRIDGE);
	struct flood_value *list = bpf_map_lookup_elem(&floods, &vrf);
	if (!list && !by_mac(refusal))
		return end_refused(p, refusal);
	if (group && !list)
		return mac_broadcast(to) ? end(p, REASON_BROADCAST) : end(p, REASON_MULTICAST);
	if (!group)
		next = place_of_mac(p, &known);
	if (next && (next->kind == NEXT_HOP_PORT || next->kind == NEXT_HOP_TUNNEL))
		return bridge_forward(p, next);
	if (known)
		return end(p, REASON_UNKNOWN_MAC);
	if (list)
		return flood(p, list);
	return end_refused(p, unparsed(refusal) ? REASON_UNKNOWN_MAC : refusal);
}
