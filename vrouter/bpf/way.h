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

#else

static __always_inline void world_meet(enum stage stage)
{
}

static __always_inline void world_take(const struct packet *p)
{
}

#endif
