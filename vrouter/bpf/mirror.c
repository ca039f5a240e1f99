// SPDX-License-Identifier: Apache-2.0
// Copies of frames for an analyzer: at the interfaces of ports that have a mirror,
// and in the path through which copies go. See doc/packet-path.md.
#include "mirror.h"
#include "sum.h"

enum {
	VXLAN_FLAGS = 8 << 24,
	GRE_KEY = 0x2000,
	GRE_SEQUENCE = 0x1000,
	GRE_ETHERNET = 0x6558,
	GRE_ERSPAN = 0x88be,
	ERSPAN_VERSION = 1 << 28, // type II
	ERSPAN_SESSIONS = 1023,
	PROTOCOL_GRE = 47,
	MIRROR_TTL = 64,
	FIRST_MIRROR_PORT = 49152, // RFC 7348: the dynamic ones, by the flow of the copied frame
};

// Behind the outer IP header; both are two words of a length that all encapsulations have:
// UDP and VXLAN 16 bytes, GRE with sequence and ERSPAN 16, GRE with key 8.
union around {
	__be32 word[4];
};

struct around4 {
	__u16 pad; // aligns the addresses, and is not sent
	struct ethernet ethernet;
	struct ipv4 ip;
	union around rest;
};

struct around6 {
	__u16 pad;
	struct ethernet ethernet;
	struct ipv6 ip;
	union around rest;
};

static __always_inline __u32 around_size(enum mirror_encapsulation e)
{
	return e == MIRROR_GRE ? 8 : 16;
}

// What is behind the outer IP header of a frame of so many bytes.
static __always_inline union around around(struct __sk_buff *skb, const struct mirror_target_value *t, __u32 size, __u32 sequence)
{
	union around r = {};
	switch (t->encapsulation) {
	case MIRROR_VXLAN:
		r.word[0] = bpf_htonl((FIRST_MIRROR_PORT + (bpf_get_hash_recalc(skb) >> 18)) << 16 | bpf_ntohs(t->port));
		r.word[1] = bpf_htonl((16 + size) << 16);
		r.word[2] = bpf_htonl(VXLAN_FLAGS);
		r.word[3] = bpf_htonl(t->id << 8);
		break;
	case MIRROR_GRE:
		r.word[0] = bpf_htonl((__u32)GRE_KEY << 16 | GRE_ETHERNET);
		r.word[1] = bpf_htonl(t->id);
		break;
	case MIRROR_ERSPAN:
		r.word[0] = bpf_htonl((__u32)GRE_SEQUENCE << 16 | GRE_ERSPAN);
		r.word[1] = bpf_htonl(sequence);
		r.word[2] = bpf_htonl(ERSPAN_VERSION | (t->id & ERSPAN_SESSIONS));
		break;
	}
	return r;
}

static __always_inline __u8 outer_protocol(const struct mirror_target_value *t)
{
	return t->encapsulation == MIRROR_VXLAN ? PROTOCOL_UDP : PROTOCOL_GRE;
}

static __noinline int wrap4(struct __sk_buff *skb, const struct mirror_target_value *t, __u32 sequence)
{
	__u32 size = skb->len, behind = around_size(t->encapsulation);
	struct around4 a = {
		.ethernet = { .type = bpf_htons(ETHERTYPE_IPV4) },
		.ip = {
			.version_length = 4 << 4 | IPV4_SIZE / 4,
			.total_length = bpf_htons(IPV4_SIZE + behind + size),
			.ttl = MIRROR_TTL,
			.protocol = outer_protocol(t),
			.source = t->local.word[0],
			.destination = t->remote.word[0],
		},
		.rest = around(skb, t, size, sequence),
	};
	struct ipv4 ip = a.ip;
	a.ip.checksum = fold(bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0));
	if (bpf_skb_change_head(skb, ETHERNET_SIZE + IPV4_SIZE + behind, 0))
		return -1;
	if (behind == 8)
		return bpf_skb_store_bytes(skb, 0, &a.ethernet, ETHERNET_SIZE + IPV4_SIZE + 8, 0);
	return bpf_skb_store_bytes(skb, 0, &a.ethernet, ETHERNET_SIZE + IPV4_SIZE + 16, 0);
}

// The checksum of UDP, which IPv6 must have (RFC 8200, 8.1).
static __always_inline int sum_udp(struct __sk_buff *skb, const struct mirror_target_value *t, union around *a)
{
	struct {
		struct address source, destination;
		__be32 length, protocol;
		union around rest;
	} head = { t->local, t->remote, bpf_htonl(16 + skb->len), bpf_htonl(PROTOCOL_UDP), *a };
	__s64 sum = sum_from(skb, 0, bpf_csum_diff(0, 0, (__be32 *)&head, sizeof(head), 0));
	if (sum < 0)
		return -1;
	__u16 checksum = fold(sum);
	if (!checksum)
		checksum = 0xffff; // 0 would say that there is none
	a->word[1] |= bpf_htonl(bpf_ntohs(checksum));
	return 0;
}

static __noinline int wrap6(struct __sk_buff *skb, const struct mirror_target_value *t, __u32 sequence)
{
	__u32 size = skb->len, behind = around_size(t->encapsulation);
	struct around6 a = {
		.ethernet = { .type = bpf_htons(ETHERTYPE_IPV6) },
		.ip = {
			.version_class = 6 << 4,
			.payload_length = bpf_htons(behind + size),
			.next_header = outer_protocol(t),
			.hop_limit = MIRROR_TTL,
			.source = t->local,
			.destination = t->remote,
		},
		.rest = around(skb, t, size, sequence),
	};
	if (t->encapsulation == MIRROR_VXLAN && sum_udp(skb, t, &a.rest))
		return -1;
	if (bpf_skb_change_head(skb, ETHERNET_SIZE + IPV6_SIZE + behind, 0))
		return -1;
	if (behind == 8)
		return bpf_skb_store_bytes(skb, 0, &a.ethernet, ETHERNET_SIZE + IPV6_SIZE + 8, 0);
	return bpf_skb_store_bytes(skb, 0, &a.ethernet, ETHERNET_SIZE + IPV6_SIZE + 16, 0);
}

// Cuts what the target does not want, or what would not fit. The kernel refuses to cut
// into the headers that a checksum is still due in; there the frame stays as it is.
static __always_inline bool cut(struct __sk_buff *skb, __u32 most)
{
	return skb->len > most && !bpf_skb_change_tail(skb, most, 0);
}

// At tc ingress of the port's interface, before all else.
SEC("tc")
int mirror_out(struct __sk_buff *skb)
{
	stage_mirror(skb, DIRECTION_OUT);
	return TC_ACT_UNSPEC;
}

// At its tc egress, after all else.
SEC("tc")
int mirror_in(struct __sk_buff *skb)
{
	stage_mirror(skb, DIRECTION_IN);
	return TC_ACT_UNSPEC;
}

// At the far end of the mirror path, where each frame is one packet: puts the headers
// around it, and sends it back, so that the kernel sees what it is now.
SEC("tc")
int mirror_wrap(struct __sk_buff *skb)
{
	__u32 number = skb->mark;
	struct mirror_target_value *t = bpf_map_lookup_elem(&mirror_targets, &number);
	struct mirror_count *count = bpf_map_lookup_elem(&mirror_target_counts, &number);
	if (!t || !count)
		return TC_ACT_SHOT;
	struct mirror_target_value to = *t;
	if (skb->vlan_present && bpf_skb_vlan_pop(skb)) // of the sub-port: its workload does not see it
		return TC_ACT_SHOT;
	if (cut(skb, to.most))
		__sync_fetch_and_add(&count->cut, 1);
	__u32 sequence = __sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, skb->len);
	if ((to.family == FAMILY_4 ? wrap4(skb, &to, sequence) : wrap6(skb, &to, sequence)) || bpf_redirect(skb->ifindex, 0) != TC_ACT_REDIRECT) {
		__sync_fetch_and_add(&count->lost, 1);
		return TC_ACT_SHOT;
	}
	return TC_ACT_REDIRECT;
}

// At its near end, where wrapped copies come out: sends them into the underlay.
SEC("tc")
int mirror_send(struct __sk_buff *skb)
{
	__u32 number = skb->mark;
	struct mirror_target_value *t = bpf_map_lookup_elem(&mirror_targets, &number);
	if (!t)
		return TC_ACT_SHOT;
	skb->mark = 0;
	return bpf_redirect_neigh(t->ifindex, 0, 0, 0);
}

// No helper used here asks for a GPL-compatible licence.
const char licence[] SEC("license") = "Apache-2.0";
