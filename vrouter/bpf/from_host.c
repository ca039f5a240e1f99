// SPDX-License-Identifier: Apache-2.0
// Hook from_host: packets of this host's own TCP/IP for a workload's alias.
// See doc/packet-path.md.
#include "deliver.h"
#include "fabric.h"
#include "service.h"
#include "stages.h"

// Leaves the interface of the port that an alias means.
static __always_inline int stage_alias(struct packet *p, __u32 *ifindex)
{
	__u32 number = alias_number(p->family, &p->destination);
	__u32 *found = bpf_map_lookup_elem(&aliases, &number);
	struct address host = alias_of(p->family, HOST_ALIAS);
	if (!found || !address_equal(&p->source, &host)) // what the host forwards is nothing it began
		return end(p, REASON_UNKNOWN_ALIAS);
	*ifindex = *found;
	p->to = bpf_map_lookup_elem(&ports, ifindex);
	if (!p->to || p->to->alias != number)
		return end(p, REASON_UNKNOWN_ALIAS);
	return NEXT;
}

// To a workload's own address, which the host sees.
static __always_inline int stage_visible(struct packet *p)
{
	struct route_value *route = p->arp ? 0 : route_of(UNDERLAY_VRF, p->family, &p->destination);
	if (!route)
		return end(p, REASON_UNKNOWN_ALIAS);
	p->notes->route = *route;
	int action = stage_enter(p, false); // what this host says
	if (action == NEXT)
		return stage_deliver(p);
	if (action != BALANCE)
		return action;
	bpf_tail_call(p->skb, &stage_programs, STAGE_SLOT_BALANCE_HOST);
	return end(p, REASON_UNRESOLVED_NEXT_HOP); // there is no such program yet
}

// What the workload is to see: for a service, what it asked; for what the host
// begins, a packet from its gateway.
static __always_inline int stage_host(struct packet *p, __u32 ifindex)
{
	struct ports_pair ports;
	if (!transport(p, &ports))
		return end(p, REASON_HOST_PROTOCOL);
	struct host_flow_key key = flow_key_of(p, ifindex, ports.destination, ports.source);
	struct host_flow_value *flow = bpf_map_lookup_elem(&host_flows, &key);
	struct translation t = { .ports = ports };
	if (flow && !flow->from_host) {
		t.source = flow->peer;
		t.destination = flow->workload;
		t.ports.source = flow->peer_port;
		t.ports.destination = flow->workload_port;
	} else {
		bool four = p->family == FAMILY_4;
		t.source = four ? p->to->gateway4 : p->to->gateway6;
		t.destination = four ? p->to->address4 : p->to->address6;
		if (unspecified(&t.source) || unspecified(&t.destination))
			return end(p, REASON_NO_PORT_ADDRESS);
		struct host_flow_value now = {
			.seen = bpf_ktime_get_ns(), .workload = t.destination, .peer = t.source, .peer_port = ports.source, .from_host = 1,
			.workload_port = ports.destination,
		};
		if (world_remember_flow(&key, &now))
			return end(p, REASON_REWRITE_FAILED);
	}
	struct config_value *c = configuration();
	if (!c)
		return end(p, REASON_REWRITE_FAILED);
	struct mac to = p->to->mac, gateway = c->gateway;
	if (translate(p, &t, &ports) || set_ethernet(p, &to, &gateway))
		return end(p, REASON_REWRITE_FAILED);
	return NEXT;
}

SEC("tc")
int from_host(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_tunnel = true, .from_host = true };
	struct packet *p = &packet;
	struct next_hop_value next = { .kind = NEXT_HOP_PORT };
	__u32 ifindex;

	if (!take_notes(p))
		return TC_ACT_SHOT; // cannot be: an array has its element

	RUN(refuse_tag(p));
	RUN(stage_parse(p));
	if (p->arp || !alias_number(p->family, &p->destination))
		return stage_visible(p);
	world_meet(STAGE_SERVICE);
	RUN(stage_alias(p, &ifindex));
	RUN(stage_host(p, ifindex));
	next.ifindex = ifindex;
	p->next = &next;
	return stage_deliver(p);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
