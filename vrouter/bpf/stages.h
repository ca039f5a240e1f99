// SPDX-License-Identifier: Apache-2.0
// The array of the programs in slots.h.
#pragma once

#include "kernel.h"
#include "slots.h"

// Beside the array of the stubs, which has two slots for ever.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGE_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} stage_programs SEC(".maps");
