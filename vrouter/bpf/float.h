// SPDX-License-Identifier: Apache-2.0
// Part of stage map: whether what a port sends leaves through a floating address that
// its conversation need not have yet. See doc/packet-path.md, floating.
#pragma once

#include "subject.h"

static __always_inline bool special4(__be32 address)
{
	return !address || address == 0xffffffff || (address & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) ||
	       (address & bpf_htonl(0xffff0000)) == bpf_htonl(0xa9fe0000);
}

static __always_inline bool special6(const struct address *a)
{
	return unspecified(a) || multicast6(a) || link_local6(a);
}

// The floating addresses of the frame's source, if it may leave through one.
static __always_inline struct float_value *floats_of(struct packet *p)
{
	if (!p->from || p->ethernet.destination.byte[0] & 1 || icmp_error(p))
		return 0;
	bool four = p->family == FAMILY_4;
	if (four ? special4(p->source.word[0]) || special4(p->destination.word[0]) : special6(&p->source) || special6(&p->destination))
		return 0;
	struct float_key key = { .ifindex = p->ifindex, .family = p->family, .internal = p->source };
	return bpf_map_lookup_elem(&floats, &key);
}

// Whether its source is a floating address that the port has itself.
static __noinline __attribute__((unused)) bool goes_by_alias(struct packet *p)
{
	if (!(p->from->flags & PORT_ALIASES))
		return false;
	struct float_value *f = floats_of(p);
	return f && f->alias;
}

// Whether a frame to the router to which no route leads may leave through one.
static __noinline __attribute__((unused)) bool may_float(struct packet *p)
{
	struct config_value *c = configuration();
	return c && mac_equal(&p->ethernet.destination, &c->gateway) && floats_of(p);
}
