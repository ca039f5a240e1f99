// SPDX-License-Identifier: Apache-2.0
// What from_port and from_tunnel go on with by tail call for frames that go by
// their MAC. See doc/packet-path.md, bridge.
#include "bridge.h"
#include "load.h"

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

	p->from = bpf_map_lookup_elem(&ports, &p->ifindex);
	if (!p->from)
		return end(p, REASON_NO_PORT);
	p->vrf = p->from->vrf;
	if (load(p, 0, &p->ethernet, sizeof(p->ethernet)))
		return end(p, REASON_MALFORMED);
	if (unparsed(refusal))
		RUN(stage_spoof_frame(p));
	return stage_bridge(p, refusal);
}

// What another host sent with a MAC that no port has is behind that host.
static __always_inline int stage_learn_tunnel(struct packet *p, const struct tunnel_key *key)
{
	struct mac_key source = mac_key_of(p->vrf, &p->ethernet.source);
	if (!station(&p->ethernet.source) || bpf_map_lookup_elem(&macs, &source))
		return NEXT;
	struct learned_mac_value fresh = { .at = { .kind = NEXT_HOP_TUNNEL, .vni = key->vni, .family = key->family, .remote = key->remote } };
	enum reason reason = learn(p, &fresh, LEARNED_FROM_TUNNEL);
	return reason ? end_refused(p, reason) : NEXT;
}

SEC("tc")
int bridge_tunnel(struct __sk_buff *skb)
{
	struct packet packet = { .skb = skb, .ifindex = world_ifindex(skb), .from_tunnel = true };
	struct packet *p = &packet;
	struct tunnel_key key = {};

	if (!world_tunnel_key(skb, &key))
		return end(p, REASON_NO_TUNNEL_KEY);
	struct vni_value *vni = bpf_map_lookup_elem(&vnis, &key.vni);
	if (!vni)
		return end(p, REASON_UNKNOWN_VNI);
	p->vrf = vni->vrf;
	if (load(p, 0, &p->ethernet, sizeof(p->ethernet)))
		return end(p, REASON_MALFORMED);
	RUN(stage_learn_tunnel(p, &key));
	return stage_bridge(p, refusal_of(skb));
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
