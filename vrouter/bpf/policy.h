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
static __always_inline void describe_service(struct asked *q, const struct notes *n, const struct connection_key *key, bool tuple)
{
	bool egress = q->direction == DIRECTION_EGRESS;
	__u16 to = bpf_ntohs(egress ? key->remote_port : key->local_port);
	__u16 from = bpf_ntohs(egress ? key->local_port : key->remote_port);
	bool four = key->family == FAMILY_4;
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

// What an end remembers, as numbers: the verifier is to forget which entry they are from.
static __always_inline void recall(struct packet *p, enum direction end, const struct connection_value *c)
{
	bool known = c && !begins_anew(c->state, p, end);
	p->notes->recalled[end] = known ? RECALLED | c->state : 0;
	p->notes->held[end] = known ? *(volatile __u64 *)&c->passed : 0;
	if (c)
		p->notes->questions[end].member = c->mac;
	else
		p->notes->questions[end].member = (struct mac){};
}

// Who asks, of a port.
static __always_inline void introduce(struct packet *p, enum direction end, const struct port_value *port)
{
	struct question *q = &p->notes->questions[end];
	q->vrf = vrf_of_end(p, port, end);
	q->stateless = port->flags & PORT_STATELESS;
	q->mapped = UNMAPPED;
	if (TRANSLATES && p->notes->map.vrf[end])
		q->mapped = q->vrf == port->vrf ? MAPPED_WITHIN : MAPPED_INTO;
}

// As passed, of what is recalled. The entry of what an error quotes is not the packet's.
static __always_inline bool had_passed(const struct notes *n, __u32 end)
{
	__u32 state = n->recalled[end];
	if (!(state & RECALLED) || !n->tuple || world_asks())
		return false;
	return (end == DIRECTION_OUT && n->led) || n->held[end] == n->numbers[end] || state & CONNECTION_UNASKED;
}

// What an end asks about the packet, unless it asks nothing. Not static, as ask_port,
// and not part of that, for which little stack is left.
__noinline __attribute__((unused)) int describe(__u32 end)
{
	struct notes *n = notes();
	if (!n)
		return 0;
	end &= 1;
	barrier_var(end);
	struct question *q = &n->questions[end];
	const struct connection_key *key = &n->keys[end];
	__u32 state = n->recalled[end];
	bool known = state & RECALLED;
	n->asked[end] = !(state & CONNECTION_UNASKED || (end == DIRECTION_OUT && !known && world_answers_host()));
	if (!n->asked[end])
		return 0;
	q->first = !known;
	q->passed = q->stateless && had_passed(n, end);
	if (q->stateless) {
		q->own.direction = end == DIRECTION_IN ? DIRECTION_INGRESS : DIRECTION_EGRESS;
		describe_service(&q->own, n, key, n->tuple);
	}
	bool heard = known ? state & CONNECTION_HEARD_FIRST : world_answers() ? end == DIRECTION_OUT : end == DIRECTION_IN;
	q->began.direction = heard ? DIRECTION_INGRESS : DIRECTION_EGRESS;
	describe_service(&q->began, n, key, n->tuple || known);
	return 1;
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
	case ACTION_GONE:
		return REASON_NO_MEMBER;
	}
	return REASON_POLICY_ABSENT;
}

// Tells of what the rules of an end log. These two are not static and not part of
// ask_port, as describe.
__noinline __attribute__((unused)) int tell_logged(struct __sk_buff *skb, __u32 end, __u32 vrf, int action)
{
	struct notes *n = notes();
	if (!n)
		return 0;
	end &= 1;
	barrier_var(end);
	barrier_var(skb); // these three: a trace uses none of them, and what is not used is not passed
	barrier_var(vrf);
	barrier_var(action);
	report_logged(skb, (__u64)n->keys[end].ifindex << 32 | vrf,
		      event_word(EVENT_KIND_LOGGED, end == DIRECTION_IN ? EVENT_IN : EVENT_OUT, n->layer, action == ACTION_PASS ? REASON_NONE : reason_of(action)),
		      n->questions[end].rule);
	return 0;
}

// Counts what an end was told: it is that port's drop.
__noinline __attribute__((unused)) int count_refusal(struct __sk_buff *skb, __u32 end, __u32 vrf, __u32 reason)
{
	struct notes *n = notes();
	if (!n)
		return 0;
	end &= 1;
	barrier_var(end);
	barrier_var(skb); // as above
	barrier_var(vrf);
	barrier_var(reason);
	__u32 ifindex = n->keys[end].ifindex;
	world_count_drop(ifindex, reason, skb->len);
	report_where(skb, (__u64)ifindex << 32 | vrf, EVENT_DROPS, event_word(EVENT_KIND_DROP, end == DIRECTION_IN ? EVENT_IN : EVENT_OUT, n->layer, reason), n->questions[end].rule);
	return 0;
}

// Asks an end about the packet, and counts what it refuses. Returns an action. Not
// static: the verifier looks at it once, and not for each way that leads here.
__noinline __attribute__((unused)) int ask_port(struct __sk_buff *skb, __u32 end, __u32 vrf)
{
	struct notes *n = notes();
	if (!n)
		return ACTION_ABSENT;
	if (!describe(end))
		return ACTION_PASS;
	int action = ask_end(end);
	if (action == ACTION_PASS && n->strict) {
		__u32 layer = n->layer;
		action = ask_end(end | ASK_FORMER);
		if (action == ACTION_PASS)
			n->layer = layer;
	}
	if (n->logged.has_rule | n->logged.has_audit)
		tell_logged(skb, end, vrf, action);
	if (action != ACTION_PASS)
		count_refusal(skb, end, vrf, reason_of(action));
	return action;
}

static __always_inline int refuse(struct packet *p, enum direction end, int action)
{
	world_verdict(VERDICT_DROPPED, reason_of(action));
	if (action == ACTION_REJECT)
		p->notes->rejected = p->notes->keys[end].ifindex;
	return TC_ACT_SHOT;
}

// Writes into the notes what the ends remember and who they are.
static __noinline void prepare_questions(struct packet *p, bool sends, bool hears)
{
	struct notes *n = p->notes;
	__u32 receiver = p->next ? p->next->ifindex : 0; // who hears has one, which Linux 6.1 does not gather
	if (hears)
		set_connection_key(p, receiver, DIRECTION_IN);
	set_connection_key(p, p->ifindex, DIRECTION_OUT);
	recall(p, DIRECTION_OUT, p->connection);
	recall(p, DIRECTION_IN, p->receiver);
	if (find_subject(p)) {
		if (sends)
			recall(p, DIRECTION_OUT, subject_connection(p, p->from, p->ifindex, DIRECTION_OUT));
		if (TRANSLATES && n->map.quotes)
			n->subject = n->map.quoted;
		if (hears)
			recall(p, DIRECTION_IN, subject_connection(p, p->to, receiver, DIRECTION_IN));
	}
	if (TRANSLATES && n->map.chosen)
		n->questions[DIRECTION_OUT].member = n->route.mac;
	if (sends && p->from)
		introduce(p, DIRECTION_OUT, p->from);
	if (hears && p->to)
		introduce(p, DIRECTION_IN, p->to);
}

// Asks the ends that have not passed it, the sender first. Inlined: the functions that
// are called from here need what stack there is.
static __always_inline int ask_policy(struct packet *p, bool sends, bool hears)
{
	int action;
	world_meet(STAGE_POLICY);
	if (p->notes->later && !p->notes->tuple)
		return end_refused(p, REASON_UNKNOWN_FRAGMENT);
	prepare_questions(p, sends, hears);
	if (sends && p->from) {
		action = ask_port(p->skb, DIRECTION_OUT, p->vrf);
		if (action != ACTION_PASS)
			return refuse(p, DIRECTION_OUT, action);
	}
	if (hears && p->to) {
		action = ask_port(p->skb, DIRECTION_IN, p->vrf);
		if (action != ACTION_PASS)
			return refuse(p, DIRECTION_IN, action);
	}
	return take_places(p);
}

static __always_inline int stage_policy(struct packet *p)
{
	world_take(p);
	find_receiver(p);
	RUN(refuse_taken(p));
	bool sender = to_ask(p, p->from, p->connection, DIRECTION_OUT);
	bool receiver = !p->notes->told && to_ask(p, p->to, p->receiver, DIRECTION_IN);
	if (!sender && !receiver)
		return NEXT;
	return ask_policy(p, sender, receiver);
}
