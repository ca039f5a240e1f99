// SPDX-License-Identifier: Apache-2.0
// Not a hook: the object from which Go takes the layouts of all tables and the
// words of all reasons. No program is in it.
#include "slots.h"
#include "tables.h"
#include "tables_balance.h"
#include "tables_events.h"
#include "tables_frames.h"
#include "tables_half_open.h"
#include "tables_limits.h"
#include "tables_mirrors.h"

enum { REASON_TEXT_SIZE = 96 };

struct reason_row {
	enum stage stage;
	enum verdict verdict;
	__u8 text[REASON_TEXT_SIZE];
};

// Bounds that Go must know.
const struct {
	enum tick tick;
	enum fragment_bound fragment;
	enum generation_bound generation;
	enum connection_state state;
	enum counter_slot slot;
	enum group_bound group;
	enum group_field field;
	enum learning_bound learning;
	enum flood_bound flood;
	enum stage_slot stage;
	enum policy_layer layer;
	enum policy_direction direction;
	enum policy_action action;
	enum policy_verdict_flag verdict_flag;
	enum service_page page;
	enum mac_count_of macs;
	enum limit_bound limit;
	enum member_mac member_mac;
	enum listener_flag listener;
	enum choice_bound choice;
	enum float_bound floats;
	enum mirror_bound mirror;
	enum mirror_match_flag mirror_match;
} bounds SEC(".rodata.bounds") = { TICK_SHIFT, FRAGMENT_TICKS, GENERATION_SLOTS, 0, TUNNEL_SLOT, GROUP_MEMBERS, 0, MOVES, FLOOD_RECEIVERS, STAGE_SLOTS, LAYER_COUNT, DIRECTION_COUNT, ACTION_ABSENT, POLICY_VERDICT_LOG, SERVICE_PAGE_OTHERS, ALL_MACS, LIMIT_TIME, MEMBER_MAC, LISTENER_BY_SOURCE, CHOICE_PAGE, FLOATS, MIRRORS, 0 };

const struct {
	enum event_flag flag;
	enum event_kind kind;
	enum event_direction direction;
} event_bounds SEC(".rodata.events") = { EVENT_DROPS, EVENT_KINDS, EVENT_OUT };

#define REASON_AS_ROW(name, stage, verdict, text) [REASON_##name] = { STAGE_##stage, VERDICT_##verdict, text },
const struct reason_row reason_rows[REASON_COUNT] SEC(".rodata.reasons") = { REASONS(REASON_AS_ROW) };

// Nothing but the ring has it, and a ring has no types.
const struct request_record *const request_record_layout SEC(".rodata.request") = 0;
const struct event_record *const event_record_layout SEC(".rodata.event") = 0;
