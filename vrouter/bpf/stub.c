// SPDX-License-Identifier: Apache-2.0
// What the links hold, for ever: a jump to the program of the day. Replacing
// that program is one slot write, at once for every interface. An empty slot
// drops: an interface is never open before its program is there.
#include "stages.h" // the array is made with the others

enum slot { SLOT_PORT, SLOT_TUNNEL, SLOT_COUNT };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOT_COUNT);
	__type(key, enum slot);
	__type(value, __u32);
} programs SEC(".maps");

// Of the host path, which came later than the array above, whose size can
// never change.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} host_programs SEC(".maps");

// Of the uplinks, for the same reason.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} fabric_programs SEC(".maps");

// The one that passes when its slot is empty: an uplink is the host's own.
SEC("tc")
int stub_fabric(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &fabric_programs, 0);
	return TC_ACT_UNSPEC;
}

// Of the underlay, likewise.
enum underlay_slot { SLOT_TO_UNDERLAY, SLOT_FROM_UNDERLAY, UNDERLAY_SLOT_COUNT };

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, UNDERLAY_SLOT_COUNT);
	__type(key, enum underlay_slot);
	__type(value, __u32);
} underlay_programs SEC(".maps");

SEC("tc")
int stub_to_underlay(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &underlay_programs, SLOT_TO_UNDERLAY);
	return TC_ACT_SHOT;
}

// The interface is the host's own: without a program it gets everything.
SEC("tc")
int stub_from_underlay(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &underlay_programs, SLOT_FROM_UNDERLAY);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int stub_host(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &host_programs, 0);
	return TC_ACT_SHOT;
}

// These two pass when their slot is empty: a limit is nothing that a frame waits for.
SEC("tc")
int stub_limit_out(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &stage_programs, STAGE_SLOT_LIMIT_OUT);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int stub_limit_in(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &stage_programs, STAGE_SLOT_LIMIT_IN);
	return TC_ACT_UNSPEC;
}

// So do these, of mirrors; but what is in the mirror path is a copy, and belongs to nobody else.
SEC("tc")
int stub_mirror_out(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &stage_programs, STAGE_SLOT_MIRROR_OUT);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int stub_mirror_in(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &stage_programs, STAGE_SLOT_MIRROR_IN);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int stub_mirror_wrap(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &stage_programs, STAGE_SLOT_MIRROR_WRAP);
	return TC_ACT_SHOT;
}

SEC("tc")
int stub_mirror_send(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &stage_programs, STAGE_SLOT_MIRROR_SEND);
	return TC_ACT_SHOT;
}

SEC("tc")
int stub_port(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, SLOT_PORT);
	return TC_ACT_SHOT;
}

SEC("tc")
int stub_tunnel(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, SLOT_TUNNEL);
	return TC_ACT_SHOT;
}

const char licence[] SEC("license") = "Apache-2.0";
