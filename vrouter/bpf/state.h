// SPDX-License-Identifier: Apache-2.0
// Part of stage connection: how far an end knows its conversation to be, and what
// it believes of who could be somebody else. See doc/packet-path.md, states.
#pragma once

#include "packet.h"
#include "transport.h"

enum {
	FLAGS_OF_STATE = TCP_FIN | TCP_SYN | TCP_RST,
	CONNECTION_FINS = CONNECTION_FIN_SENT | CONNECTION_FIN_HEARD,
};

// How far from what an end expects the other's position may be, in 65,536 bytes.
enum { EXPECTED_BEFORE = 1, EXPECTED_AFTER = 64 };

// Whether the packet may take back what ends know.
static __always_inline bool changes_state(const struct packet *p)
{
	return p->notes->flags & FLAGS_OF_STATE;
}

static __always_inline bool opens(const struct packet *p)
{
	return (p->notes->flags & (FLAGS_OF_STATE | TCP_ACK)) == TCP_SYN;
}

// Whether the packet opens another conversation on the ports of one that is over,
// or that its sender has no more.
static __always_inline bool begins_anew(__u8 state, const struct packet *p, enum direction direction)
{
	return opens(p) && state & (CONNECTION_RESET | CONNECTION_FINS | (direction == DIRECTION_OUT ? CONNECTION_PROVEN : 0));
}

// How an end begins that sends or hears its first packet.
static __always_inline __u8 state_begun(const struct packet *p, enum direction direction)
{
	if (direction == DIRECTION_OUT)
		return CONNECTION_SENT;
	return CONNECTION_HEARD | CONNECTION_HEARD_FIRST | (p->from_host ? CONNECTION_UNASKED : 0);
}

// Whether an end that has sent and hears the packet knows that the other is real.
static __always_inline bool proves(const struct notes *n)
{
	if (!(n->flags & TCP_SYN))
		return true;
	return n->protocol == PROTOCOL_TCP && n->flags & TCP_ACK;
}

// Whether the packet is from where the end expects the other to be.
static __always_inline bool expected(const struct connection_value *c, const struct packet *p)
{
	const struct notes *n = p->notes;
	if (!c->expects || n->later || opens(p))
		return true;
	__u16 ahead = n->position - c->expects;
	if (n->protocol == PROTOCOL_TCP)
		return (__u16)(ahead + EXPECTED_BEFORE) <= EXPECTED_BEFORE + EXPECTED_AFTER;
	return !ahead && !(n->reflected && c->state & CONNECTION_PROVEN);
}

// Whether the packet changes what the end knows at all. Of those that can end a
// conversation or prove one, what is expected does; all others do.
static __always_inline bool believed(const struct connection_value *c, const struct packet *p, enum direction direction)
{
	if (direction == DIRECTION_OUT || (c->state & CONNECTION_PROVEN && !(p->notes->flags & (TCP_FIN | TCP_RST))))
		return true;
	return expected(c, p);
}

// What an end knows after a packet with one of the flags of states.
static __always_inline __u8 state_after_flags(__u8 state, const struct packet *p, enum direction direction)
{
	const struct notes *n = p->notes;
	bool out = direction == DIRECTION_OUT;
	__u8 own = out ? CONNECTION_SENT : CONNECTION_HEARD;
	if (n->flags & TCP_RST)
		return state | own | CONNECTION_RESET | (out ? CONNECTION_FINS : 0);
	if (begins_anew(state, p, direction))
		return state_begun(p, direction);
	if (n->flags & TCP_FIN)
		own |= out ? CONNECTION_FIN_SENT : CONNECTION_FIN_HEARD;
	if (!out && state & CONNECTION_SENT && proves(n))
		own |= CONNECTION_PROVEN;
	return state | own;
}

// What an end knows after a packet that it sent, or heard and believed.
static __always_inline __u8 state_after(__u8 state, const struct packet *p, enum direction direction)
{
	if (changes_state(p))
		return state_after_flags(state, p, direction);
	if (direction == DIRECTION_IN)
		return state | CONNECTION_HEARD | (state & CONNECTION_SENT ? CONNECTION_PROVEN : 0);
	// Who goes on has not taken a reset for one.
	if (state & CONNECTION_RESET && (state & CONNECTION_FINS) != CONNECTION_FINS && p->notes->flags & TCP_ACK)
		state &= ~CONNECTION_RESET;
	return state | CONNECTION_SENT;
}

// Whether the packet that an end sends shows what it expects.
static __always_inline bool shows(const struct packet *p, __u8 state)
{
	const struct notes *n = p->notes;
	if (n->protocol == PROTOCOL_TCP)
		return n->flags & TCP_ACK;
	return n->flags & TCP_SYN && !(state & CONNECTION_PROVEN); // later a forged INIT could have been answered
}
