// SPDX-License-Identifier: Apache-2.0
// Stage connection: what the ends of a connection remember, so that its next
// packet needs no prefix trie and asks no policy. An entry saves lookups and
// decides nothing but who began: a packet fares the same with and without it.
#pragma once

#include "event.h"
#include "fragment.h"
#include "lookup.h"
#include "place.h"
#include "state.h"

// The same key for both directions: local is the end behind the port.
static __always_inline void set_connection_key(struct packet *p, __u32 ifindex, enum direction direction)
{
	struct connection_key *key = &p->notes->keys[direction];
	*key = (struct connection_key){ .ifindex = ifindex, .protocol = p->notes->protocol, .family = p->family };
	if (direction == DIRECTION_OUT) {
		key->local = p->source;
		key->remote = p->destination;
		key->local_port = p->notes->source_port;
		key->remote_port = p->notes->destination_port;
	} else {
		key->local = p->destination;
		key->remote = p->source;
		key->local_port = p->notes->destination_port;
		key->remote_port = p->notes->source_port;
	}
}

static __always_inline __u32 generation_at(__u32 slot)
{
	__u32 *generation = bpf_map_lookup_elem(&generations, &slot);
	return generation ? *(volatile __u32 *)generation : 0;
}

static __always_inline __u32 vrf_generation(__u32 vrf)
{
	return generation_at(vrf % GENERATION_SLOTS);
}

static __always_inline __u32 port_generation(__u32 ifindex)
{
	return generation_at(GENERATION_SLOTS + ifindex % GENERATION_SLOTS);
}

// How many ends at the interface have begun anew, of which others may remember
// what they were before.
static __always_inline __u32 beginnings_slot(__u32 ifindex)
{
	return 2 * GENERATION_SLOTS + ifindex % GENERATION_SLOTS;
}

static __always_inline __u64 way_of(__u32 next_hop, __u32 generation)
{
	return (__u64)next_hop << 32 | generation;
}

// An entry of the interface's former port is as good as none.
static __always_inline struct connection_value *connection_of(struct packet *p, const struct port_value *port, enum direction direction)
{
	const struct connection_key *key = &p->notes->keys[direction];
	struct connection_value *c = bpf_map_lookup_elem(&connections, key);
	p->notes->half_open[direction] = false;
	if (c && c->port == port->port)
		return c;
	p->notes->half_open[direction] = true;
	c = bpf_map_lookup_elem(&half_open, key);
	if (c && c->port == port->port)
		return c;
	c = bpf_map_lookup_elem(&half_open_rest, key);
	return c && c->port == port->port ? c : 0;
}

// Finds the sender's end of the frame's connection, and its numbers: before the
// lookups whose results these stand for, see doc/packet-path.md.
static __always_inline struct connection_value *find_sender(struct packet *p)
{
	p->notes->vrf_generation = vrf_generation(p->vrf);
	p->notes->port_generation = port_generation(p->ifindex);
	p->notes->numbers[DIRECTION_OUT] = (__u64)p->notes->vrf_generation << 32 | p->notes->port_generation;
	set_connection_key(p, p->ifindex, DIRECTION_OUT);
	p->connection = connection_of(p, p->from, DIRECTION_OUT);
	return p->connection;
}

// Whether the frame's connection says where it goes. If not, what it says is
// out of date or the frame needs a closer look, and the long way decides.
static __always_inline bool connection_leads(struct packet *p)
{
	find_fragment(p);
	if (!p->notes->tuple)
		return false;
	struct connection_value *c = find_sender(p);
	if (!c || p->notes->other_mac)
		return false;
	__u64 way = *(volatile __u64 *)&c->way; // next hop and generation are of one moment
	if ((__u32)way != p->notes->vrf_generation || c->port_generation != p->notes->port_generation)
		return false;
	p->notes->route = (struct route_value){ .next_hop = way >> 32, .mtu = c->mtu, .flags = c->flags, .mac = c->mac };
	if (!right_destination_mac(p))
		return false;
	__u32 id = p->notes->route.next_hop;
	p->next = bpf_map_lookup_elem(&next_hops, &id);
	if (!p->next || (p->next->kind != NEXT_HOP_PORT && p->next->kind != NEXT_HOP_TUNNEL && p->next->kind != NEXT_HOP_FABRIC))
		return false;
	if (p->next->kind == NEXT_HOP_FABRIC && !leads_back(p)) // which the VRF's generation does not tell
		return false;
	p->notes->led = true;
	return true;
}

static __always_inline __u32 tick_now(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}

// Whether the end counts the packet. What another port of this host sends is
// counted at that end alone: this one is not looked at for each of its packets.
static __always_inline bool counts(const struct packet *p, enum direction direction)
{
	return world_counts() && (direction == DIRECTION_OUT || !p->from);
}

static __always_inline void count_packet(const struct packet *p, struct connection_value *c, enum direction direction)
{
	if (counts(p, direction))
		world_count_packet(direction == DIRECTION_OUT ? &c->sent : &c->heard, p->skb->len);
}

// Tells of a packet with which a conversation begins at an end.
static __always_inline void report_first(const struct packet *p, enum direction direction)
{
	const struct notes *n = p->notes;
	report_at(p, n->keys[direction].ifindex, EVENT_FIRST, event_word(EVENT_KIND_FIRST, direction == DIRECTION_IN ? EVENT_IN : EVENT_OUT, LAYER_NONE, REASON_NONE),
		  n->asked[direction] ? n->questions[direction].rule : 0);
}

static __always_inline void open_connection(struct packet *p, const struct port_value *port, enum direction direction)
{
	struct notes *n = p->notes;
	const struct question *q = &n->questions[direction];
	n->fresh = (struct connection_value){ .port = port->port, .seen = n->now, .made = n->now };
	n->fresh.state = state_after(state_begun(p, direction), p, direction);
	if (direction == DIRECTION_OUT && shows(p, n->fresh.state))
		n->fresh.expects = n->shown;
	if (n->asked[direction]) {
		n->fresh.passed = n->numbers[direction];
		n->fresh.rule = q->rule;
	}
	if (direction == DIRECTION_OUT && !n->other_mac) {
		n->fresh.way = way_of(n->route.next_hop, n->vrf_generation);
		n->fresh.port_generation = n->port_generation;
		n->fresh.mtu = short_mtu(&n->route);
		n->fresh.flags = n->route.flags;
		n->fresh.mac = n->route.mac;
	}
	count_packet(p, &n->fresh, direction);
	world_open_connection(p, direction);
	if (closed(n->fresh.state))
		leave_place(p, port, direction);
	report_first(p, direction);
}

// What an end knew is over, or a reset was none.
static __always_inline void unlearn(struct packet *p, struct connection_value *c, const struct port_value *port, enum direction direction, __u8 before)
{
	if (!begins_anew(before, p, direction)) {
		p->notes->questions[direction].first = false;
		if (port->flags & PORT_POLICED && !(before & CONNECTION_UNASKED))
			claim_place(direction, port->port);
		return;
	}
	if (direction == DIRECTION_IN || !shows(p, c->state))
		world_expect(c, 0);
	world_begin_anew(beginnings_slot(p->notes->keys[direction].ifindex)); // perhaps by a frame that the other end never saw
	report_first(p, direction);
}

// Notes the packet in the end's entry, or makes one. Returns whether the next
// like it would change nothing but the time.
static __always_inline bool note_packet(struct packet *p, struct connection_value *c, const struct port_value *port, enum direction direction)
{
	__u32 now = p->notes->now;
	if (!c) {
		open_connection(p, port, direction);
		return false;
	}
	count_packet(p, c, direction);
	if (p->notes->asked[direction] && !p->notes->questions[direction].passed)
		world_pass_connection(c, p->notes->numbers[direction], p->notes->questions[direction].rule);
	if (direction == DIRECTION_OUT && !p->notes->led && !p->notes->other_mac)
		world_lead_connection(p, c, way_of(p->notes->route.next_hop, p->notes->vrf_generation));
	if (!believed(c, p, direction))
		return false;
	__u8 before = c->state, state = state_after(before, p, direction);
	if (c->seen != now || before != state)
		world_touch_connection(c, now, state);
	if (direction == DIRECTION_OUT && shows(p, state) && c->expects != p->notes->shown)
		world_expect(c, p->notes->shown);
	if (changes_state(p)) {
		world_tell_connection(c, 0); // of both ends, for both may change
		if (closed(state))
			leave_place(p, port, direction);
	}
	if (before & ~state)
		unlearn(p, c, port, direction, before);
	if (!p->notes->half_open[direction])
		return state & CONNECTION_PROVEN;
	if (state & CONNECTION_PROVEN)
		world_confirm_connection(p, direction, c);
	return false;
}

// The receiving interface's number, and as one the tick, the number of its VRF,
// and how many of its ends have begun anew. An interface with the same number is
// in the same VRF; then none of the three ever becomes smaller, so their sum
// is of one moment only.
static __always_inline __u64 told_now(struct packet *p)
{
	__u32 ifindex = p->next->ifindex;
	__u32 vrf = vrf_generation(p->to->vrf), port = port_generation(ifindex);
	p->notes->numbers[DIRECTION_IN] = (__u64)vrf << 32 | port;
	return (__u64)port << 32 | (__u32)(p->notes->now + vrf + generation_at(beginnings_slot(ifindex)));
}

// Whether the receiver's end has been noted in this tick and would not change.
static __always_inline bool told(const struct packet *p, __u64 when)
{
	if (p->to->flags & PORT_STATELESS)
		return false;
	return p->notes->led && p->connection && p->connection->told == when && !changes_state(p) && !world_asks();
}

// Finds the receiver's end, unless it knows already.
static __always_inline void find_receiver_end(struct packet *p)
{
	struct notes *n = p->notes;
	n->now = tick_now();
	if (!p->to || !n->tuple)
		return;
	n->when = told_now(p);
	n->told = told(p, n->when);
	if (n->told)
		return;
	set_connection_key(p, p->next->ifindex, DIRECTION_IN);
	p->receiver = connection_of(p, p->to, DIRECTION_IN);
}

static __always_inline void find_receiver(struct packet *p)
{
	if (p->next->kind == NEXT_HOP_PORT) {
		__u32 ifindex = p->next->ifindex;
		p->to = bpf_map_lookup_elem(&ports, &ifindex);
	}
	find_receiver_end(p);
}

// Notes a frame that is about to leave, at the ends that are on this host.
static __always_inline void stage_connection(struct packet *p)
{
	if (!p->notes->tuple)
		return;
	note_fragment(p);
	if (p->from)
		note_packet(p, p->connection, p->from, DIRECTION_OUT);
	if (!p->to || p->notes->told)
		return;
	if (p->next->ifindex == p->ifindex) // both ends may be one
		p->receiver = connection_of(p, p->to, DIRECTION_IN);
	// The way that the entry has must be this frame's.
	if (note_packet(p, p->receiver, p->to, DIRECTION_IN) && p->connection && !p->notes->other_mac)
		world_tell_connection(p->connection, p->notes->when);
}
