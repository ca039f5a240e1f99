// SPDX-License-Identifier: Apache-2.0
// Hook from_port: frames a workload sends. See doc/packet-path.md.
#include "deliver.h"
#include "encap.h"
#include "parse.h"
#include "port.h"
#include "route.h"

SEC("tc")
int from_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb) };
	struct packet *p = &packet;
	struct port_value *port;
	struct next_hop_value *next;

	RUN(stage_parse(p));
	RUN(stage_port(p, &port));
	RUN(stage_spoof(p, port));
	RUN(stage_neighbour(p));
	RUN(stage_request(p));
	RUN(stage_route(p, &next));
	if (next->kind == NEXT_HOP_PORT)
		return stage_deliver(p, next);
	return stage_encap(p, next);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
