// SPDX-License-Identifier: Apache-2.0
// What from_port and from_tunnel go on with by tail call for frames that go by
// their MAC. See doc/packet-path.md, bridge.
#include "bridge.h"
#include "load.h"
#include "reject.h"
#include "vrf.h"

// The reason that the frame would have ended for. The hook that called leaves
// it, and from_port the interface, in the frame's control block; nothing else
// is handed on, so hook and stage may be of different builds for a moment.
static __always_inline enum reason refusal_of(const struct __sk_buff *skb)
{
	return skb->cb[0];
}

// What stage spoof does for frames that the parse stage does not know.
static __always_inline int stage_spoof_frame(struct packet *p)
{
	if (mac_equal(&p->ethernet.source, &p->from->mac))
		return NEXT;
	if (!p->from->mac_limit && !p->from->unchecked)
		return end(p, REASON_SPOOFED_MAC);
	return learn_source(p);
}

SEC("tc")
int bridge_port(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = skb->cb[1] };
	struct packet *p = &packet;
	enum reason refusal = refusal_of(skb);

	if (!take_notes(p))
		return TC_ACT_SHOT; // cannot be: an array has its element
	p->from = bpf_map_lookup_elem(&ports, &p->ifindex);
	if (!p->from)
		return end(p, REASON_NO_PORT);
	p->vrf = p->from->vrf;
	RUN(read_packet(p));
	if (unparsed(refusal))
		RUN(stage_spoof_frame(p));
	return end_run(p, stage_bridge(p, refusal), STAGE_SLOT_ANSWER_PORT);
}

// What another host sent with a MAC that no port has is behind that host.
static __noinline int stage_learn_tunnel(struct packet *p)
{
	struct tunnel_key key = {};
	struct mac_key source = mac_key_of(p->vrf, &p->ethernet.source);
	if (!station(&p->ethernet.source) || bpf_map_lookup_elem(&macs, &source))
		return NEXT;
	if (!world_tunnel_key(p->skb, &key))
		return end(p, REASON_NO_TUNNEL_KEY);
	struct learned_mac_value *fresh = &p->notes->learned;
	__builtin_memset(fresh, 0, sizeof(*fresh));
	fresh->at.kind = NEXT_HOP_TUNNEL;
	fresh->at.vni = key.vni;
	fresh->at.family = key.family;
	fresh->at.remote = key.remote;
	enum reason reason = learn(p, fresh, LEARNED_FROM_TUNNEL);
	return reason ? end_refused(p, reason) : NEXT;
}

SEC("tc")
int bridge_tunnel(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_tunnel = true };
	struct packet *p = &packet;

	if (!take_notes(p))
		return TC_ACT_SHOT;
	RUN(stage_vrf(p));
	RUN(read_packet(p));
	RUN(stage_learn_tunnel(p));
	return end_run(p, stage_bridge(p, refusal_of(skb)), STAGE_SLOT_ANSWER_TUNNEL);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
