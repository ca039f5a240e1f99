// SPDX-License-Identifier: Apache-2.0
// Hook from_tunnel: frames other hosts send. See doc/packet-path.md.
#include "deliver.h"
#include "parse.h"
#include "route.h"
#include "tunnel.h"

SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_tunnel = true };
	struct packet *p = &packet;
	struct next_hop_value *next;

	RUN(stage_tunnel(p));
	RUN(stage_parse(p));
	RUN(stage_tunnel_carried(p));
	RUN(stage_route(p, &next));
	return stage_deliver(p, next);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
