// SPDX-License-Identifier: Apache-2.0
// Part of stage map: whether what a port sends leaves through a mapping.
#pragma once

#include "subject.h"

// The sender's entry of the frame, or of what the ICMP error in hand is about.
static __always_inline struct connection_value *conversation_of(struct packet *p)
{
	if (p->notes->tuple)
		return TRANSLATES ? connection_of(p, p->from, DIRECTION_OUT) : p->connection;
	if (!find_subject(p))
		return 0;
	set_connection_key(p, p->ifindex, DIRECTION_OUT);
	set_subject_key(p->notes, DIRECTION_OUT);
	return connection_of(p, p->from, DIRECTION_OUT);
}

// Whether the sender's entry is mapped, and the frame does not begin it anew.
static __noinline __attribute__((unused)) bool goes_out(struct packet *p)
{
	const struct connection_value *c = conversation_of(p);
	if (!c || !(c->flags & ROUTE_UNLED) || !c->mapping)
		return false;
	return !p->notes->tuple || !begins_anew(c->state, p, DIRECTION_OUT);
}
