// SPDX-License-Identifier: Apache-2.0
// The tables of frames that go by their MAC.
#pragma once

#include "learned.h"

struct mac_key {
	__u32 vrf;
	struct mac mac;
	__u8 pad[2];
};

struct mac_count_key {
	__u32 vrf;
	__u32 ifindex;
};

// In place of an interface: all of the network's, and with VRF 0 the places of
// learned_macs that are free. VLAN 4095, which the number would be of, is none.
enum mac_count_of { ALL_MACS = 0xffffffff };

enum learning_bound {
	LEARNED_FROM_TUNNEL = 8192, // in one network; each port that they are behind has a limit of its own
	MOVE_TICKS = 64,
	MOVES = 8, // within so many ticks: what moves more often is in two places
};

// Each receiver costs a copy while the sender's frame is in hand.
enum flood_bound { FLOOD_RECEIVERS = 256 };

struct flood_value {
	__u32 places; // to look at in receivers; some may be empty
	__u32 left_out; // receivers that found no place
};

struct receiver_key {
	__u32 vrf;
	__u32 place;
};

// VRF << 32 | next hop: one word, so that both are of one moment, and an entry
// whose memory is used again leads nobody into another network.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct mac_key, __u64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} macs SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct mac_key, struct learned_mac_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} learned_macs SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct mac_count_key, __u32);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} mac_counts SEC(".maps");

// As request_times.
struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, __u64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} flood_times SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct flood_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} floods SEC(".maps");

// As in macs.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct receiver_key, __u64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} receivers SEC(".maps");
