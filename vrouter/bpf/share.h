// SPDX-License-Identifier: Apache-2.0
// What a port may use in a time: so much at once, and then one after another.
#pragma once

#include "kernel.h"

// Whether a port that has used up its share until then may use so many more
// now; leaves until when it has used up these.
static __always_inline bool share_left(const __u64 *used, __u64 interval, __u32 burst, __u64 count, __u64 *until)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 from = used && *used > now ? *used : now;
	__u64 slack = burst ? (burst - 1) * interval : 0;
	*until = from + count * interval;
	return from - now <= slack;
}
