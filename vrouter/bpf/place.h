// SPDX-License-Identifier: Apache-2.0
// Part of stage policy: a port with a limit has so many places for
// conversations, and none begins without one. See doc/packet-path.md, places.
#pragma once

#include "event.h"
#include "world_place.h"

// Has an end take a place, if its port has a limit. Not static: the verifier looks
// at it once, and not at each call.
__noinline __attribute__((unused)) int claim_place(__u32 end, __u32 port)
{
	struct notes *n = notes();
	if (!n)
		return PLACE_NONE;
	end &= 1;
	barrier_var(end);
	__u32 ifindex = n->keys[end].ifindex;
	struct port_policy *policy = bpf_map_lookup_elem(&port_policies, &ifindex);
	if (!policy || !policy->connection_limit)
		return PLACE_HELD;
	n->place.connection = n->keys[end];
	n->place.port = port;
	return world_take_place(n, policy->connection_limit, n->questions[end].first);
}

// What is over needs no place.
static __always_inline bool closed(__u8 state)
{
	__u8 fins = CONNECTION_FIN_SENT | CONNECTION_FIN_HEARD;
	return state & CONNECTION_RESET || (state & fins) == fins;
}

// Gives an end's place back, if it has one.
static __always_inline void leave_place(struct packet *p, const struct port_value *port, enum direction end)
{
	world_leave_place(end, port->port);
}

// Ends a frame for which an end has no place: it is that port's drop.
static __noinline int refuse_place(struct packet *p, __u32 end, int placement)
{
	__u32 ifindex = p->notes->keys[end & 1].ifindex;
	enum reason reason = placement == PLACE_NO_ROOM ? REASON_PLACES_FULL : REASON_CONNECTION_LIMIT;
	world_count_drop(ifindex, reason, p->skb->len);
	report_at(p, ifindex, EVENT_DROPS, event_word(EVENT_KIND_DROP, end ? EVENT_IN : EVENT_OUT, LAYER_NONE, reason), 0);
	world_verdict(VERDICT_DROPPED, reason);
	return TC_ACT_SHOT;
}

// Has an end that passed the frame take a place, if it needs one.
static __always_inline int take_place(struct packet *p, enum direction end, const struct port_value *port,
						 const struct connection_value *c)
{
	const struct notes *n = p->notes;
	if (!n->asked[end] || (c && !n->questions[end].first && closed(c->state)))
		return PLACE_HELD;
	return claim_place(end, port->port);
}

// Has the ends that passed the frame take their places, the sender first.
static __noinline int take_places(struct packet *p)
{
	int sender = PLACE_HELD, receiver = PLACE_HELD;
	if (!p->notes->tuple)
		return NEXT;
	if (p->from)
		sender = take_place(p, DIRECTION_OUT, p->from, p->connection);
	if (sender >= PLACE_NONE)
		return refuse_place(p, DIRECTION_OUT, sender);
	if (p->to)
		receiver = take_place(p, DIRECTION_IN, p->to, p->receiver);
	if (receiver < PLACE_NONE)
		return NEXT;
	if (sender == PLACE_TAKEN)
		leave_place(p, p->from, DIRECTION_OUT);
	return refuse_place(p, DIRECTION_IN, receiver);
}
