// SPDX-License-Identifier: Apache-2.0
// Tables shared with user space. Go reads these layouts from BTF; max_entries
// is only what a build without options gets, Load sets the real bounds.
#pragma once

#include "reasons.h"

enum family { FAMILY_4 = 4, FAMILY_6 = 6 };

// An IPv4 address is in the first word, the others are zero.
struct address {
	__be32 word[4];
};

struct mac {
	__u8 byte[6];
};

enum port_flag {
	PORT_REDIRECT_PEER = 1,
	PORT_DHCP4 = 2, // these three: the agent answers
	PORT_DHCP6 = 4,
	PORT_ADVERTISE = 8,
	PORT_FRAMES = 64, // its network knows frames only
	PORT_BRIDGE = 128, // its network forwards frames by their MAC as well
	PORT_DISABLED = 2048, // adminState down: nothing passes
	PORT_SUB = 256, // has no device of its own: see device and vlan
	PORT_POLICED = 4096, // asks policy: see port_policies
	PORT_STATELESS = 8192, // and its security-groups about each packet
	PORT_ALIASES = 16384, // has floating addresses itself: see floats
};

struct port_value {
	__u32 vrf;
	__u32 port; // id of the control plane, carried for events and traces
	__u32 mtu; // bytes after the Ethernet header, 0 = not checked
	enum port_flag flags;
	__u32 slot; // in counters
	struct mac mac;
	__u8 pad[2];
	struct address gateway4; // sends the port's ICMP errors, zero = nobody
	struct address gateway6;
	struct address address4; // where the host reaches it, zero = nowhere
	struct address address6;
	__u32 alias; // number of the addresses that the host knows it by, 0 = none
	__u32 device; // of a sub-port, through which its frames come and go
	__u32 vlan; // and their tag
	__u32 mac_limit; // most MACs that are learned behind it, 0 = it does not learn
	__u32 unchecked; // not 0: sends from any address and MAC that is nobody else's
};

struct sub_port_key {
	__u32 device;
	__u32 vlan;
};

struct port_address_key {
	__u32 ifindex;
	enum family family;
	struct address address;
};

enum { PORT_PREFIX_MAC = 96 }; // bits before the address

// Up to the MAC all is matched in full.
struct port_prefix4_key {
	__u32 prefix_length; // counts all before the address too
	__u32 ifindex;
	struct mac mac;
	__u8 pad[2];
	__be32 address;
};

struct port_prefix6_key {
	__u32 prefix_length; // counts all before the address too
	__u32 ifindex;
	struct mac mac;
	__u8 pad[2];
	struct address address;
};

enum port_prefix_flag {
	PORT_PREFIX_BEHIND = 1,
	PORT_PREFIX_STANDBY = 2, // the agent is told who speaks for an address in it
	PORT_PREFIX_ASKED = 4, // not to be sent from; the agent is told what is probed
};

struct port_prefix_value {
	enum port_prefix_flag flags;
	__u32 length; // of the address's part
};

struct route4_key {
	__u32 prefix_length; // counts the 32 bits of the VRF too
	__u32 vrf;
	__be32 address;
};

struct route6_key {
	__u32 prefix_length; // counts the 32 bits of the VRF too
	__u32 vrf;
	struct address address;
};

enum route_flag {
	ROUTE_ROUTED = 1,
	ROUTE_PROXIED = 2, // neighbours are told the gateway MAC
	ROUTE_FABRIC = 8, // in the underlay's VRF: what uplinks receive may go there
	ROUTE_CHOSEN = 16, // never in a table of routes: it stands for a group's, whose MAC the member's is not
	ROUTE_GAP = 32, // no route: in this prefix are some that found no room
	ROUTE_UNLED = 64, // never in a table of routes: an entry with it leads no frame, each goes the long way
};

struct route_value {
	__u32 next_hop;
	__u32 mtu; // of the destination's network, 0 = not known
	enum route_flag flags;
	struct mac mac;
	__u8 length; // of the prefix
	__u8 pad;
	__u32 pad2;
	__u64 identity; // of who has the addresses, 0 = nobody whom policy knows
};

enum next_hop_kind {
	NEXT_HOP_NONE,
	NEXT_HOP_PORT,
	NEXT_HOP_TUNNEL,
	NEXT_HOP_GATEWAY,
	NEXT_HOP_DISCARD,
	NEXT_HOP_GROUP = 5, // see groups, under the same id
	NEXT_HOP_FABRIC = 6, // the underlay, without encapsulation
	NEXT_HOP_BALANCER = 7, // a virtual address, see listeners
	NEXT_HOP_MAPPED = 8, // a floating address of a port of this host, see mappings
	NEXT_HOP_SHARED = 9, // a shared address; no program knows it yet
};

struct host_route_key {
	__u32 vrf;
	enum family family;
	struct address address;
};

enum encapsulation {
	ENCAPSULATION_VXLAN,
	ENCAPSULATION_MPLSUDP,
	ENCAPSULATION_UNAVAILABLE, // nothing that both hosts can do is allowed
};

struct next_hop_value {
	enum next_hop_kind kind;
	__u32 ifindex; // port; fabric: the uplink, 0 = the host's own routing; tunnel by mplsudp: the uplink
	__u32 vni; // tunnel; of mplsudp, the label; balancer: VRF of the listeners; mapped: lower half of the mapping's number
	__u32 mtu; // tunnel and fabric, largest packet, 0 = not checked; mapped: the upper half
	enum family family; // tunnel, of remote
	struct address remote; // tunnel
	enum encapsulation encapsulation; // tunnel
	struct address local; // tunnel, outer source, zero = the kernel chooses
};

enum vni_flag {
	VNI_CHECK_SOURCES = 1,
	VNI_BRIDGE = 2, // as PORT_BRIDGE and PORT_FRAMES
	VNI_FRAMES = 4,
	VNI_LABEL = 16, // an MPLS label of this host, too
};

struct vni_value {
	__u32 vrf;
	enum vni_flag flags;
};

struct tunnel_source_key {
	__u32 vni;
	enum family family;
	struct address address;
};

struct tunnel_address_key {
	enum family family;
	struct address address;
};

struct config_value {
	__u32 tunnel_ifindex; // 0 = no tunnel device
	struct address local4; // outer source, zero = the kernel chooses
	struct address local6;
	__u32 error_burst;
	__u64 error_interval; // nanoseconds, 0 = no limit
	__u64 request_interval; // nanoseconds, 0 = no limit
	__u32 request_burst;
	__u32 host_ifindex; // of the host path, 0 = none
	struct mac gateway;
	struct mac host_mac;
	__u32 tunnel_mtu4; // largest packet that fits a tunnel of the family, 0 = not checked
	__u32 tunnel_mtu6;
	__u32 label_ifindex; // of the label path, 0 = none
	__u64 flood_interval; // nanoseconds, for each place of the list, 0 = no limit
	__u32 flood_burst; // places
	__u32 service_burst;
	__u64 service_interval; // nanoseconds, 0 = no limit
};

struct service_key {
	__u32 vrf;
	__u8 family;
	__u8 protocol;
	__be16 port;
	struct address address;
};

struct host_flow_key {
	__u32 ifindex;
	__u8 family;
	__u8 protocol;
	__be16 workload_port; // as the host sees it
	__be16 host_port;
	__u16 pad;
};

struct host_flow_value {
	__u64 seen; // when the host sent last if it began, else about when the workload did
	struct address workload; // as the workload knows itself
	struct address peer; // as it knows the other
	__be16 peer_port;
	__u8 from_host; // the host began
	__u8 pad[3];
	__be16 workload_port; // as the workload knows it
};

// The longest frame that the agent answers: DHCP and DHCPv6 messages fit the
// packets of 1500 bytes; the record makes 2 KiB.
enum {
	REQUEST_FRAME = 2040,
	REQUEST_HEAD = 128, // of a frame of which only the source matters
};

struct request_record {
	__u32 ifindex;
	__u32 size;
	__u8 frame[REQUEST_FRAME];
};

// The end of a connection behind a port of this host; the same for packets of
// both directions. Without ports, both are zero.
struct connection_key {
	__u32 ifindex;
	__u8 protocol;
	__u8 family;
	__be16 local_port;
	__be16 remote_port;
	__u16 pad;
	struct address local;
	struct address remote;
};

enum connection_state {
	CONNECTION_SENT = 1,
	CONNECTION_HEARD = 2,
	CONNECTION_PROVEN = 4, // heard after it sent: the remote end is real
	CONNECTION_FIN_SENT = 8,
	CONNECTION_FIN_HEARD = 16,
	CONNECTION_RESET = 32,
	CONNECTION_HEARD_FIRST = 64, // the other end began
	CONNECTION_UNASKED = 128, // this host itself began: policy is not asked
};

// A tick is 2^30 ns, about a second, of the monotonic clock.
enum tick { TICK_SHIFT = 30 };

// In frames with their Ethernet headers.
struct connection_count {
	__u64 packets;
	__u64 bytes;
};

struct connection_value {
	__u64 way; // next hop << 32 | generation of the VRF; one word, so that both are of one moment
	__u32 port_generation;
	__u32 port; // as in ports; else the entry is of a former port of this interface
	__u16 mtu; // as in the route
	__u16 expects; // what packets of the other end fit, see state.h; 0 = not known
	__u32 seen; // tick of the last packet
	__u32 made; // tick of the first
	struct mac mac; // as in the route
	__u8 flags; // enum route_flag
	__u8 state; // enum connection_state, a sum
	__u32 rule; // of policy that decided last, 0 = none
	__u64 passed; // generation of the VRF << 32 | that of the interface, when policy passed it last; 0 = it was not asked
	__u64 told; // when the other end, a port of this host, was last noted; see told_now
	struct connection_count sent; // these two only while event_control has EVENT_COUNTS
	struct connection_count heard; // but from ports of this host: what they sent is counted at their ends
	__u64 mapping; // number of that which the conversation goes through, 0 = none; with it flags has ROUTE_UNLED
	__be16 itself; // with it: the port that the other end has itself
	__u16 pad;
	__u32 pad2;
};

struct fragment_key {
	__u32 vrf;
	__u32 ifindex; // where it came from
	__u32 id;
	__u8 protocol;
	__u8 family;
	__u16 pad;
	struct address source;
	struct address destination;
};

struct fragment_value {
	__be16 source_port;
	__be16 destination_port;
	__u32 seen; // tick
};

enum fragment_bound { FRAGMENT_TICKS = 30 }; // Linux gives up reassembly after as many seconds

// VRFs and interfaces share slots with others of the same remainder, which
// costs a lookup now and then.
enum generation_bound { GENERATION_SLOTS = 4096, GENERATION_SECTIONS = 3 };

enum { ANY_INTERFACE = 0 }; // of drops: those whose own counts find no room

struct drop_key {
	__u32 ifindex;
	enum reason reason;
};

struct drop_value {
	__u64 packets;
	__u64 bytes;
};

struct counter_value {
	__u64 rx_packets; // from the workload or the tunnel
	__u64 rx_bytes;
	__u64 tx_packets; // to it
	__u64 tx_bytes;
	__u64 untracked; // frames of connections that found no room
	__u64 unlogged; // records that are missing of what its rules log
};

#define TABLE(map_type, key_type, value_type)                                                                          \
	__uint(type, map_type);                                                                                            \
	__uint(max_entries, 1);                                                                                            \
	__type(key, key_type);                                                                                             \
	__type(value, value_type)

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct port_value);
} ports SEC(".maps");

// The interface that stands for a sub-port in all tables. No device has its number.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct sub_port_key, __u32);
} sub_ports SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct port_address_key, __u8);
} port_addresses SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_LPM_TRIE, struct port_prefix4_key, struct port_prefix_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} port_prefixes4 SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_LPM_TRIE, struct port_prefix6_key, struct port_prefix_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} port_prefixes6 SEC(".maps");

// Routes of full length, which are nearly all of them, and nothing is longer:
// a hash finds one in a tenth of the time that the tries take when large.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct host_route_key, struct route_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} host_routes SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_LPM_TRIE, struct route4_key, struct route_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} routes4 SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_LPM_TRIE, struct route6_key, struct route_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} routes6 SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct next_hop_value);
} next_hops SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, struct vni_value);
} vnis SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct tunnel_source_key, __u8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} tunnel_sources SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, struct tunnel_address_key, __u8);
} tunnel_addresses SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_ARRAY, __u32, struct config_value);
} config SEC(".maps");

// Connections whose remote end is proven. Never evicted. All others: tables_half_open.h.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct connection_key, struct connection_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} connections SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_LRU_HASH, struct fragment_key, struct fragment_value);
} fragments SEC(".maps");

// First the slots of VRFs, then those of interfaces. User space writes a new
// number after it has changed what frames of the VRF or interface meet. Then
// the slots of interfaces once more, where programs count what began anew.
struct {
	TABLE(BPF_MAP_TYPE_ARRAY, __u32, __u32);
} generations SEC(".maps");

// Nanoseconds of bpf_ktime_get_ns. Concurrent errors of one port may overwrite
// each other, which lets a few more out.
struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, __u64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} error_times SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, __u64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} request_times SEC(".maps");

// As request_times.
struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, __u64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} service_times SEC(".maps");

// Records of struct request_record, for the agent.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} requests SEC(".maps");

// The listener on this host of each service.
struct {
	TABLE(BPF_MAP_TYPE_HASH, struct service_key, __be16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} services SEC(".maps");

// The oldest makes room for the newest: a reply that finds nothing is repeated
// by its sender's question.
struct {
	TABLE(BPF_MAP_TYPE_LRU_HASH, struct host_flow_key, struct host_flow_value);
} host_flows SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_HASH, __u32, __u32);
} aliases SEC(".maps");

struct {
	TABLE(BPF_MAP_TYPE_PERCPU_HASH, struct drop_key, struct drop_value);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} drops SEC(".maps");

// By the slot that a port has; those of the tunnel, the host path and the uplinks are always there.
enum counter_slot { TUNNEL_SLOT, HOST_SLOT, FABRIC_SLOT };

struct {
	TABLE(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct counter_value);
} counters SEC(".maps");
