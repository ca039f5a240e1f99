// SPDX-License-Identifier: Apache-2.0
// Stage tunnel: which VRF a frame from another host belongs to.
#pragma once

#include "spoof.h"

static __always_inline bool may_send(const struct tunnel_key *from)
{
	struct tunnel_source_key key = { .vni = from->vni, .family = from->family, .address = from->remote };
	return bpf_map_lookup_elem(&tunnel_sources, &key);
}

static __always_inline int stage_tunnel(struct packet *p)
{
	world_meet(STAGE_TUNNEL);
	struct tunnel_key key = {};
	if (!world_tunnel_key(p->skb, &key))
		return end(p, REASON_NO_TUNNEL_KEY);
	struct vni_value *vni = bpf_map_lookup_elem(&vnis, &key.vni);
	if (!vni)
		return end(p, REASON_UNKNOWN_VNI);
	if (vni->flags & VNI_CHECK_SOURCES && !may_send(&key))
		return end(p, REASON_UNKNOWN_TUNNEL_SOURCE);
	p->vrf = vni->vrf;
	p->bridging = (vni->flags & VNI_BRIDGE ? BRIDGES : 0) | (vni->flags & VNI_FRAMES ? FRAMES_ONLY : 0);
	world_count_received(0, p->skb->len);
	return NEXT;
}

static __always_inline int stage_tunnel_carried(struct packet *p)
{
	if (p->arp || is_neighbour_discovery(p))
		return end_or_bridge(p, REASON_NOT_CARRIED);
	return NEXT;
}
