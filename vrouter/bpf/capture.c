// SPDX-License-Identifier: Apache-2.0
// Copies of a port's frames for whoever asks to see them. Two programs of their
// own, with tables of their own, that are on an interface only meanwhile. They
// look, and leave each frame and what becomes of it to the next program. See
// doc/capture.md.
#include "kernel.h"

enum capture_direction { CAPTURE_OUT, CAPTURE_IN }; // of the port: what the workload sends, what it gets

// What a record may hold, by the sizes that the ring gives: the kernel of Linux
// 6.1 reserves no room whose size only the frame tells. A power of two each.
enum {
	CAPTURE_SMALL = 256,
	CAPTURE_MIDDLE = 2048,
	CAPTURE_LARGE = 16384,
	CAPTURE_HUGE = 65536,
};

// Set before the programs are loaded, for one capture.
volatile const __u32 capture_vlan = 0; // of the sub-port; 0: the device's own port
volatile const __u32 capture_length = CAPTURE_HUGE; // bytes that are kept of a frame
volatile const __u32 capture_one_of = 1; // of so many frames one is kept, at random

// Before the frame's bytes in the ring.
struct capture_record {
	__u64 time; // of bpf_ktime_get_ns
	__u32 length; // of the frame
	__u32 size; // bytes of it that follow
	enum capture_direction direction;
	__u32 pad;
};

struct capture_count {
	__u64 matched; // frames that the filter lets pass
	__u64 passed_over; // of these, by sampling
	__u64 lost; // of these, no room in the ring
};

// The size is the loader's.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} capture_ring SEC(".maps");

// By direction.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct capture_count);
} capture_counts SEC(".maps");

// The loader puts the program that a filter is compiled to in place of this one,
// which lets everything pass. What it cannot load (LD_ABS beyond the frame's end)
// returns from here with 0.
static __noinline int capture_filter(struct __sk_buff *skb)
{
	int passes;
	asm volatile("%0 = 1" : "=r"(passes) : "r"(skb));
	return passes;
}

// Puts a frame into a record with room for LIMIT bytes. The kernel of Linux 6.1
// sees the bounds of a length only in this form.
#define KEEP(limit)                                                                          \
	({                                                                                   \
		struct capture_record *r = bpf_ringbuf_reserve(&capture_ring, sizeof(*r) + (limit), 0); \
		if (r) {                                                                     \
			__u32 n = ((size - 1) & ((limit)-1)) + 1;                            \
			r->time = bpf_ktime_get_ns();                                        \
			r->length = skb->len;                                                \
			r->direction = direction;                                            \
			r->pad = 0;                                                          \
			r->size = bpf_skb_load_bytes(skb, 0, r + 1, n) ? 0 : n;              \
			bpf_ringbuf_submit(r, 0);                                            \
		}                                                                            \
		r != 0;                                                                      \
	})

static __always_inline bool keep(struct __sk_buff *skb, __u32 direction)
{
	__u32 size = skb->len;
	if (size > capture_length)
		size = capture_length;
	if (size == 0)
		return true;
	if (size <= CAPTURE_SMALL)
		return KEEP(CAPTURE_SMALL);
	if (size <= CAPTURE_MIDDLE)
		return KEEP(CAPTURE_MIDDLE);
	if (size <= CAPTURE_LARGE)
		return KEEP(CAPTURE_LARGE);
	return KEEP(CAPTURE_HUGE);
}

// Of the interface's frames those of the port: its own have no tag, or one that
// only says a priority; a sub-port's have the tag of its VLAN.
static __always_inline bool of_port(const struct __sk_buff *skb)
{
	__u32 vlan = skb->vlan_present ? skb->vlan_tci & 0x0fff : 0;
	return vlan == capture_vlan;
}

static __always_inline int look(struct __sk_buff *skb, __u32 direction)
{
	if (!of_port(skb) || !capture_filter(skb))
		return TC_ACT_UNSPEC;
	struct capture_count *count = bpf_map_lookup_elem(&capture_counts, &direction);
	if (!count)
		return TC_ACT_UNSPEC; // cannot be: an array has its element
	count->matched++;
	if (capture_one_of > 1 && bpf_get_prandom_u32() % capture_one_of)
		count->passed_over++;
	else if (!keep(skb, direction))
		count->lost++;
	return TC_ACT_UNSPEC;
}

// At tc ingress of the interface, before from_port.
SEC("tc")
int capture_out(struct __sk_buff *skb)
{
	return look(skb, CAPTURE_OUT);
}

// At its tc egress.
SEC("tc")
int capture_in(struct __sk_buff *skb)
{
	return look(skb, CAPTURE_IN);
}

// Nothing but the ring has it, and a ring has no types.
const struct capture_record *const capture_record_layout SEC(".rodata.record") = 0;

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
