// SPDX-License-Identifier: Apache-2.0
// Tables of connections whose remote end is not proven. Each port has a share
// that others cannot take; what is beyond it shares what is left.
#pragma once

#include "tables_policy.h"

// Not evicted: a port's share, removed when proven or idle.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct connection_key, struct connection_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} half_open SEC(".maps");

// What is beyond the shares. A flood of them evicts only its like.
struct {
	TABLE(BPF_MAP_TYPE_LRU_HASH, struct connection_key, struct connection_value);
} half_open_rest SEC(".maps");

// As place_counts and places_returned, of entries of half_open.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct place_owner, struct place_count);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} half_open_counts SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct place_owner, __u32);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} half_open_returned SEC(".maps");

// Entries of half_open that a port may have. The agent writes it.
struct {
	TABLE(BPF_MAP_TYPE_ARRAY, __u32, __u32);
} half_open_share SEC(".maps");
