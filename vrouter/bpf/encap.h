// SPDX-License-Identifier: Apache-2.0
// Stage encap: to another host, through the vxlan device.
#pragma once

#include "lookup.h"

static __always_inline int stage_encap(struct packet *p)
{
	world_meet(STAGE_ENCAP);
	struct config_value *c = configuration();
	if (!c || !c->tunnel_ifindex)
		return end(p, REASON_NO_TUNNEL_DEVICE);
	__u32 ifindex = c->tunnel_ifindex;
	struct tunnel_key key = { .vni = p->next->vni, .family = p->next->family, .remote = p->next->remote };
	key.local = key.family == FAMILY_4 ? c->local4 : c->local6;
	if (world_set_tunnel_key(p->skb, &key))
		return end(p, REASON_TUNNEL_KEY_FAILED);
	if (world_redirect(p->skb, ifindex) != TC_ACT_REDIRECT)
		return end(p, REASON_TUNNEL_REDIRECT_FAILED);
	world_count_sent(0, p->skb->len);
	world_verdict(VERDICT_TUNNELLED, REASON_NONE);
	return TC_ACT_REDIRECT;
}
