// SPDX-License-Identifier: Apache-2.0
// Hook from_port: frames a workload sends. See doc/packet-path.md.
#include "deliver.h"
#include "encap.h"
#include "fabric.h"
#include "parse.h"
#include "policy.h"
#include "port.h"
#include "outward.h"
#include "reject.h"
#include "route.h"
#include "vlan.h"

static __always_inline int run_stages(struct packet *p)
{
	if (world_tagged(p->skb))
		RUN(stage_vlan(p));
	RUN(stage_port(p));
	RUN(stage_parse(p));
	world_scatter(p);
	RUN(stage_spoof_mac(p));
	bool frames_only = p->bridging & FRAMES_ONLY;
	if (frames_only || !connection_leads(p)) {
		RUN(stage_spoof_address(p));
		RUN(stage_neighbour(p));
		RUN(stage_request(p));
		if (frames_only)
			return end_or_bridge(p, REASON_UNKNOWN_MAC);
		if (goes_out(p))
			return MAP;
		if (goes_by_alias(p))
			return FLOAT;
		RUN(stage_route(p));
	}
	RUN(stage_policy(p));
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

SEC("tc")
int from_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb) };
	struct packet *p = &packet;

	if (!take_notes(p))
		return TC_ACT_SHOT; // cannot be: an array has its element
	int action = run_stages(p);
	if (action > NEXT)
		return end_run(p, action, STAGE_SLOT_ANSWER_PORT);
	skb->cb[0] = p->notes->refusal;
	skb->cb[1] = p->ifindex; // of a sub-port it is not the device's
	if (action == BALANCE)
		bpf_tail_call(skb, &stage_programs, STAGE_SLOT_BALANCE_PORT);
	else if (action == MAP)
		bpf_tail_call(skb, &stage_programs, STAGE_SLOT_MAP_PORT);
	else if (action == FLOAT)
		bpf_tail_call(skb, &stage_programs, STAGE_SLOT_FLOAT_PORT);
	else
		bpf_tail_call(skb, &stage_programs, STAGE_SLOT_BRIDGE_PORT);
	return end_refused(p, action == BRIDGE ? p->notes->refusal : REASON_UNRESOLVED_NEXT_HOP); // there is no such program yet
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
