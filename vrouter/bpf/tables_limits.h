// SPDX-License-Identifier: Apache-2.0
// What a port may send and get, and what it has used up of that.
#pragma once

#include "tables.h"

// Times of limits are sixteenths of a nanosecond: a small frame at 100 Gbit/s
// takes five nanoseconds, and what is rounded away would be a part of the rate.
enum limit_bound { LIMIT_TIME = 16 };

enum limit_flag { LIMIT_MARKS = 1 };

struct limit_key {
	__u32 ifindex;
	__u32 direction; // enum direction
};

struct limit_value {
	__u32 rate; // kbit/s, 0 = no limit
	__u32 packet_rate; // 1,000 packets/s, 0 = no limit
	__u64 depth; // how long its bucket takes to fill, in times of limits
	__u64 packet_depth;
	__u32 burst; // these two as they were asked for, 0 = not
	__u32 packet_burst;
	enum limit_flag flags;
	__u32 dscp;
	__u32 device; // through which the port's frames come and go
	__u32 pad;
};

struct limit_state {
	struct bpf_spin_lock lock;
	__u32 pad;
	__u64 until; // when what the rate gives is used up
	__u64 packets_until;
	__u64 packets; // these two passed, as on a wire
	__u64 bytes;
	__u64 limited; // frames that did not, and their bytes
	__u64 limited_bytes;
	__u64 marked; // frames
};

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct limit_key, struct limit_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} limits SEC(".maps");

// The agent makes and removes entries; only programs write into them.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct limit_key, struct limit_state);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} limit_states SEC(".maps");
