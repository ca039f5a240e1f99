// SPDX-License-Identifier: Apache-2.0
// Stage limit: how much a port sends and gets, and how its packets are marked.
// See doc/packet-path.md. It keeps nothing in the scratch of the other stages: a
// copy of a flooded frame comes here while the bridge stage still makes others.
#pragma once

#include "event.h"
#include "tables_limits.h"
#include "world.h"

enum {
	PROTOCOL_UDP_LIMITED = 17,
	PROTOCOL_SCTP_LIMITED = 132,
	UDP_HEADER = 8,
	SCTP_HEADER = 12,
	IPV4_PROTOCOL = ETHERNET_SIZE + 9,
	IPV4_CHECKSUM = ETHERNET_SIZE + 10,
	IPV6_NEXT_HEADER = ETHERNET_SIZE + 6,
	TCP_OFFSET = 12,
};

// A byte or a rate of these is so many times of limits: 8 bits of 1,000,000 ns,
// and 1,000,000 ns.
enum { BYTE_COST = 8 * 1000000 * LIMIT_TIME, PACKET_COST = 1000000 * LIMIT_TIME };

static __always_inline __u8 byte_at(const struct __sk_buff *skb, __u32 offset)
{
	__u8 byte = 0;
	bpf_skb_load_bytes(skb, offset, &byte, sizeof(byte)); // what is not there is 0
	return byte;
}

// The headers that each segment of an offloaded frame has.
static __always_inline __u32 headers_of(const struct __sk_buff *skb)
{
	__u32 l4 = ETHERNET_SIZE + IPV6_SIZE;
	__u8 protocol;
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		l4 = ETHERNET_SIZE + (byte_at(skb, ETHERNET_SIZE) & 15) * 4;
		protocol = byte_at(skb, IPV4_PROTOCOL);
	} else if (skb->protocol == bpf_htons(ETHERTYPE_IPV6)) {
		protocol = byte_at(skb, IPV6_NEXT_HEADER);
	} else {
		return 0;
	}
	switch (protocol) {
	case PROTOCOL_TCP:
		return l4 + (byte_at(skb, l4 + TCP_OFFSET) >> 4) * 4;
	case PROTOCOL_UDP_LIMITED:
		return l4 + UDP_HEADER;
	case PROTOCOL_SCTP_LIMITED:
		return l4 + SCTP_HEADER;
	default:
		return l4;
	}
}

// What a frame is on a wire.
struct load {
	__u64 packets;
	__u64 bytes;
};

static __always_inline struct load load_of(const struct __sk_buff *skb)
{
	struct load l = { .packets = 1, .bytes = skb->len };
	if (!skb->gso_size)
		return l;
	__u32 headers = headers_of(skb);
	if (skb->gso_segs)
		l.packets = skb->gso_segs;
	else if (skb->len > headers) // a virtual machine's, which the kernel has not looked at yet
		l.packets = (skb->len - headers + skb->gso_size - 1) / skb->gso_size;
	l.bytes += (l.packets - 1) * headers;
	return l;
}

// The interface that the frame is of, a sub-port's number if it has its tag.
static __always_inline bool find_limited(const struct __sk_buff *skb, struct limit_key *key)
{
	struct sub_port_key tag = { .device = skb->ifindex, .vlan = skb->vlan_present ? skb->vlan_tci & 0x0fff : 0 };
	key->ifindex = tag.device;
	if (!tag.vlan)
		return true;
	__u32 *number = bpf_map_lookup_elem(&sub_ports, &tag);
	if (!number)
		return false;
	key->ifindex = *number;
	return true;
}

// Takes what the frame is from the buckets, if both have room.
static __always_inline bool take(const struct limit_value *l, struct limit_state *s, const struct load *load)
{
	__u64 now = bpf_ktime_get_ns() * LIMIT_TIME;
	__u32 rate = l->rate, packet_rate = l->packet_rate;
	__u64 cost = rate ? load->bytes * BYTE_COST / rate : 0;
	__u64 packet_cost = packet_rate ? load->packets * PACKET_COST / packet_rate : 0;
	__u64 last = now + l->depth, last_packets = now + l->packet_depth;
	bool room = true;
	bpf_spin_lock(&s->lock);
	__u64 until = s->until > now ? s->until : now;
	__u64 packets_until = s->packets_until > now ? s->packets_until : now;
	if ((rate && until > last) || (packet_rate && packets_until > last_packets)) {
		s->limited++;
		s->limited_bytes += load->bytes;
		room = false;
	} else {
		s->until = until + cost;
		s->packets_until = packets_until + packet_cost;
		s->packets += load->packets;
		s->bytes += load->bytes;
	}
	bpf_spin_unlock(&s->lock);
	return room;
}

// Writes the DSCP. Tells whether there is one now.
static __always_inline bool mark(struct __sk_buff *skb, __u32 dscp)
{
	__be16 was, now;
	if (bpf_skb_load_bytes(skb, ETHERNET_SIZE, &was, sizeof(was)))
		return false;
	__u16 word = bpf_ntohs(was);
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4) && word >> 12 == 4) {
		now = bpf_htons((word & 0xff03) | dscp << 2);
		return !bpf_l3_csum_replace(skb, IPV4_CHECKSUM, was, now, sizeof(now)) &&
		       !bpf_skb_store_bytes(skb, ETHERNET_SIZE, &now, sizeof(now), 0);
	}
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV6) && word >> 12 == 6 && skb->len >= ETHERNET_SIZE + IPV6_SIZE) {
		now = bpf_htons((word & 0xf03f) | dscp << 6);
		return !bpf_skb_store_bytes(skb, ETHERNET_SIZE, &now, sizeof(now), BPF_F_RECOMPUTE_CSUM);
	}
	return false;
}

// Ends the frame, and tells of it at its port.
static __always_inline int end_limited(struct __sk_buff *skb, __u32 ifindex, enum direction direction)
{
	enum reason reason = direction == DIRECTION_OUT ? REASON_EGRESS_LIMITED : REASON_INGRESS_LIMITED;
	world_count_drop(ifindex, reason, skb->len);
	if (event_control.flags & EVENT_DROPS)
		write_event(skb, (__u64)ifindex << 32, event_word(EVENT_KIND_DROP, direction == DIRECTION_OUT ? EVENT_OUT : EVENT_IN, LAYER_NONE, reason), 0);
	return TC_ACT_SHOT;
}

static __always_inline int stage_limit(struct __sk_buff *skb, enum direction direction)
{
	struct limit_key key = { .direction = direction };
	if (!find_limited(skb, &key))
		return TC_ACT_UNSPEC;
	struct limit_value *l = bpf_map_lookup_elem(&limits, &key);
	struct limit_state *s = bpf_map_lookup_elem(&limit_states, &key);
	if (!l || !s)
		return TC_ACT_UNSPEC;
	struct load load = load_of(skb);
	__u32 marks = l->flags & LIMIT_MARKS, dscp = l->dscp & 63;
	if (!take(l, s, &load))
		return end_limited(skb, key.ifindex, direction);
	if (marks && mark(skb, dscp))
		__sync_fetch_and_add(&s->marked, 1);
	return TC_ACT_UNSPEC;
}
