// SPDX-License-Identifier: Apache-2.0
// Tells the agent of a frame that goes on.
#pragma once

#include "world.h"

static __always_inline void world_tell(struct __sk_buff *skb, __u32 ifindex, __u64 size)
{
#ifndef WEFT_TRACE
	world_hand_over(skb, ifindex, size); // what finds no room is told of the next time
#elif !defined(WEFT_REHEARSAL) // where a connection's later packets do not come this way
	struct trace_record *r = record();
	if (r)
		r->told = 1;
#endif
}
