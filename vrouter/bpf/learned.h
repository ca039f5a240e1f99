// SPDX-License-Identifier: Apache-2.0
// What is known of a MAC that no port has.
#pragma once

#include "tables.h"

// Where a frame came from, or goes: a port or a tunnel.
struct learned_mac_value {
	struct next_hop_value at;
	__u32 port; // id as in ports; else the entry is of a former port of this interface
	__u32 seen; // tick
	__u32 moved; // tick of the first of the moves
	__u32 moves;
	__u32 vrf; // once more: memory may be used again while it is read
};
