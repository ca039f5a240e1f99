// SPDX-License-Identifier: Apache-2.0
// MPLS over UDP (RFC 7510): what is around a packet in the underlay.
#pragma once

#include "parse.h"

enum {
	MPLS_PORT = 6635,
	LABEL_SIZE = 4,
	LABEL_SHIFT = 12,
	LABEL_BOTTOM = 1 << 8,
	OUTER_TTL = 64,
};

struct udp {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

// Behind the outer IP header.
struct labelled {
	struct udp udp;
	__be32 label;
};

// What the Ethernet header of a frame in the label path holds.
struct label_path {
	__be32 next_hop;
	__be16 source_port;
	struct mac source;
};

#ifdef WEFT_TRACE

// What will be put around the frame at the other end of the label path.
static __always_inline void world_label(const struct next_hop_value *n)
{
	struct trace_record *r = record();
	if (!r)
		return;
	r->has_tunnel_key = 1;
	r->tunnel_key.vni = n->vni;
	r->tunnel_key.family = n->family;
	r->tunnel_key.remote = n->remote;
	r->tunnel_key.local = n->local;
	r->tunnel_key.encapsulation = n->encapsulation;
}

#else

static __always_inline void world_label(const struct next_hop_value *n)
{
}

#endif
