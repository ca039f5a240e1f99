// SPDX-License-Identifier: Apache-2.0
// Hook from_fabric: what an uplink of this host receives. All but packets for
// workloads in the underlay is left alone. See doc/packet-path.md.
#include "deliver.h"
#include "fabric.h"
#include "reject.h"

enum { IPV4_DESTINATION = ETHERNET_SIZE + 16, IPV6_DESTINATION = ETHERNET_SIZE + 24 };

// Finds the route to a workload that the frame is for, with little effort: most
// frames here are the host's own.
static __always_inline bool for_workload(struct packet *p)
{
	struct host_route_key key = { .vrf = UNDERLAY_VRF };
	__be16 type;
	if (!world_for_this_host(p->skb) || p->skb->vlan_present || load(p, ETHERTYPE_OFFSET, &type, sizeof(type)))
		return false;
	if (type == bpf_htons(ETHERTYPE_IPV4)) {
		key.family = FAMILY_4;
		if (load(p, IPV4_DESTINATION, &key.address.word[0], sizeof(key.address.word[0])))
			return false;
	} else if (type == bpf_htons(ETHERTYPE_IPV6)) {
		key.family = FAMILY_6;
		if (load(p, IPV6_DESTINATION, &key.address, sizeof(key.address)))
			return false;
	} else {
		return false;
	}
	struct route_value *route = bpf_map_lookup_elem(&host_routes, &key);
	if (!route || !(route->flags & ROUTE_FABRIC) || !take_notes(p))
		return false;
	p->notes->route = *route;
	return true;
}

static __always_inline int run_stages(struct packet *p)
{
	RUN(stage_parse(p));
	RUN(stage_enter(p, true));
	return stage_deliver(p);
}

SEC("tc")
int from_fabric(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_fabric = true };
	struct packet *p = &packet;

	if (!for_workload(p)) {
		world_verdict(VERDICT_PASSED, REASON_NONE);
		return TC_ACT_UNSPEC;
	}
	int action = run_stages(p);
	if (action != BALANCE)
		return end_run(p, action, STAGE_SLOT_ANSWER_FABRIC);
	bpf_tail_call(skb, &stage_programs, STAGE_SLOT_BALANCE_FABRIC);
	return end_refused(p, REASON_UNRESOLVED_NEXT_HOP); // there is no such program yet
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
