// SPDX-License-Identifier: Apache-2.0
// Stage tunnel: which VRF a frame from another host belongs to.
#pragma once

#include "spoof.h"

static __always_inline int stage_tunnel(struct packet *p)
{
	struct tunnel_key key = {};
	if (!world_tunnel_key(p->skb, &key))
		return end(p, REASON_NO_TUNNEL_KEY);
	__u32 *vrf = bpf_map_lookup_elem(&vnis, &key.vni);
	if (!vrf)
		return end(p, REASON_UNKNOWN_VNI);
	p->vrf = *vrf;
	world_count_received(p->ifindex, p->skb->len);
	return NEXT;
}

static __always_inline int stage_tunnel_carried(struct packet *p)
{
	if (p->arp || is_neighbour_discovery(p))
		return end(p, REASON_NOT_CARRIED);
	return NEXT;
}
