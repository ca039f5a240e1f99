// SPDX-License-Identifier: Apache-2.0
// Hook from_port: frames a workload sends. See doc/packet-path.md.
#include "connection.h"
#include "deliver.h"
#include "encap.h"
#include "fabric.h"
#include "parse.h"
#include "port.h"
#include "route.h"
#include "vlan.h"

SEC("tc")
int from_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb) };
	struct packet *p = &packet;

	if (!take_notes(p))
		return TC_ACT_SHOT; // cannot be: an array has its element

	if (world_tagged(skb))
		RUN(stage_vlan(p));
	RUN(stage_parse(p));
	world_scatter(p);
	RUN(stage_port(p));
	RUN(stage_spoof_mac(p));
	if (!connection_leads(p)) {
		RUN(stage_spoof_address(p));
		RUN(stage_neighbour(p));
		RUN(stage_request(p));
		RUN(stage_route(p));
	}
	RUN(stage_forward(p));
	stage_connection(p);
	switch (p->next->kind) {
	case NEXT_HOP_PORT:
		return stage_deliver(p);
	case NEXT_HOP_FABRIC:
		return stage_leave(p);
	default:
		return stage_encap(p);
	}
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
