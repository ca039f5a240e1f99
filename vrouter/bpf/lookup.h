// SPDX-License-Identifier: Apache-2.0
// From an address in a VRF to a route and its next hop.
#pragma once

#include "drop.h"

static __always_inline struct route_value *route_of(__u32 vrf, enum family family, const struct address *address)
{
	if (family == FAMILY_4) {
		struct route4_key key = { .prefix_length = 64, .vrf = vrf, .address = address->word[0] };
		return bpf_map_lookup_elem(&routes4, &key);
	}
	struct route6_key key = { .prefix_length = 160, .vrf = vrf, .address = *address };
	return bpf_map_lookup_elem(&routes6, &key);
}

static __always_inline struct next_hop_value *next_hop_of(const struct route_value *route)
{
	__u32 id = route->next_hop;
	return bpf_map_lookup_elem(&next_hops, &id);
}

static __always_inline struct config_value *configuration(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&config, &zero);
}
