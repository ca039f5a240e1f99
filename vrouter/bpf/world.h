// SPDX-License-Identifier: Apache-2.0
// Everything with an effect beyond the frame itself, and everything a test run
// cannot supply. The trace build records instead of acting and is told the
// interface and the tunnel key; all other code is the same in both builds.
#pragma once

#include "packet.h"

struct tunnel_key {
	__u32 vni;
	enum family family;
	struct address remote;
	struct address local; // of a frame to be sent; zero = the kernel chooses
	enum encapsulation encapsulation; // of a frame to be sent
};

struct vlan_tag {
	__be16 protocol;
	__u16 control;
};

#ifdef WEFT_TRACE

struct trace_arguments {
	__u32 ifindex;
	__u32 has_tunnel_key;
	struct tunnel_key tunnel_key;
	__u32 flows; // rehearsal only: each frame becomes one of as many flows, at random; 0 = as it is
	__u32 next_flow; // rehearsal only: each frame is of the next flow, from this one on; 0 = at random
	__u32 answers; // rehearsal only: the flows are answered
	__u32 asks; // 1 = policy is asked also where it has passed the connection before; 2 = besides, a frame of none is an answer; 3 = to what this host itself began
};

// What a layer of policy said.
struct trace_answer {
	__u64 identity; // of the remote
	__u32 rule; // that decided, 0 = none matched
	__u32 audit_rule; // that was counted, 0 = none
	__u8 action; // enum policy_action
	__u8 layer; // enum policy_layer
	__u8 receiver; // 1 = at the receiver's end
	__u8 direction; // enum policy_direction
	__u8 logs; // 1 = the rule that decided logs
	__u8 former; // 1 = as a former ruleset
	__u8 pad[2];
};

enum { TRACE_ANSWERS = 4 * LAYER_COUNT };

struct trace_record {
	enum verdict verdict;
	enum reason reason;
	__u32 redirect; // interface
	__u32 peer; // 1 = into the peer's namespace
	__u32 told; // 1 = the agent was told of the source
	__u32 has_tunnel_key;
	struct tunnel_key tunnel_key;
	__u32 vlan; // of the tag it leaves with, 0 = none
	__u32 met; // how many stages
	__u8 stages[16]; // which, in order
	__u32 led; // 1 = by its connection
	__u32 has_route;
	struct route_value route;
	__u32 copies; // of a flooded frame, in trace_copies
	__u32 answered; // how many layers of policy
	struct trace_answer answers[TRACE_ANSWERS];
};

struct {
	TABLE(BPF_MAP_TYPE_ARRAY, __u32, struct trace_arguments);
} trace_in SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_ARRAY, __u32, struct trace_record);
} trace_out SEC(".maps");

static __always_inline struct trace_record *record(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&trace_out, &zero);
}

static __always_inline __u32 world_ifindex(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct trace_arguments *a = bpf_map_lookup_elem(&trace_in, &zero);
	return a ? a->ifindex : 0;
}

// The frame of a test run has its tag where a wire has it.
static __always_inline bool world_tagged(struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETHERTYPE_VLAN) || skb->protocol == bpf_htons(ETHERTYPE_QINQ);
}

static __always_inline int world_vlan(struct __sk_buff *skb, struct vlan_tag *tag)
{
	__be16 raw[3];
	if (bpf_skb_load_bytes(skb, ETHERTYPE_OFFSET, raw, sizeof(raw)))
		return -1;
	tag->protocol = raw[0];
	tag->control = bpf_ntohs(raw[1]);
	return 0;
}

static __always_inline int world_push_vlan(struct __sk_buff *skb, __u16 vlan)
{
	struct trace_record *r = record();
	if (r)
		r->vlan = vlan;
	return 0;
}

static __always_inline bool world_tunnel_key(struct __sk_buff *skb, struct tunnel_key *key)
{
	__u32 zero = 0;
	struct trace_arguments *a = bpf_map_lookup_elem(&trace_in, &zero);
	if (!a || !a->has_tunnel_key)
		return false;
	*key = a->tunnel_key;
	return true;
}

static __always_inline int world_set_tunnel_key(struct __sk_buff *skb, const struct tunnel_key *key)
{
	struct trace_record *r = record();
	if (!r)
		return -1;
	r->has_tunnel_key = 1;
	r->tunnel_key = *key;
	return 0;
}

static __always_inline void world_verdict(enum verdict verdict, enum reason reason)
{
	struct trace_record *r = record();
	if (!r)
		return;
	r->verdict = verdict;
	r->reason = reason;
}

static __always_inline int world_redirect(struct __sk_buff *skb, __u32 ifindex)
{
	struct trace_record *r = record();
	if (r)
		r->redirect = ifindex;
	return TC_ACT_REDIRECT;
}

static __always_inline int world_redirect_peer(struct __sk_buff *skb, __u32 ifindex)
{
	struct trace_record *r = record();
	if (r)
		r->peer = 1;
	return world_redirect(skb, ifindex);
}

static __always_inline int world_redirect_neighbour(struct __sk_buff *skb, __u32 ifindex)
{
	return world_redirect(skb, ifindex);
}

// A test run takes the kernel's loopback for where the frame came from.
static __always_inline bool world_for_this_host(const struct __sk_buff *skb)
{
	return true;
}

static __always_inline void world_count_fabric_received(__u32 bytes)
{
}

static __always_inline void world_count_fabric_sent(__u32 bytes)
{
}

static __always_inline bool world_use_error(__u32 ifindex, __u64 until)
{
	return true;
}

static __always_inline bool world_use_answer(__u32 ifindex, __u64 until)
{
	return true;
}

static __always_inline bool world_use_service(__u32 ifindex, __u64 until)
{
	return true;
}

static __always_inline bool world_use_request(__u32 ifindex, __u64 until)
{
	return true;
}

static __always_inline int world_remember_flow(const struct host_flow_key *key, const struct host_flow_value *flow)
{
	return 0;
}

static __always_inline int world_hand_over(struct __sk_buff *skb, __u32 ifindex, __u64 size)
{
	return 0;
}

static __always_inline void world_count_hosted(__u32 bytes)
{
}

static __always_inline void world_count_received(const struct port_value *port, __u32 bytes)
{
}

static __always_inline void world_count_sent(const struct port_value *port, __u32 bytes)
{
}

static __always_inline void world_count_untracked(const struct port_value *port)
{
}

static __noinline void world_count_drop(__u32 ifindex, enum reason reason, __u32 bytes)
{
}

#else /* the product */

static __always_inline __u32 world_ifindex(struct __sk_buff *skb)
{
	return skb->ifindex;
}

static __always_inline bool world_tagged(struct __sk_buff *skb)
{
	return skb->vlan_present;
}

static __always_inline int world_vlan(struct __sk_buff *skb, struct vlan_tag *tag)
{
	tag->protocol = skb->vlan_proto;
	tag->control = skb->vlan_tci;
	return 0;
}

static __always_inline int world_push_vlan(struct __sk_buff *skb, __u16 vlan)
{
	return bpf_skb_vlan_push(skb, bpf_htons(ETHERTYPE_VLAN), vlan);
}

static __always_inline bool world_tunnel_key(struct __sk_buff *skb, struct tunnel_key *key)
{
	struct bpf_tunnel_key k = {};
	// The kernel refuses to report a key of the other family than asked for.
	if (!bpf_skb_get_tunnel_key(skb, &k, sizeof(k), 0)) {
		key->family = FAMILY_4;
		key->remote.word[0] = bpf_htonl(k.remote_ipv4);
	} else if (!bpf_skb_get_tunnel_key(skb, &k, sizeof(k), BPF_F_TUNINFO_IPV6)) {
		key->family = FAMILY_6;
		__builtin_memcpy(&key->remote, k.remote_ipv6, sizeof(key->remote));
	} else {
		return false;
	}
	key->vni = k.tunnel_id;
	return true;
}

enum { TUNNEL_TTL = 64 };

static __always_inline int world_set_tunnel_key(struct __sk_buff *skb, const struct tunnel_key *key)
{
	struct bpf_tunnel_key k = { .tunnel_id = key->vni, .tunnel_ttl = TUNNEL_TTL };
	// The outer UDP checksum stays on: receivers then aggregate.
	if (key->family == FAMILY_4) {
		k.remote_ipv4 = bpf_ntohl(key->remote.word[0]);
		k.local_ipv4 = bpf_ntohl(key->local.word[0]);
		return bpf_skb_set_tunnel_key(skb, &k, sizeof(k), 0);
	}
	__builtin_memcpy(k.remote_ipv6, &key->remote, sizeof(k.remote_ipv6));
	__builtin_memcpy(k.local_ipv6, &key->local, sizeof(k.local_ipv6));
	return bpf_skb_set_tunnel_key(skb, &k, sizeof(k), BPF_F_TUNINFO_IPV6);
}

static __always_inline void world_verdict(enum verdict verdict, enum reason reason)
{
}

static __always_inline int world_redirect(struct __sk_buff *skb, __u32 ifindex)
{
	return bpf_redirect(ifindex, 0);
}

static __always_inline int world_redirect_peer(struct __sk_buff *skb, __u32 ifindex)
{
	// The frame was classified for the interface it came from, whose MAC it
	// does not carry; the peer would take it for somebody else's. Newer
	// kernels correct that themselves when they scrub the frame.
	bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

// Through an interface into the underlay, to whatever neighbour the kernel's
// routes say.
static __always_inline int world_redirect_neighbour(struct __sk_buff *skb, __u32 ifindex)
{
	return bpf_redirect_neigh(ifindex, 0, 0, 0);
}

static __always_inline bool world_for_this_host(const struct __sk_buff *skb)
{
	return skb->pkt_type == PACKET_HOST;
}

static __always_inline bool world_use_error(__u32 ifindex, __u64 until)
{
	return !bpf_map_update_elem(&error_times, &ifindex, &until, BPF_ANY);
}

static __always_inline bool world_use_answer(__u32 ifindex, __u64 until)
{
	return !bpf_map_update_elem(&answer_times, &ifindex, &until, BPF_ANY);
}

static __always_inline int world_remember_flow(const struct host_flow_key *key, const struct host_flow_value *flow)
{
	return bpf_map_update_elem(&host_flows, key, flow, BPF_ANY);
}

static __always_inline bool world_use_service(__u32 ifindex, __u64 until)
{
	return !bpf_map_update_elem(&service_times, &ifindex, &until, BPF_ANY);
}

static __always_inline bool world_use_request(__u32 ifindex, __u64 until)
{
	return !bpf_map_update_elem(&request_times, &ifindex, &until, BPF_ANY);
}

static __always_inline int world_hand_over(struct __sk_buff *skb, __u32 ifindex, __u64 size)
{
	struct request_record *r = bpf_ringbuf_reserve(&requests, sizeof(*r), 0);
	if (!r)
		return -1;
	r->ifindex = ifindex;
	r->size = size;
	barrier_var(size);
	if (size < ETHERNET_SIZE || size > REQUEST_FRAME || bpf_skb_load_bytes(skb, 0, r->frame, size)) {
		bpf_ringbuf_discard(r, 0);
		return -1;
	}
	bpf_ringbuf_submit(r, 0);
	return 0;
}

static __always_inline void world_count_hosted(__u32 bytes)
{
	__u32 slot = HOST_SLOT;
	struct counter_value *c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return;
	c->tx_packets++;
	c->tx_bytes += bytes;
}

static __always_inline void world_count_fabric_received(__u32 bytes)
{
	__u32 slot = FABRIC_SLOT;
	struct counter_value *c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return;
	c->rx_packets++;
	c->rx_bytes += bytes;
}

static __always_inline void world_count_fabric_sent(__u32 bytes)
{
	__u32 slot = FABRIC_SLOT;
	struct counter_value *c = bpf_map_lookup_elem(&counters, &slot);
	if (!c)
		return;
	c->tx_packets++;
	c->tx_bytes += bytes;
}

// A null port is the tunnel.
static __always_inline struct counter_value *counter_of(const struct port_value *port)
{
	__u32 slot = port ? port->slot : TUNNEL_SLOT;
	return bpf_map_lookup_elem(&counters, &slot);
}

static __always_inline void world_count_received(const struct port_value *port, __u32 bytes)
{
	struct counter_value *c = counter_of(port);
	if (!c)
		return;
	c->rx_packets++;
	c->rx_bytes += bytes;
}

static __always_inline void world_count_sent(const struct port_value *port, __u32 bytes)
{
	struct counter_value *c = counter_of(port);
	if (!c)
		return;
	c->tx_packets++;
	c->tx_bytes += bytes;
}

static __always_inline void world_count_untracked(const struct port_value *port)
{
	struct counter_value *c = counter_of(port);
	if (c)
		c->untracked++;
}

static __noinline void world_count_drop(__u32 ifindex, enum reason reason, __u32 bytes)
{
	struct drop_key key = { .ifindex = ifindex, .reason = reason };
	struct drop_value *d = bpf_map_lookup_elem(&drops, &key);
	if (!d) {
		struct drop_value zero = {};
		bpf_map_update_elem(&drops, &key, &zero, BPF_NOEXIST);
		d = bpf_map_lookup_elem(&drops, &key);
	}
	if (!d) { // no room: this one is always there
		key.ifindex = ANY_INTERFACE;
		d = bpf_map_lookup_elem(&drops, &key);
	}
	if (!d)
		return;
	d->packets++;
	d->bytes += bytes;
}

#endif

#include "way.h"
#include "world_connection.h"
