// SPDX-License-Identifier: Apache-2.0
// Stage policy: whether the ends may talk to each other. It is asked when a
// connection begins and when what was asked has changed. See doc/policy.md.
#pragma once

#include "connection.h"
#include "place.h"
#include "ruleset.h"
#include "subject.h"

static __always_inline bool policed(const struct port_value *port)
{
	return port && port->flags & PORT_POLICED;
}

// Whether an end has passed what the packet belongs to, under the numbers of now.
static __always_inline bool passed(const struct packet *p, const struct connection_value *c, enum direction end)
{
	if (!c || world_asks() || begins_anew(c->state, p, end))
		return false;
	if (end == DIRECTION_OUT && p->notes->led)
		return true; // only what passed writes a way
	return *(volatile __u64 *)&c->passed == p->notes->numbers[end] || c->state & CONNECTION_UNASKED;
}

// The ports, or type and code, of the packet with which the conversation began.
static __always_inline void describe_service(const struct packet *p, struct asked *q, const struct connection_key *key, bool tuple)
{
	const struct notes *n = p->notes;
	bool egress = q->direction == DIRECTION_EGRESS;
	__u16 to = bpf_ntohs(egress ? key->remote_port : key->local_port);
	__u16 from = bpf_ntohs(egress ? key->local_port : key->remote_port);
	bool four = p->family == FAMILY_4;
	if (key->protocol == (four ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) {
		__u8 request = four ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
		__u8 reply = four ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
		to = tuple ? (to == request ? request : reply) << 8 : n->icmp_type << 8 | n->icmp_code;
		from = 0;
	}
	q->port = to;
	q->source_port = from;
}

// Whether an end is to be asked.
static __always_inline bool to_ask(const struct packet *p, const struct port_value *port, const struct connection_value *c, enum direction end)
{
	return policed(port) && (port->flags & PORT_STATELESS || !passed(p, c, end));
}

// What an end remembers, as one number: the verifier is to forget which entry it is from.
static __always_inline void recall(struct packet *p, enum direction end, const struct connection_value *c)
{
	p->notes->recalled[end] = c && !begins_anew(c->state, p, end) ? RECALLED | c->state : 0;
}

// What an end asks about the packet, unless it asks nothing.
static __always_inline void describe(struct packet *p, enum direction end, const struct port_value *port,
				     const struct connection_value *c)
{
	struct notes *n = p->notes;
	struct question *q = &n->questions[end];
	__u32 state = n->recalled[end];
	bool known = state & RECALLED;
	if (state & CONNECTION_UNASKED || (end == DIRECTION_OUT && !known && world_answers_host()))
		return;
	n->asked[end] = true;
	q->vrf = port->vrf;
	q->first = !known;
	q->stateless = port->flags & PORT_STATELESS;
	q->passed = q->stateless && passed(p, c, end);
	if (q->stateless) {
		q->own.direction = end == DIRECTION_IN ? DIRECTION_INGRESS : DIRECTION_EGRESS;
		describe_service(p, &q->own, &n->keys[end], n->tuple);
	}
	bool heard = known ? state & CONNECTION_HEARD_FIRST : world_answers() ? end == DIRECTION_OUT : end == DIRECTION_IN;
	q->began.direction = heard ? DIRECTION_INGRESS : DIRECTION_EGRESS;
	describe_service(p, &q->began, &n->keys[end], n->tuple || known);
}

static __always_inline enum reason reason_of(int action)
{
	switch (action) {
	case ACTION_DENY:
		return REASON_POLICY_DENIED;
	case ACTION_REJECT:
		return REASON_POLICY_REJECTED;
	case ACTION_PENDING:
		return REASON_IDENTITY_PENDING;
	}
	return REASON_POLICY_ABSENT;
}

// Asks all that an end asks, and tells of what its rules log.
static __always_inline int ask(struct packet *p, enum direction end)
{
	struct notes *n = p->notes;
	int action = ask_end(end);
	if (action == ACTION_PASS && n->strict) {
		__u32 layer = n->layer;
		action = ask_end(end | ASK_FORMER);
		if (action == ACTION_PASS)
			n->layer = layer;
	}
	if (n->logged.has_rule | n->logged.has_audit)
		report_logged(p, n->keys[end].ifindex,
			      event_word(EVENT_KIND_LOGGED, end == DIRECTION_IN ? EVENT_IN : EVENT_OUT, n->layer, action == ACTION_PASS ? REASON_NONE : reason_of(action)),
			      n->questions[end].rule);
	return action;
}

// Counts what an end was told: it is that port's drop.
static __always_inline void count_refusal(struct packet *p, enum direction end, enum reason reason)
{
	struct notes *n = p->notes;
	__u32 ifindex = n->keys[end].ifindex;
	world_count_drop(ifindex, reason, p->skb->len);
	report_at(p, ifindex, EVENT_DROPS, event_word(EVENT_KIND_DROP, end == DIRECTION_IN ? EVENT_IN : EVENT_OUT, n->layer, reason), n->questions[end].rule);
}

static __always_inline int refuse(struct packet *p, enum direction end, int action)
{
	enum reason reason = reason_of(action);
	count_refusal(p, end, reason);
	world_verdict(VERDICT_DROPPED, reason);
	if (action == ACTION_REJECT)
		p->notes->rejected = p->notes->keys[end].ifindex;
	return TC_ACT_SHOT;
}

// Asks the ends that have not passed it, the sender first.
static __noinline int ask_policy(struct packet *p, bool sends, bool hears)
{
	struct notes *n = p->notes;
	world_meet(STAGE_POLICY);
	if (n->later && !n->tuple)
		return end(p, REASON_UNKNOWN_FRAGMENT);
	if (hears)
		set_connection_key(p, p->next->ifindex, DIRECTION_IN);
	set_connection_key(p, p->ifindex, DIRECTION_OUT);
	recall(p, DIRECTION_OUT, p->connection);
	recall(p, DIRECTION_IN, p->receiver);
	if (find_subject(p)) {
		if (sends)
			recall(p, DIRECTION_OUT, subject_connection(p, p->from, p->ifindex, DIRECTION_OUT));
		if (hears)
			recall(p, DIRECTION_IN, subject_connection(p, p->to, p->next->ifindex, DIRECTION_IN));
	}
	if (sends && p->from)
		describe(p, DIRECTION_OUT, p->from, p->connection);
	if (hears && p->to)
		describe(p, DIRECTION_IN, p->to, p->receiver);
	int action;
	if (n->asked[DIRECTION_OUT]) {
		action = ask(p, DIRECTION_OUT);
		if (action != ACTION_PASS)
			return refuse(p, DIRECTION_OUT, action);
	}
	if (n->asked[DIRECTION_IN]) {
		action = ask(p, DIRECTION_IN);
		if (action != ACTION_PASS)
			return refuse(p, DIRECTION_IN, action);
	}
	return take_places(p);
}

static __always_inline int stage_policy(struct packet *p)
{
	world_take(p);
	find_receiver(p);
	bool sender = to_ask(p, p->from, p->connection, DIRECTION_OUT);
	bool receiver = !p->notes->told && to_ask(p, p->to, p->receiver, DIRECTION_IN);
	if (!sender && !receiver)
		return NEXT;
	return ask_policy(p, sender, receiver);
}
