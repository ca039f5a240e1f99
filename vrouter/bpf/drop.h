// SPDX-License-Identifier: Apache-2.0
// How a run ends without sending the frame on.
#pragma once

#include "event.h"
#include "world.h"

static __always_inline int end_here(struct packet *p, enum verdict verdict, enum reason reason)
{
	world_count_drop(p->ifindex, reason, p->skb->len);
	report_drop(p, reason);
	world_verdict(verdict, reason);
	return TC_ACT_SHOT;
}

// The verdict is taken from the list of reasons, so that a call cannot
// contradict it.
#define REASON_AS_VERDICT(name, stage, verdict, text)                                                                  \
	case REASON_##name:                                                                                                \
		return end_here(p, VERDICT_##verdict, reason);

static __always_inline int end(struct packet *p, enum reason reason)
{
	switch (reason) {
		REASONS(REASON_AS_VERDICT)
	default:
		return TC_ACT_SHOT;
	}
}

// Ends the frame for a reason that only the run knows.
static __noinline __attribute__((unused)) int end_refused(struct packet *p, enum reason reason)
{
	return end(p, reason);
}

// A refusal that the bridge stage may know better.
static __always_inline int end_or_bridge(struct packet *p, enum reason reason)
{
	if (!(p->bridging & BRIDGES))
		return end(p, reason);
	p->notes->refusal = reason;
	return BRIDGE;
}

static __always_inline bool unchecked(const struct packet *p)
{
	return p->from && p->from->unchecked;
}
