// SPDX-License-Identifier: Apache-2.0
// What a hook goes on with by tail call: programs that most frames never need.
#pragma once

// Slots of stage_programs (stages.h). The array is pinned and can never change
// its size; those that are not named are for what comes later.
enum stage_slot {
	STAGE_SLOT_BRIDGE_PORT = 2,
	STAGE_SLOT_BRIDGE_TUNNEL = 3,
	STAGE_SLOT_ANSWER_PORT = 4, // these three: what policy rejects, see answer.c
	STAGE_SLOT_ANSWER_TUNNEL = 5,
	STAGE_SLOT_ANSWER_FABRIC = 6,
	STAGE_SLOT_BALANCE_HOST = 7, // these two: virtual addresses, of what the host itself and an uplink send, see map.c
	STAGE_SLOT_BALANCE_FABRIC = 8,
	STAGE_SLOT_MAPPED_HOST = 9, // what remains of 7
	STAGE_SLOT_BALANCE_PORT = 10, // these four: virtual addresses, see map.c
	STAGE_SLOT_MAP_PORT = 11,
	STAGE_SLOT_MAP_TUNNEL = 12,
	STAGE_SLOT_ANSWER_CLOSED = 13, // and answer.c: a port of a virtual address where nobody serves
	STAGE_SLOT_LIMIT_OUT = 14, // these two: what a port may send and get, see limit.c
	STAGE_SLOT_LIMIT_IN = 15,
	STAGE_SLOT_MAPPED_PORT = 16, // these two: what remains of 10 to 12, see map.c
	STAGE_SLOT_MAPPED_TUNNEL = 17,
	STAGE_SLOT_ANSWER_MAPPED = 18, // and answer.c: what policy rejects of it at a member's end
	STAGE_SLOT_MAPPED_FABRIC = 19, // what remains of 8
	STAGE_SLOT_FLOAT_PORT = 24, // these two: floating addresses, see map.c
	STAGE_SLOT_FLOAT_TUNNEL = 25,
	STAGE_SLOT_MIRROR_OUT = 20, // these four: copies for analyzers, see mirror.c
	STAGE_SLOT_MIRROR_IN = 21,
	STAGE_SLOT_MIRROR_WRAP = 22,
	STAGE_SLOT_MIRROR_SEND = 23,
	STAGE_SLOTS = 32,
};
