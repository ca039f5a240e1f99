// SPDX-License-Identifier: Apache-2.0
// Whose frames are copied to an analyzer, and where the copies go.
#pragma once

#include "tables.h"

enum mirror_bound {
	MIRRORS = 4, // of one port and direction
	MIRROR_MATCHES = 8, // of one mirror
};

enum mirror_match_flag {
	MIRROR_PROTOCOL = 1, // the match asks for it; likewise the others
	MIRROR_PORTS = 2,
	MIRROR_SOURCE_PORTS = 4,
	MIRROR_ICMP_TYPE = 8,
	MIRROR_ICMP_CODE = 16,
};

struct mirror_match {
	enum mirror_match_flag flags;
	__u8 protocol;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 pad;
	__u16 first_port; // of the destination; to the last, both included
	__u16 last_port;
	__u16 first_source_port;
	__u16 last_source_port;
};

struct mirror_key {
	__u32 ifindex;
	__u32 direction; // enum direction
	__u32 number; // less than MIRRORS
};

struct mirror_value {
	__u32 target;
	__u32 one_of; // of so many frames one is copied, at random
	__u32 matches; // how many there are; none lets every frame match
	__u32 device; // through which the port's frames come and go
	struct mirror_match match[MIRROR_MATCHES];
};

enum mirror_encapsulation {
	MIRROR_VXLAN,
	MIRROR_GRE, // of Ethernet, RFC 1701 and 2890: the id is the key
	MIRROR_ERSPAN, // type II: the id is the session
};

// Where copies go, by number.
struct mirror_target_value {
	__u32 path; // the interface of this host into which copies are put
	__u32 ifindex; // through which they leave
	enum mirror_encapsulation encapsulation;
	__u32 id;
	__u32 most; // bytes that are left of a frame
	enum family family;
	__be16 port; // of UDP
	struct address local;
	struct address remote;
};

// Of a mirror, and of a target.
struct mirror_count {
	__u64 packets; // that were copied; to a target: that came for it
	__u64 bytes; // of these
	__u64 passed_over; // by sampling
	__u64 cut; // copies that are not whole
	__u64 lost; // copies, not originals
};

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct mirror_key, struct mirror_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} mirrors SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct mirror_target_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} mirror_targets SEC(".maps");

// The agent makes and removes entries of these two; only programs write into them.
struct {
	TABLE(BPF_MAP_TYPE_PERCPU_HASH, struct mirror_key, struct mirror_count);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} mirror_counts SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct mirror_count); // one for all processors: the packets are a sequence
	__uint(map_flags, BPF_F_NO_PREALLOC);
} mirror_target_counts SEC(".maps");
