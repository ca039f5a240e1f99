// SPDX-License-Identifier: Apache-2.0
// What a port may send and get. Two programs of their own, on the interfaces of
// ports with a limit alone: others pay nothing for them.
#include "limit.h"

// At tc ingress of the interface, before from_port.
SEC("tc")
int limit_out(struct __sk_buff *skb)
{
	return stage_limit(skb, DIRECTION_OUT);
}

// At its tc egress.
SEC("tc")
int limit_in(struct __sk_buff *skb)
{
	return stage_limit(skb, DIRECTION_IN);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
