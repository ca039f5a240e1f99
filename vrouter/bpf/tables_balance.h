// SPDX-License-Identifier: Apache-2.0
// The tables of what several share: groups of equal next hops, and virtual
// addresses with who serves them.
#pragma once

#include "tables.h"

enum group_field {
	GROUP_SOURCE = 1,
	GROUP_DESTINATION = 2,
	GROUP_PROTOCOL = 4,
	GROUP_SOURCE_PORT = 8,
	GROUP_DESTINATION_PORT = 16,
};

enum group_bound { GROUP_MEMBERS = 32, GROUP_NONE = 255, GROUP_BUCKETS = 256 };

struct group_member {
	__u32 next_hop;
	__u32 ifindex; // of the port it is, 0 = it is none
	__u32 mtu; // as in a route
	struct mac mac;
	__u8 pad[2];
};

// Never changed: another group has another id.
struct group_value {
	enum group_field fields; // a sum
	__u32 count;
	struct group_member members[GROUP_MEMBERS];
	__u8 all[GROUP_BUCKETS]; // a member's place, or GROUP_NONE
	__u8 local[GROUP_BUCKETS]; // that of one that is a port
};

// Begins the MACs that name members of load-balancers.
enum member_mac { MEMBER_MAC = 0x0a };

struct listener_key {
	__u32 vrf; // of the address's network
	__u8 family;
	__u8 protocol;
	__be16 port;
	struct address address;
};

enum listener_flag { LISTENER_BY_SOURCE = 1 }; // the client's address alone chooses

struct listener_value {
	__u32 choice; // in choices, 0 = nobody serves
	__u32 buckets; // how many it has
	__u32 ticks; // for which a silent client keeps its member, 0 = it is not remembered
	enum listener_flag flags;
};

enum choice_bound { CHOICE_PAGE = 256, CHOICE_NONE = 0xffff };

struct choice_key {
	__u32 choice;
	__u32 page;
};

// Never changed: another choice has another number.
struct choice_value {
	__u16 members[CHOICE_PAGE]; // number of the member in each bucket, or CHOICE_NONE
};

struct choice_member_key {
	__u32 choice;
	__u32 number;
};

struct choice_member_value {
	struct mac mac;
	__u8 pad[2];
};

struct pool_member_key {
	struct listener_key listener;
	struct mac mac;
	__u8 pad[2];
};

struct pool_member_value {
	__u32 next_hop;
	__u32 mtu; // as in a route
	struct address internal;
	__be16 internal_port;
	__u8 chosen; // it is in the listener's choice
	__u8 family;
	__u8 pad[4];
	__u64 identity;
	__u64 mapping; // number of it, 0 = the member's port is not on this host
};

// What a workload has, and what its network sees.
struct mapping_value {
	__u32 ifindex; // of the workload's port
	__u32 vrf; // the external one
	__u8 protocol;
	__u8 family;
	__be16 external_port;
	__be16 internal_port;
	__u16 pad;
	struct address external;
	struct address internal;
};

// The mappings of floating addresses, whose protocol and ports are 0, which stands for all.
struct float_key {
	__u32 ifindex;
	enum family family;
	struct address internal;
};

enum float_bound { FLOATS = 16 };

struct float_value {
	__u64 mappings[FLOATS]; // by external VRF and external address; 0 = no more
	__u64 alias; // the one whose external address is the internal one, 0 = none
};

struct affinity_key {
	__u32 vrf; // of the client
	__u32 pad;
	struct listener_key listener;
	struct address client;
};

struct affinity_value {
	struct mac mac;
	__u8 pad[2];
	__u32 tick; // when it was last used
};

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct group_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} groups SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct listener_key, struct listener_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} listeners SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct choice_key, struct choice_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} choices SEC(".maps");

// The MACs of a choice's members by their numbers.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct choice_member_key, struct choice_member_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} choice_members SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct pool_member_key, struct pool_member_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} pool_members SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u64, struct mapping_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} mappings SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct float_key, struct float_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} floats SEC(".maps");

// The one used least recently makes room.
struct {
	TABLE(BPF_MAP_TYPE_LRU_HASH, struct affinity_key, struct affinity_value);
} affinities SEC(".maps");
