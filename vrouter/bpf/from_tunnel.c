// SPDX-License-Identifier: Apache-2.0
// Hook from_tunnel: frames other hosts send. See doc/packet-path.md.
#include "deliver.h"
#include "inward.h"
#include "parse.h"
#include "policy.h"
#include "reject.h"
#include "route.h"
#include "tunnel.h"

static __always_inline int run_stages(struct packet *p)
{
	RUN(stage_tunnel(p));
	RUN(refuse_tag(p));
	if (p->bridging & FRAMES_ONLY) {
		RUN(refuse_inner_tag(p));
		return end_or_bridge(p, REASON_UNKNOWN_MAC);
	}
	RUN(stage_parse(p));
	world_scatter(p);
	RUN(stage_tunnel_carried(p));
	find_fragment(p);
	if (p->ethernet.destination.byte[0] == MEMBER_MAC && for_member(p))
		return MAP;
	RUN(stage_route(p));
	RUN(stage_policy(p));
	RUN(stage_forward(p));
	stage_connection(p);
	if (p->next->kind == NEXT_HOP_FABRIC)
		return send_to_host(p);
	return stage_deliver(p);
}

SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_tunnel = true };
	struct packet *p = &packet;

	if (!take_notes(p))
		return TC_ACT_SHOT; // cannot be: an array has its element
	int action = run_stages(p);
	if (action > NEXT)
		return end_run(p, action, STAGE_SLOT_ANSWER_TUNNEL);
	skb->cb[0] = p->notes->refusal;
	if (action == MAP)
		bpf_tail_call(skb, &stage_programs, STAGE_SLOT_MAP_TUNNEL);
	else if (action == FLOAT)
		bpf_tail_call(skb, &stage_programs, STAGE_SLOT_FLOAT_TUNNEL);
	else
		bpf_tail_call(skb, &stage_programs, STAGE_SLOT_BRIDGE_TUNNEL);
	return end_refused(p, action == BRIDGE ? p->notes->refusal : REASON_NO_MAPPING); // there is no such program yet
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
