// SPDX-License-Identifier: Apache-2.0
// Part of stage connection: the first fragment of a packet has its ports, and
// lends them to the others.
#pragma once

#include "drop.h"

static __always_inline void set_fragment_key(struct packet *p)
{
	p->notes->fragment_key = (struct fragment_key){
		.vrf = p->vrf,
		.ifindex = p->ifindex,
		.id = p->notes->fragment_id,
		.protocol = p->notes->protocol,
		.family = p->family,
		.source = p->source,
		.destination = p->destination,
	};
}

static __always_inline void find_fragment(struct packet *p)
{
	if (!p->notes->later)
		return;
	set_fragment_key(p);
	struct fragment_value *first = bpf_map_lookup_elem(&fragments, &p->notes->fragment_key);
	if (!first || (__u32)(bpf_ktime_get_coarse_ns() >> TICK_SHIFT) - first->seen > FRAGMENT_TICKS)
		return;
	p->notes->source_port = first->source_port;
	p->notes->destination_port = first->destination_port;
	p->notes->tuple = true;
}

static __always_inline void note_fragment(struct packet *p)
{
	if (!p->notes->fragment || p->notes->later)
		return;
	set_fragment_key(p);
	struct fragment_value first = {
		.source_port = p->notes->source_port,
		.destination_port = p->notes->destination_port,
		.seen = bpf_ktime_get_coarse_ns() >> TICK_SHIFT,
	};
	world_note_fragment(p, &first);
}
