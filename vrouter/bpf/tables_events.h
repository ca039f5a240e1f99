// SPDX-License-Identifier: Apache-2.0
// What is told of single frames, and what turns that on.
#pragma once

#include "tables_policy.h"

// A sum; 0: nothing is told and nothing is looked up.
enum event_flag {
	EVENT_DROPS = 1, // each frame that is dropped or consumed
	EVENT_FIRST = 2, // each that begins a conversation at one of its ends
	EVENT_COUNTS = 4, // connections count their packets and bytes
	EVENT_LOGGED = 8, // what rules log, and what audit rules would do
};

enum event_kind {
	EVENT_KIND_DROP,
	EVENT_KIND_FIRST,
	EVENT_KIND_LOGGED, // has limits of its own, and is never left to chance
	EVENT_KINDS,
};

// Which way the frame went at the port that the record is of.
enum event_direction { EVENT_OUT, EVENT_IN };

enum event_bound { EVENT_FRAME = 128 }; // bytes that are told of a frame: its headers

struct event_control_value {
	enum event_flag flags;
	__u32 one_of; // of so many frames one is told, at random; 0 and 1: each
	__u64 interval; // nanoseconds from one record of a kind to the next, 0 = no limit
	__u32 burst; // of records that may come at once
	__u32 logged_burst; // these two: of what is logged
	__u64 logged_interval;
	__u64 share_interval; // these two: of what is logged at one port
	__u32 share_burst;
	__u32 pad;
};

// Written by the agent alone. A variable and no table: where nothing is told,
// to see that is all it costs.
volatile struct event_control_value event_control SEC(".data.events") = {};

struct event_record {
	__u64 time; // of bpf_ktime_get_ns
	__u32 ifindex; // where the frame came from
	__u32 port; // id as in ports; 0 of a frame from a tunnel or the underlay
	__u32 vrf;
	__u32 rule; // that decided, 0 = none
	__u32 length; // of the frame
	__u32 one_of; // the record stands for so many frames
	__u16 reason;
	__u16 size; // of frame
	__u8 kind;
	__u8 direction;
	__u8 layer; // whose rule, as in policy; 0xff = none
	__u8 pad;
	__u8 frame[EVENT_FRAME];
	struct policy_log logged; // of what is logged
};

struct event_count_value {
	__u64 told;
	__u64 passed_over; // not the one of one_of
	__u64 limited;
	__u64 unheard; // no room in the ring
};

// Records of struct event_record, for the agent.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

// By kind, until when its records are used up; see error_times.
struct {
	TABLE(BPF_MAP_TYPE_ARRAY, __u32, __u64);
} event_times SEC(".maps");

// By the slot of a port in counters, until when its share of what is logged is used up.
struct {
	TABLE(BPF_MAP_TYPE_ARRAY, __u32, __u64);
} log_times SEC(".maps");

// By kind.
struct {
	TABLE(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct event_count_value);
} event_counts SEC(".maps");
