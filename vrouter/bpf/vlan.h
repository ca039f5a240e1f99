// SPDX-License-Identifier: Apache-2.0
// Stage vlan: whose a frame with a VLAN tag is, and how a sub-port's frames
// leave. Ordinary frames pay one test for all this.
#pragma once

#include "drop.h"

enum { VLAN_ID = 0x0fff }; // the rest of the tag's control information is priority

static __noinline __attribute__((unused)) int stage_vlan(struct packet *p)
{
	struct vlan_tag tag;
	world_meet(STAGE_VLAN);
	if (world_vlan(p->skb, &tag))
		return end(p, REASON_MALFORMED);
	if (tag.protocol != bpf_htons(ETHERTYPE_VLAN))
		return end(p, REASON_VLAN_TAGGED);
	struct sub_port_key key = { .device = p->ifindex, .vlan = tag.control & VLAN_ID };
	if (key.vlan) {
		__u32 *number = bpf_map_lookup_elem(&sub_ports, &key);
		if (!number)
			return end(p, REASON_UNKNOWN_VLAN);
		p->ifindex = *number;
	}
	if (bpf_skb_vlan_pop(p->skb))
		return end(p, REASON_REWRITE_FAILED);
	// Of two tags the kernel now holds the second.
	return p->skb->vlan_present ? end(p, REASON_VLAN_TAGGED) : NEXT;
}

// Sends a frame to a sub-port: into the namespace of its device's peer, or out
// of the device.
static __noinline __attribute__((unused)) int send_tagged(struct packet *p, const struct port_value *to, bool peer)
{
	__u32 device = to->device;
	if (world_push_vlan(p->skb, to->vlan))
		return TC_ACT_SHOT;
	return peer ? world_redirect_peer(p->skb, device) : world_redirect(p->skb, device);
}

// Sends the frame in hand back to its port.
static __always_inline int send_back(struct packet *p)
{
	if (p->from && p->from->flags & PORT_SUB) // from a tunnel nothing is sent back, which the verifier does not see
		return send_tagged(p, p->from, false);
	return world_redirect(p->skb, p->ifindex);
}
