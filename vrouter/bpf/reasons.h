// SPDX-License-Identifier: Apache-2.0
// Why a frame ended here: the only list there is. It generates the enum
// here, the verdict of each in drop.h, and in layout.c the table Go reads.
#pragma once

#include "kernel.h"

enum verdict {
	VERDICT_NONE, // not decided; never the end of a run
	VERDICT_DROPPED,
	VERDICT_CONSUMED,
	VERDICT_ANSWERED,
	VERDICT_DELIVERED,
	VERDICT_TUNNELLED,
	VERDICT_HANDED, // to the agent, which answers
	VERDICT_HOSTED, // to this host's own TCP/IP
	VERDICT_ROUTED, // into the underlay without encapsulation
	VERDICT_PASSED, // left alone, for the host
	VERDICT_FLOODED, // copied to all receivers of its network
};

enum stage {
	STAGE_NONE,
	STAGE_PARSE,
	STAGE_PORT,
	STAGE_SPOOF,
	STAGE_NEIGHBOUR,
	STAGE_REQUEST,
	STAGE_SERVICE,
	STAGE_TUNNEL,
	STAGE_ROUTE,
	STAGE_ERROR,
	STAGE_DELIVER,
	STAGE_ENCAP,
	STAGE_VLAN, // the first of all
	STAGE_ENTER,
	STAGE_LEAVE,
	STAGE_BRIDGE,
	STAGE_LABEL,
	STAGE_UNLABEL,
	STAGE_POLICY,
	STAGE_ANSWER,
	STAGE_LIMIT,
	STAGE_BALANCE,
	STAGE_MAP,
};

#define REASONS(X)                                                                                                     \
	X(UNKNOWN_VLAN, VLAN, DROPPED, "VLAN tag is that of no sub-port of this device")                                   \
	X(MALFORMED, PARSE, DROPPED, "frame shorter than its headers say, or a header contradicts itself")                 \
	X(VLAN_TAGGED, PARSE, DROPPED, "frame carries a VLAN tag where none may be")                                                         \
	X(UNKNOWN_PROTOCOL, PARSE, DROPPED, "ethertype is not IPv4, IPv6 or ARP, and the network forwards packets only")                                          \
	X(TOO_MANY_EXTENSION_HEADERS, PARSE, DROPPED, "more than six IPv6 extension headers")                              \
	X(ARP_MALFORMED, PARSE, DROPPED, "ARP is not a request or reply for IPv4 over Ethernet")                           \
	X(NO_PORT, PORT, DROPPED, "interface is not a port")                                                               \
	X(PORT_DISABLED, PORT, DROPPED, "the port's adminState, or its network's, is down")                                 \
	X(SPOOFED_MAC, SPOOF, DROPPED, "source MAC is not the port's")                                                     \
	X(SPOOFED_ADDRESS, SPOOF, DROPPED, "source address is not one of the port's")                                      \
	X(ARP_ANNOUNCEMENT, NEIGHBOUR, CONSUMED, "ARP reply or announcement; no address is learned from it")                      \
	X(ARP_OWN_ADDRESS, NEIGHBOUR, CONSUMED, "ARP request for the port's own address")                                  \
	X(ARP_PROBE_UNCLAIMED, NEIGHBOUR, CONSUMED, "ARP probe for an address nobody in the network has")                  \
	X(ARP_UNKNOWN_TARGET, NEIGHBOUR, DROPPED, "ARP request for an address that is not in the network")                 \
	X(ND_MALFORMED, NEIGHBOUR, DROPPED, "neighbour discovery message breaks RFC 4861")                                 \
	X(ND_ADVERTISEMENT, NEIGHBOUR, CONSUMED, "neighbour advertisement; no address is learned from it")                        \
	X(ND_OWN_ADDRESS, NEIGHBOUR, CONSUMED, "neighbour solicitation for the port's own address")                        \
	X(ND_PROBE_UNCLAIMED, NEIGHBOUR, CONSUMED, "duplicate address probe for an address nobody in the network has")     \
	X(ND_UNKNOWN_TARGET, NEIGHBOUR, DROPPED, "neighbour solicitation for an address that is not in the network")       \
	X(ND_NOT_ALLOWED, NEIGHBOUR, DROPPED, "router advertisement or redirect from a workload")                          \
	X(ROUTER_SOLICITATION, NEIGHBOUR, CONSUMED, "router solicitation; the port gets no advertisements")                 \
	X(MULTICAST_LISTENER, NEIGHBOUR, CONSUMED, "multicast listener message, and the network does not flood")                       \
	X(GATEWAY_UNANSWERED, NEIGHBOUR, DROPPED, "to a gateway address, and neither echo request nor service")                \
	X(ANSWER_FAILED, NEIGHBOUR, DROPPED, "kernel refused to build or send the answer")                                 \
	X(REQUEST_TOO_LONG, REQUEST, DROPPED, "request to the host's agent is longer than one can be")                        \
	X(REQUEST_LIMITED, REQUEST, DROPPED, "request to the host's agent; its port has had its share of them for now")      \
	X(REQUEST_UNHEARD, REQUEST, DROPPED, "request to the host's agent, which does not run or does not keep up")          \
	X(NO_HOST_PATH, SERVICE, DROPPED, "to a service of this host, which has no host path or no alias for the port")       \
	X(HOST_REDIRECT_FAILED, SERVICE, DROPPED, "kernel refused to redirect to the host")                                \
	X(UNKNOWN_ALIAS, SERVICE, DROPPED, "from the host, but not from its alias to a port's, nor to a workload it sees") \
	X(HOST_PROTOCOL, SERVICE, DROPPED, "from the host to a port, and not whole TCP or UDP")                            \
	X(NO_PORT_ADDRESS, SERVICE, DROPPED, "from the host to a port that has no address or no gateway of the family")     \
	X(NO_TUNNEL_KEY, TUNNEL, DROPPED, "frame from the tunnel device has no tunnel metadata")                           \
	X(UNKNOWN_VNI, TUNNEL, DROPPED, "VNI belongs to no VRF on this host")                                              \
	X(UNKNOWN_TUNNEL_SOURCE, TUNNEL, DROPPED, "underlay address it came from belongs to no host of this VNI")             \
	X(NOT_CARRIED, TUNNEL, DROPPED, "ARP or neighbour discovery in a tunnel; it is answered at its source")            \
	X(BROADCAST, ROUTE, DROPPED, "broadcast, and the network does not flood")                                                         \
	X(MULTICAST, ROUTE, DROPPED, "multicast, and the network does not flood")                                                         \
	X(NO_ROUTE, ROUTE, DROPPED, "no route to the destination in the VRF")                                              \
	X(WRONG_DESTINATION_MAC, ROUTE, DROPPED, "destination MAC is neither the gateway's nor the route's")               \
	X(UNRESOLVED_NEXT_HOP, ROUTE, DROPPED, "next hop of the route is not known yet")                                   \
	X(DISCARD_ROUTE, ROUTE, DROPPED, "route says discard")                                                             \
	X(GATEWAY_FROM_TUNNEL, ROUTE, DROPPED, "to a gateway address from another host, which answers for it itself")      \
	X(TUNNEL_TO_TUNNEL, ROUTE, DROPPED, "from a tunnel to a tunnel; hosts do not transit")                             \
	X(LINK_LOCAL, ROUTE, DROPPED, "link-local or unspecified IPv6 address is not forwarded")                           \
	X(TTL_EXPIRED, ROUTE, DROPPED, "hop count is used up")                                                             \
	X(TOO_BIG, ROUTE, DROPPED, "packet is larger than the MTU of where it goes")                                       \
	X(REWRITE_FAILED, ROUTE, DROPPED, "kernel refused to make the frame writable")                                     \
	X(ERROR_LIMITED, ERROR, DROPPED, "ICMP error was due, and its port has had its share of them for now")             \
	X(ERROR_FAILED, ERROR, DROPPED, "kernel refused to build or send the ICMP error")                                  \
	X(PORT_GONE, DELIVER, DROPPED, "next hop is an interface that is not a port")                                      \
	X(RECEIVER_DISABLED, DELIVER, DROPPED, "adminState of the port it goes to, or of its network, is down")             \
	X(REDIRECT_FAILED, DELIVER, DROPPED, "kernel refused to redirect to the port")                                     \
	X(NO_TUNNEL_DEVICE, ENCAP, DROPPED, "no tunnel device is configured")                                              \
	X(TUNNEL_KEY_FAILED, ENCAP, DROPPED, "kernel refused the tunnel key")                                              \
	X(TUNNEL_REDIRECT_FAILED, ENCAP, DROPPED, "kernel refused to redirect to the tunnel device")                       \
	X(TUNNEL_TO_FABRIC, ROUTE, DROPPED, "from a tunnel to the underlay; hosts do not transit")                         \
	X(FABRIC_SPOOFED, ENTER, DROPPED, "from the underlay with a source that the workload would not answer there")      \
	X(FABRIC_REDIRECT_FAILED, LEAVE, DROPPED, "kernel refused to redirect to the uplink")                               \
	X(UNKNOWN_MAC, BRIDGE, DROPPED, "nobody in the network is known to have the destination MAC")                      \
	X(MAC_LIMIT, BRIDGE, DROPPED, "as many source MACs are learned behind the port as it may have")                    \
	X(MAC_TABLE_FULL, BRIDGE, DROPPED, "no room to learn the source MAC")                                              \
	X(MAC_MOVING, BRIDGE, DROPPED, "source MAC moves to and fro: it is in two places, or there is a loop")             \
	X(SAME_PORT, BRIDGE, CONSUMED, "destination MAC is behind the port that the frame came from")                      \
	X(FRAME_TOO_BIG, BRIDGE, DROPPED, "frame is larger than the MTU of where its MAC is")                              \
	X(FLOOD_BOUND, BRIDGE, DROPPED, "flooded, but the network has more receivers than a frame is copied to, or than there is room for")           \
	X(COPY_FAILED, BRIDGE, DROPPED, "kernel refused to send a copy of a flooded frame")                                \
	X(NO_ENCAPSULATION, ENCAP, DROPPED, "hosts have no encapsulation in common that the network's list allows")        \
	X(NO_LABEL_PATH, ENCAP, DROPPED, "to be sent by MPLS over UDP, and this host has no label path")                   \
	X(LABEL_REDIRECT_FAILED, ENCAP, DROPPED, "kernel refused to redirect to the label path or the underlay")           \
	X(UNKNOWN_LABEL_HOP, LABEL, DROPPED, "frame in the label path names no next hop with a label")                     \
	X(LABEL_TOO_BIG, LABEL, DROPPED, "packet is larger than what MPLS over UDP can carry there")                       \
	X(LABEL_FAILED, LABEL, DROPPED, "no local address of the family, or the kernel refused the outer headers")         \
	X(OUTER_FRAGMENT, UNLABEL, DROPPED, "fragment of an outer packet of MPLS over UDP")                                \
	X(LABEL_AGGREGATED, UNLABEL, DROPPED, "interface puts packets of MPLS over UDP together: turn that off there")     \
	X(LABEL_MALFORMED, UNLABEL, DROPPED, "outer packet of MPLS over UDP contradicts itself or holds no IP packet")     \
	X(LABEL_STACK, UNLABEL, DROPPED, "MPLS label is not the only one")                                                 \
	X(UNKNOWN_LABEL, UNLABEL, DROPPED, "MPLS label belongs to no VRF on this host")                                    \
	X(UNLABEL_FAILED, UNLABEL, DROPPED, "kernel refused to take the outer headers off")        \
	X(FABRIC_FOREIGN_SOURCE, ROUTE, DROPPED, "to the underlay with a source that is not led back to the port") \
	X(MAC_SHARE, BRIDGE, DROPPED, "the network has learned as many MACs as the table has room for those of all others") \
	X(FLOOD_LIMITED, BRIDGE, DROPPED, "flooded, and its port has had its share of floods for now") \
	X(SERVICE_LIMITED, SERVICE, DROPPED, "to a service of this host, and its port has had its share of them for now") \
	X(POLICY_ABSENT, POLICY, DROPPED, "port asks policy, and what it asks is not here")                                \
	X(POLICY_DENIED, POLICY, DROPPED, "policy of the sender's or the receiver's port denies it")                       \
	X(POLICY_REJECTED, POLICY, DROPPED, "policy of the sender's or the receiver's port rejects it")                    \
	X(IDENTITY_PENDING, POLICY, DROPPED, "not known yet who the other end is, and a rule that could mean it denies")   \
	X(UNKNOWN_FRAGMENT, POLICY, DROPPED, "fragment whose first one was not seen, at a port that asks policy")          \
	X(CONNECTION_LIMIT, POLICY, DROPPED, "sender's or receiver's port has as many conversations as its connectionLimit") \
	X(ROUTE_LEFT_OUT, ROUTE, DROPPED, "the tables of this host have no room for the route to the destination")          \
	X(TARGET_LEFT_OUT, NEIGHBOUR, DROPPED, "asks for an address, and the tables of this host have no room for its route") \
	X(EGRESS_LIMITED, LIMIT, DROPPED, "workload sends more than its qos-policy lets it")                               \
	X(INGRESS_LIMITED, LIMIT, DROPPED, "workload gets more than its qos-policy lets it")                        \
	X(PLACES_FULL, POLICY, DROPPED, "a port with a connectionLimit, and no room is left to count one more conversation") \
	X(NO_LISTENER, BALANCE, DROPPED, "to a virtual address, and no listener has the protocol and port")                \
	X(NO_MEMBER, BALANCE, DROPPED, "to a listener that has no member to serve it, or whose member is gone")            \
	X(LISTENER_FRAGMENT, BALANCE, DROPPED, "to a virtual address, a fragment whose first one was not seen")            \
	X(NO_MAPPING, MAP, DROPPED, "to or from a member of a load-balancer that is here no more, or not yet")             \
	X(MAPPING_FRAGMENT, MAP, DROPPED, "to a member of a load-balancer, a fragment whose first one was not seen")       \
	X(MAPPING_EXHAUSTED, MAP, DROPPED, "member talks to the client from its port already, through other listeners")    \
	X(MAPPING_TAKEN, MAP, DROPPED, "receiver has the conversation's ports in one through a load-balancer")             \
	X(HAIRPIN_SOURCE, MAP, DROPPED, "to itself through a load-balancer, and not from the address that serves")

#define REASON_AS_ENUM(name, stage, verdict, text) REASON_##name,
enum reason { REASON_NONE, REASONS(REASON_AS_ENUM) REASON_COUNT };
