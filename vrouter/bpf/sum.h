// SPDX-License-Identifier: Apache-2.0
// The Internet checksum of much of a frame (RFC 1071).
#pragma once

#include "packet.h"

enum { CHUNK_SIZE = 512, CHUNKS = 128 };

// What is summed, a part of it at a time.
struct chunk {
	__u8 byte[CHUNK_SIZE];
};

struct {
	TABLE(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct chunk);
} chunk_scratch SEC(".maps");

struct summing {
	struct __sk_buff *skb;
	__u32 offset;
	__s64 sum;
};

// 1 ends the loop; a negative sum is a failure.
static long sum_chunk(__u32 index, struct summing *s)
{
	__u32 zero = 0;
	struct chunk *c = bpf_map_lookup_elem(&chunk_scratch, &zero);
	__u64 left = s->skb->len - s->offset;
	if (!c || s->offset >= s->skb->len)
		return 1;
	if (left >= CHUNK_SIZE) {
		if (bpf_skb_load_bytes(s->skb, s->offset, c, CHUNK_SIZE)) {
			s->sum = -1;
			return 1;
		}
	} else {
		__builtin_memset(c, 0, sizeof(*c));
		barrier_var(left);
		left = ((left - 1) & (CHUNK_SIZE - 1)) + 1; // the same, from 1 on: what Linux 6.1 does not gather from a comparison
		if (bpf_skb_load_bytes(s->skb, s->offset, c, left)) {
			s->sum = -1;
			return 1;
		}
	}
	s->sum = bpf_csum_diff(0, 0, (__be32 *)c, CHUNK_SIZE, s->sum);
	s->offset += CHUNK_SIZE;
	return s->sum < 0;
}

// The checksum of everything from offset on, added to sum.
static __always_inline __s64 sum_from(struct __sk_buff *skb, __u32 offset, __s64 sum)
{
	struct summing s = { .skb = skb, .offset = offset, .sum = sum };
	bpf_loop(CHUNKS, sum_chunk, &s, 0);
	return s.sum;
}
