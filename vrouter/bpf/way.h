// SPDX-License-Identifier: Apache-2.0
// The way of a frame, for traces: which stages it met and which route it took.
// The product does not ask.
#pragma once

#ifdef WEFT_TRACE

static __always_inline void world_meet(enum stage stage)
{
	struct trace_record *r = record();
	if (r && r->met < sizeof(r->stages))
		r->stages[r->met++] = stage;
}

static __always_inline void world_take(const struct packet *p)
{
	struct trace_record *r = record();
	if (!r)
		return;
	r->led = p->notes->led;
	r->has_route = 1;
	r->route = p->notes->route;
}

// Whether policy is asked also where it has passed the connection before.
static __always_inline bool world_asks(void)
{
	__u32 zero = 0;
	struct trace_arguments *a = bpf_map_lookup_elem(&trace_in, &zero);
	return a && a->asks;
}

// Whether a frame of no connection answers one that the other side began.
static __always_inline bool world_answers(void)
{
	__u32 zero = 0;
	struct trace_arguments *a = bpf_map_lookup_elem(&trace_in, &zero);
	return a && a->asks == 2;
}

// Whether it answers one that this host itself began, about which policy is not asked.
static __always_inline bool world_answers_host(void)
{
	__u32 zero = 0;
	struct trace_arguments *a = bpf_map_lookup_elem(&trace_in, &zero);
	return a && a->asks == 3;
}

// What a layer said to an end.
static __noinline __attribute__((unused)) void world_answer(const struct notes *n, __u32 end)
{
	struct trace_record *r = record();
	if (!r || r->answered >= TRACE_ANSWERS)
		return;
	__u32 place = r->answered++;
	barrier_var(place);
	if (place >= TRACE_ANSWERS)
		return;
	struct trace_answer *a = &r->answers[place];
	a->identity = n->server.asked ? n->server.identity : n->questions[end & 1].identity;
	a->rule = n->found.rule;
	a->audit_rule = n->audited.order && n->audited.order < n->found.order ? n->audited.rule : 0;
	a->action = n->found.action;
	a->layer = n->layer;
	a->receiver = end;
	a->direction = n->questions[end & 1].about.direction;
	a->logs = n->found.flags & POLICY_VERDICT_LOG ? 1 : 0;
	a->former = n->former;
}

#else

static __always_inline void world_meet(enum stage stage)
{
}

static __always_inline void world_take(const struct packet *p)
{
}

static __always_inline bool world_asks(void)
{
	return false;
}

static __always_inline bool world_answers(void)
{
	return false;
}

static __always_inline bool world_answers_host(void)
{
	return false;
}

static __always_inline void world_answer(const struct notes *n, __u32 end)
{
}

#endif
