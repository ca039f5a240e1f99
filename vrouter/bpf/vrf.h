// SPDX-License-Identifier: Apache-2.0
// What from_tunnel goes on with finds the frame's VRF once more: it is checked already.
#pragma once

#include "drop.h"

// Apart, so that its stack is not that of the rest.
static __noinline int stage_vrf(struct packet *p)
{
	struct tunnel_key key = {};

	if (!world_tunnel_key(p->skb, &key))
		return end(p, REASON_NO_TUNNEL_KEY);
	struct vni_value *vni = bpf_map_lookup_elem(&vnis, &key.vni);
	if (!vni)
		return end(p, REASON_UNKNOWN_VNI);
	p->vrf = vni->vrf;
	return NEXT;
}
