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
	} else if (TRANSLATES && p->notes->map.translates) {
		const struct mapped *m = &p->notes->map;
		key->local = m->destination;
		key->remote = m->source;
		key->local_port = m->destination_port;
		key->remote_port = m->source_port;
	} else {
		key->local = p->destination;
		key->remote = p->source;
		key->local_port = p->notes->destination_port;
		key->remote_port = p->notes->source_port;
	}
}

// The VRF in which an end knows the other.
static __always_inline __u32 vrf_of_end(const struct packet *p, const struct port_value *port, enum direction end)
{
	if (TRANSLATES && p->notes->map.vrf[end])
		return p->notes->map.vrf[end];
	return port->vrf;
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
static __always_inline struct connection_value *entry_of(struct notes *n, __u32 port, enum direction direction)
{
	const struct connection_key *key = &n->keys[direction];
	struct connection_value *c = bpf_map_lookup_elem(&connections, key);
	n->half_open[direction] = false;
	if (c && c->port == port)
		return c;
	n->half_open[direction] = true;
	c = bpf_map_lookup_elem(&half_open, key);
	if (c && c->port == port)
		return c;
	c = bpf_map_lookup_elem(&half_open_rest, key);
	return c && c->port == port ? c : 0;
}

static __always_inline struct connection_value *connection_of(struct packet *p, const struct port_value *port, enum direction direction)
{
	return entry_of(p->notes, port->port, direction);
}

// Whether an entry is that of the mapped conversation that the frame belongs to.
static __always_inline bool of_mapping(const struct mapped *m, const struct connection_value *c)
{
	return c->mapping == m->number && c->itself == m->itself;
}

// The receiver's entry. One of another conversation, which is over, makes room
// for a mapped one.
static __always_inline struct connection_value *receiver_of(struct packet *p)
{
	struct connection_value *c = connection_of(p, p->to, DIRECTION_IN);
	if (TRANSLATES && p->notes->map.number && c && !of_mapping(&p->notes->map, c))
		return 0;
	return c;
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
	if (!c || p->notes->other_mac || c->flags & ROUTE_UNLED)
		return false;
	if (c->flags & ROUTE_CHOSEN && begins_anew(c->state, p, DIRECTION_OUT)) // it may be somebody else's turn
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

// Whether a member of a load-balancer was chosen, which the sender's entry keeps by its MAC.
static __always_inline bool chosen(const struct notes *n)
{
	return TRANSLATES && n->map.chosen;
}

// The way that the sender's entry gets: none from a frame with another MAC.
static __always_inline __u64 way_now(const struct notes *n)
{
	return chosen(n) && n->other_mac ? 0 : way_of(n->route.next_hop, n->vrf_generation);
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
	if (direction == DIRECTION_OUT && (!n->other_mac || chosen(n))) {
		n->fresh.way = way_now(n);
		n->fresh.port_generation = n->port_generation;
		n->fresh.mtu = short_mtu(&n->route);
		n->fresh.flags = n->route.flags;
		n->fresh.mac = n->route.mac;
	}
	if (TRANSLATES && direction == DIRECTION_OUT && n->map.sends) {
		n->fresh.mapping = n->map.sends;
		n->fresh.itself = n->destination_port;
		n->fresh.flags |= ROUTE_UNLED;
	}
	if (TRANSLATES && direction == DIRECTION_IN && n->map.number) {
		n->fresh.mapping = n->map.number;
		n->fresh.itself = n->map.itself;
		n->fresh.flags = ROUTE_UNLED;
		world_make_room(p);
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
	if (c->mapping && !(TRANSLATES && (direction == DIRECTION_IN ? p->notes->map.number : p->notes->map.sends)))
		world_unmap(c);
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
	if (TRANSLATES && p->notes->map.self)
		world_pass_connection(c, 0, 0); // nobody is asked, and what was passed before was about another member
	else if (p->notes->asked[direction] && !p->notes->questions[direction].passed)
		world_pass_connection(c, p->notes->numbers[direction], p->notes->questions[direction].rule);
	if (direction == DIRECTION_OUT && !p->notes->led && (!p->notes->other_mac || chosen(p->notes)))
		world_lead_connection(p, c, way_now(p->notes));
	if (TRANSLATES && direction == DIRECTION_OUT && p->notes->map.sends)
		world_map(c, p->notes->map.sends, p->notes->destination_port);
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
	__u32 vrf = vrf_generation(vrf_of_end(p, p->to, DIRECTION_IN)), port = port_generation(ifindex);
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
	p->receiver = receiver_of(p);
}

// Ends a frame that the receiver's end would take for one of a conversation through
// a mapping, unless that is over and the frame begins it anew.
static __noinline int end_taken(struct packet *p)
{
	const struct connection_value *c = p->receiver;
	if (!c || !c->mapping || (closed(c->state) && begins_anew(c->state, p, DIRECTION_IN)))
		return NEXT;
	return end(p, REASON_MAPPING_TAKEN);
}

static __always_inline int refuse_taken(struct packet *p)
{
	if (!p->receiver || !(p->receiver->flags & ROUTE_UNLED) || (TRANSLATES && p->notes->map.number))
		return NEXT;
	return end_taken(p);
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
		p->receiver = receiver_of(p);
	// The way that the entry has must be this frame's.
	if (note_packet(p, p->receiver, p->to, DIRECTION_IN) && p->connection && !p->notes->other_mac)
		world_tell_connection(p->connection, p->notes->when);
}
