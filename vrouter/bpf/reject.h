// SPDX-License-Identifier: Apache-2.0
// How a hook goes on with what policy rejects: by tail call, for most frames
// are not rejected, and answers need room.
#pragma once

#include "drop.h"
#include "stages.h"

// Ends a run. What was rejected and where it came from is all that is handed on, so
// hook and stage may be of different builds for a moment.
static __always_inline int end_run(struct packet *p, int action, enum stage_slot slot)
{
	if (action != TC_ACT_SHOT || !p->notes->rejected)
		return action;
	p->skb->cb[0] = p->notes->rejected;
	p->skb->cb[1] = p->ifindex; // of a sub-port it is not the device's
	bpf_tail_call(p->skb, &stage_programs, slot);
	return action; // there is no such program yet
}
