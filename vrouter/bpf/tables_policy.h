// SPDX-License-Identifier: Apache-2.0
// The tables of policy: what a port asks, and what rulesets were compiled into.
// See doc/decisions/0026-policy.md.
#pragma once

#include "tables.h"

// In the order in which they are asked.
enum policy_layer {
	LAYER_NETWORK_POLICY,
	LAYER_SECURITY_GROUP,
	LAYER_FIREWALL_ADMIN, // of these three the first that decides counts
	LAYER_FIREWALL,
	LAYER_FIREWALL_BASELINE,
	LAYER_COUNT,
};

enum policy_direction { DIRECTION_EGRESS, DIRECTION_INGRESS, DIRECTION_COUNT };

enum policy_action {
	ACTION_NONE,
	ACTION_PASS,
	ACTION_DENY,
	ACTION_REJECT,
	ACTION_NEXT, // left to the next tier
	ACTION_PENDING, // dropped: it is not known yet who the other end is
	ACTION_ABSENT, // dropped: what the port asks is not there. No rule says this
	ACTION_GONE, // dropped: who served the conversation is not there any more. No rule says this
};

enum identity_reserved { IDENTITY_NONE, IDENTITY_PENDING };

enum policy_verdict_flag { POLICY_VERDICT_LOG = 1 };

struct policy_verdict {
	__u32 order; // of the rule in its ruleset; the smallest wins, 0 = there is none
	__u32 rule; // its number on this host
	__u8 action;
	__u8 flags;
	__u16 pad;
};

// What is told of a packet that an end asks about: by layer, the rule that decided,
// if it logs, and the audit rule that matched. The bit of a layer says that there is one.
struct policy_log {
	__u32 has_rule;
	__u32 has_audit;
	__u32 rules[LAYER_COUNT];
	__u32 audits[LAYER_COUNT];
};

enum port_policy_flag {
	PORT_POLICY_STATELESS = 1, // rulesets of security-groups are asked for every packet, if the port says so too
	PORT_POLICY_STRICT = 8, // besides rulesets, former is asked
	PORT_POLICY_FORMER_STATELESS = 16, // as the first, of former
};

struct port_policy {
	__u64 identity; // of the workload
	__u32 rulesets[DIRECTION_COUNT][LAYER_COUNT]; // 0 = the port has nothing in the layer
	__u32 connection_limit; // 0 = none
	enum port_policy_flag flags;
	__u32 former[DIRECTION_COUNT][LAYER_COUNT]; // as rulesets: those before a change that is to hold everywhere at once
};

// Which lookups can find something at all.
enum ruleset_flag {
	RULESET_IDENTITIES = 1,
	RULESET_RANGES4 = 2,
	RULESET_RANGES6 = 4,
	RULESET_SERVICES = 8,
	RULESET_SOURCE_PORTS = 16,
	RULESET_ANYBODY = 32, // there are verdicts of remote class 0
};

struct ruleset_value {
	enum ruleset_flag flags;
	__u32 audit; // the ruleset of its audit rules, with the same orders; 0 = none
	struct policy_verdict outside; // of anybody without identity and any service
	struct policy_verdict identified; // of anybody with one
};

struct remote_class_key {
	__u64 identity;
	__u32 ruleset;
	__u32 pad;
};

struct remote_range4_key {
	__u32 prefix_length; // counts the 32 bits of the ruleset too
	__u32 ruleset;
	__be32 address;
};

struct remote_range6_key {
	__u32 prefix_length;
	__u32 ruleset;
	struct address address;
};

struct remote_class_value {
	__u32 class;
	struct policy_verdict any; // of the class and any service
};

enum service_page {
	SERVICE_PAGE_OTHERS = 256, // all pages that are not there; of protocol 0 all protocols that are not
	SERVICE_PAGE_SOURCE = 0x8000, // besides: of source ports
};

// A page is 256 ports, and of ICMP the codes of a type.
struct service_class_key {
	__u32 ruleset;
	__u8 family;
	__u8 protocol;
	__u16 page;
};

struct service_class_value {
	__u32 page; // in service_pages, 0 = all of it has this class
	__u32 class; // 0 = none
};

struct service_page_key {
	__u32 ruleset;
	__u32 page; // from 1, its own for each ruleset
};

struct service_page_value {
	__u16 class[256];
};

// In all three, 0 is what needs no class: anybody, anything, from any port.
struct verdict_key {
	__u32 ruleset;
	__u32 remote;
	__u32 service;
	__u32 source;
};

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct port_policy);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} port_policies SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct ruleset_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} rulesets SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct remote_class_key, struct remote_class_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} remote_classes SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_LPM_TRIE, struct remote_range4_key, struct remote_class_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} remote_ranges4 SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_LPM_TRIE, struct remote_range6_key, struct remote_class_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} remote_ranges6 SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct service_class_key, struct service_class_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} service_classes SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct service_page_key, struct service_page_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} service_pages SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct verdict_key, struct policy_verdict);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} verdicts SEC(".maps");

// Subnets of the VRF's networks: whose an address in them is must be known.
struct {
	TABLE(BPF_MAP_TYPE_LPM_TRIE, struct route4_key, __u8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} managed4 SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_LPM_TRIE, struct route6_key, __u8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} managed6 SEC(".maps");

enum { ANY_RULE = 0 }; // of rule_hits: those whose own counts find no room

// First packets that a rule decided, by its number.
struct {
	TABLE(BPF_MAP_TYPE_PERCPU_HASH, __u32, __u64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} rule_hits SEC(".maps");

// As error_times, of answers to what policy rejects.
struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, __u64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} answer_times SEC(".maps");

// A conversation at one end, if its port has a limit.
struct place_key {
	struct connection_key connection;
	__u32 port; // as in ports
};

struct place_owner {
	__u32 ifindex;
	__u32 port;
};

// Only programs write these, and the agent the number of those that it gave back.
struct place_count {
	__u32 taken;
	__u32 left;
};

// The tick in which it was taken, or asked for last.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct place_key, __u32);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} places SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct place_owner, struct place_count);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} place_counts SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct place_owner, __u32);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} places_returned SEC(".maps");
