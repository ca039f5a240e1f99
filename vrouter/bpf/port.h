// SPDX-License-Identifier: Apache-2.0
// Stage port: whose interface this is.
#pragma once

#include "drop.h"

static __always_inline int stage_port(struct packet *p)
{
	world_meet(STAGE_PORT);
	struct port_value *port = bpf_map_lookup_elem(&ports, &p->ifindex);
	if (!port)
		return end(p, REASON_NO_PORT);
	p->from = port;
	p->vrf = port->vrf;
	p->bridging = (port->flags & PORT_BRIDGE ? BRIDGES : 0) | (port->flags & PORT_FRAMES ? FRAMES_ONLY : 0);
	world_count_received(port, p->skb->len);
	if (port->flags & PORT_DISABLED)
		return end(p, REASON_PORT_DISABLED);
	return NEXT;
}
