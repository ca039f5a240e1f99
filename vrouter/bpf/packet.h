// SPDX-License-Identifier: Apache-2.0
// What the stages know about the frame in hand, and how they hand it on.
#pragma once

#include "learned.h"
#include "tables_balance.h"
#include "tables_half_open.h"

// Whether this program translates, see map.c. Only there the ends of a frame differ.
#ifndef TRANSLATES
#define TRANSLATES 0
#endif

// A stage returns NEXT, or BRIDGE, or the tc action that ends the run.
enum {
	NEXT = -1,
	BRIDGE = -2, // the bridge stage goes on, with the reason in notes
	BALANCE = -3, // stage balance goes on
	MAP = -4, // stage map goes on
	FLOAT = -5, // likewise, by a floating address that the conversation need not have yet
};

// What the frame's network does with frames.
enum bridging {
	BRIDGES = 1, // forwards them by their MAC
	FRAMES_ONLY = 2, // and has nothing else
};

#define RUN(stage)                                                                                                     \
	do {                                                                                                               \
		int action = (stage);                                                                                          \
		if (action != NEXT)                                                                                            \
			return action;                                                                                             \
	} while (0)

enum {
	ETHERNET_SIZE = 14,
	IPV4_SIZE = 20,
	IPV6_SIZE = 40,
	ICMP_SIZE = 8,
	ETHERTYPE_OFFSET = 12,
};

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_ARP = 0x0806,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_QINQ = 0x88a8,
};

enum {
	IPV4_DONT_FRAGMENT = 0x4000,
};

enum {
	PROTOCOL_ICMP = 1,
	PROTOCOL_TCP = 6,
	PROTOCOL_ICMPV6 = 58,
};

// From a fixed field of the Ethernet header on.
struct ethernet {
	struct mac destination;
	struct mac source;
	__be16 type;
};

// The body of an ARP message for IPv4 over Ethernet.
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_size;
	__u8 protocol_size;
	__be16 operation;
	struct mac sender_mac;
	__be32 sender __attribute__((packed));
	struct mac target_mac;
	__be32 target __attribute__((packed));
} __attribute__((packed));

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };

// The ends of a frame: who sends it, and who hears it.
enum direction { DIRECTION_OUT, DIRECTION_IN };

enum { RECALLED = 0x100 };

struct asked {
	__u8 direction; // enum policy_direction
	__u16 port; // of who was spoken to, of ICMP type and code
	__u16 source_port;
};

// What an end asks of policy.
struct question {
	__u32 vrf; // of the end
	bool first; // the conversation is new to it
	bool stateless; // the port's security-groups are asked about the packet itself
	bool passed; // and nothing else
	struct asked began; // the packet with which the conversation began
	struct asked own; // this one
	struct asked about; // what the layer in hand is asked about
	__u32 rule; // that decided
	__u64 identity; // of the remote
	struct mac member; // of the end's entry: who serves it, if the remote is a virtual address
	enum { UNMAPPED, MAPPED_WITHIN, MAPPED_INTO } mapped; // it serves a virtual address, of its own network, of another
};

// Who stands for a virtual address, and whether he is asked about; at the end of who
// serves one, that address.
struct server {
	bool known; // the remote is a virtual address
	bool asked; // the layer in hand is asked about him, or it
	__be16 port;
	__u32 next_hop; // of the route to the remote, 0 = none
	struct address address;
	__u64 identity;
};

// A frame on its way from one program of map.c to the next.
struct handed {
	bool there; // once: programs of two builds do not have the same notes
	__u32 ifindex;
	__u32 vrf;
	struct address source;
	struct address destination;
	struct ethernet ethernet;
};

// Of a frame that is translated: what its receiver has.
struct mapped {
	__u64 number; // of the mapping that the receiver's entry has, 0 = none
	__be16 itself; // with it: the sender's own port
	__u64 sends; // that which the sender's entry gets, 0 = it stays as it is
	bool translates;
	bool self; // from a port to itself: policy is not asked
	bool quotes; // it is an ICMP error, and what it quotes is translated, too
	bool chosen; // the sender's member is that of the route in notes
	bool remembers; // the listener does
	bool asks[2]; // the ends are to be asked
	enum family family; // of the frame
	__u32 vrf[2]; // in which the ends know each other, by enum direction; 0 = the port's
	__be16 source_port;
	__be16 destination_port;
	struct address source;
	struct address destination;
	struct connection_key quoted; // as subject, as the receiver has it
	__be16 client_port; // for the search of a port
	struct address client; // likewise
	__be16 external_port[2]; // of the ends' mappings, by enum direction
	struct address external[2];
	struct pool_member_key member; // with the listener
	struct affinity_key affinity;
	struct handed handed;
};

// What is too large for the stack, and what the verifier had better forget: it
// tries each way through the program for each value it remembers.
struct notes {
	__be16 source_port; // or what stands for it, see transport.h
	__be16 destination_port;
	bool tuple; // the ports are known, so it belongs to a connection
	bool half_open[2]; // the entry is in that table, by enum direction: the sender's, the receiver's
	bool told; // the receiver's end knows already
	bool asked[2]; // the ends are
	bool led; // the connection says where it goes
	bool other_mac; // the source MAC is not the port's, but perhaps one of its prefixes' or a learned one
	__u8 flags; // of TCP, and of SCTP what its chunks stand for
	bool reflected; // SCTP: the chunk has the T bit
	__u16 position; // these two: see state.h
	__u16 shown;
	__u32 l4; // offset of what follows the IP headers
	__u32 end; // offset of the end of the IP packet
	__u8 protocol;
	__u8 ttl;
	bool fragment;
	bool later; // a fragment with an offset
	bool icmp; // ICMP or ICMPv6 of the right family, not a fragment
	__u8 icmp_type;
	__u8 icmp_code;
	__u32 rejected; // the interface whose policy rejects it, 0 = none does
	enum reason refusal; // why it would end if it were not for the bridge stage
	// From here on nothing is read that the same frame has not written.
	__u32 vrf_generation; // read before the routes
	__u32 port_generation;
	__u32 fragment_id;
	__u16 arp_operation;
	struct mac arp_sender_mac;
	struct address router; // whom an error is from
	struct route_value route; // the one chosen, a copy
	__u32 now; // tick
	__u64 when; // see told_now
	__u64 numbers[2]; // generation of the VRF << 32 | that of the interface, of the ends
	struct connection_key keys[2]; // of the ends
	struct place_key place; // of one of them
	struct connection_key subject; // of an ICMP error: that of what it quotes, as the sender of that packet has it
	struct connection_value fresh; // an entry to be written
	struct fragment_key fragment_key;
	struct question questions[2]; // of the ends
	__u32 recalled[2]; // the ends' states and RECALLED; 0 = they remember nothing
	__u64 held[2]; // under which numbers they passed, if they remember
	struct policy_verdict found; // by a ruleset
	struct policy_verdict audited; // by its audit rules
	__u32 audit; // the ruleset of these, 0 = none
	__u32 layer; // that is asked
	struct policy_log logged; // of the end that was asked last
	bool strict; // the end has former rulesets, too
	bool former; // these are asked
	bool stateless; // security-groups of what is asked are asked for the packet itself
	__u32 ruleset_flags; // of the one that is asked
	__u32 named; // the classes of the question there
	__u32 ranged;
	__u32 service;
	__u32 source;
	struct remote_range6_key range_key;
	struct host_route_key host_key;
	struct remote_class_key class_key;
	struct service_class_key service_key;
	struct service_page_key page_key;
	struct verdict_key verdict_key;
	struct next_hop_value hop; // of a learned MAC
	struct learned_mac_value learned; // one to be written
	struct server server;
	struct pool_member_key member_key;
	struct mapped map; // zero where nothing is translated, which map.c sees to
};

// One for each CPU is enough: a frame is done with before the next one comes.
struct {
	TABLE(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct notes);
} scratch SEC(".maps");

// For functions that are not static, which the verifier looks at by themselves.
static __always_inline struct notes *notes(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&scratch, &zero);
}

struct packet {
	struct __sk_buff *skb;
	__u32 ifindex; // where it came from
	__u32 vrf;
	bool from_tunnel;
	bool from_fabric; // from an uplink, as it is
	bool from_host; // from this host itself
	__u8 bridging; // enum bridging, a sum
	bool arp; // else IP of the family below
	enum family family;
	struct address source; // ARP: sender
	struct address destination; // ARP: target
	struct ethernet ethernet;
	struct connection_value *connection; // of the sender's end, null if there is none
	struct connection_value *receiver; // of the receiver's end, likewise
	struct notes *notes;
	struct next_hop_value *next;
	struct port_value *from; // null from a tunnel
	struct port_value *to; // null to a tunnel, or if the next hop is no port
};

static __always_inline bool mac_equal(const struct mac *a, const struct mac *b)
{
	__u8 difference = 0;
#pragma unroll
	for (int i = 0; i < 6; i++)
		difference |= a->byte[i] ^ b->byte[i];
	return !difference;
}

static __always_inline bool mac_broadcast(const struct mac *m)
{
	__u8 all = 0xff;
#pragma unroll
	for (int i = 0; i < 6; i++)
		all &= m->byte[i];
	return all == 0xff;
}

static __always_inline bool address_equal(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] && a->word[3] == b->word[3];
}

// For connections. One that no packet exceeds is as good as none.
static __always_inline __u16 short_mtu(const struct route_value *route)
{
	return route->mtu > 0xffff ? 0 : route->mtu;
}

static __always_inline bool unspecified(const struct address *a)
{
	return !(a->word[0] | a->word[1] | a->word[2] | a->word[3]);
}

static __always_inline bool link_local6(const struct address *a)
{
	return (a->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool multicast6(const struct address *a)
{
	return (a->word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

static __always_inline bool take_notes(struct packet *p)
{
	__u32 zero = 0;
	p->notes = bpf_map_lookup_elem(&scratch, &zero);
	if (!p->notes)
		return false;
	__builtin_memset(p->notes, 0, __builtin_offsetof(struct notes, vrf_generation));
	return true;
}
