// SPDX-License-Identifier: Apache-2.0
// Stage deliver: to a workload of this host.
#pragma once

#include "vlan.h"

static __always_inline int deliver_by(struct packet *p, bool peer)
{
	world_meet(STAGE_DELIVER);
	__u32 ifindex = p->next->ifindex;
	struct port_value *to = p->to;
	if (!to)
		return end(p, REASON_PORT_GONE);
	if (to->flags & PORT_DISABLED)
		return end(p, REASON_RECEIVER_DISABLED);
	int action;
	if (to->flags & PORT_SUB)
		action = send_tagged(p, to, peer && to->flags & PORT_REDIRECT_PEER);
	else
		action = peer && to->flags & PORT_REDIRECT_PEER ? world_redirect_peer(p->skb, ifindex) : world_redirect(p->skb, ifindex);
	if (action != TC_ACT_REDIRECT)
		return end(p, REASON_REDIRECT_FAILED);
	world_count_sent(to, p->skb->len);
	world_verdict(VERDICT_DELIVERED, REASON_NONE);
	return action;
}

static __always_inline int stage_deliver(struct packet *p)
{
	return deliver_by(p, true);
}
