// SPDX-License-Identifier: Apache-2.0

// Package rules is the pure core of policy: what rulesets are, what they decide (doc/policy.md, followed word by word), and the table entries that they are compiled into.
package rules

import (
	"fmt"
	"net/netip"
)

// Identity stands for everything about a workload that rules can ask.
type Identity uint64

// The identities that no workload has.
const (
	None    Identity = 0 // outside
	Pending Identity = 1 // of this network, but not known here yet
)

// Layer is one of the layers that an end asks, in the order in which it asks them.
type Layer uint8

// The layers.
const (
	NetworkPolicy Layer = iota
	SecurityGroup
	FirewallAdmin
	Firewall
	FirewallBaseline
	Layers // how many
)

var layerWords = [Layers]string{"network-policy", "security-group", "firewall-admin", "firewall", "firewall-baseline"}

// String gives the layer's word.
func (l Layer) String() string {
	if l < Layers {
		return layerWords[l]
	}
	return fmt.Sprintf("layer-%d", uint8(l))
}

// ParseLayer gives the layer of a word.
func ParseLayer(word string) (Layer, error) {
	for l, w := range layerWords {
		if w == word {
			return Layer(l), nil
		}
	}
	return 0, fmt.Errorf("read layer %q: it is none of %v", word, layerWords)
}

// Direction says at which end a ruleset is asked.
type Direction uint8

// The directions.
const (
	Egress  Direction = iota // at the port that sends the first packet
	Ingress                  // at the port that gets it
	Directions
)

// String gives the direction's word.
func (d Direction) String() string {
	if d == Ingress {
		return "ingress"
	}
	return "egress"
}

// Action is what a rule says.
type Action uint8

// The actions; the numbers are those of enum policy_action.
const (
	NoAction    Action = iota
	Pass               // this layer passes it
	Deny               // dropped
	Reject             // dropped, and the sender is told
	Next               // left to the next tier
	DropPending        // dropped, because it is not known yet who the other end is
	actions
)

var actionWords = [actions]string{"none", "pass", "deny", "reject", "next", "identity-pending"}

// String gives the action's word.
func (a Action) String() string {
	if a < actions {
		return actionWords[a]
	}
	return fmt.Sprintf("action-%d", uint8(a))
}

// ParseAction gives the action of a word that a rule may say.
func ParseAction(word string) (Action, error) {
	for a := Pass; a <= Next; a++ {
		if actionWords[a] == word {
			return a, nil
		}
	}
	return NoAction, fmt.Errorf("read action %q: it is none of %v", word, actionWords[Pass:DropPending])
}

// Drops says whether nothing goes on after this action.
func (a Action) Drops() bool { return a == Deny || a == Reject || a == DropPending }

// Protocols of which the numbers mean something to rules.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	DCCP   = 33
	ICMPv6 = 58
	SCTP   = 132
	UDPLt  = 136
)

// PortProtocols are the protocols that have ports.
var PortProtocols = []uint8{TCP, UDP, DCCP, SCTP, UDPLt}

// HasPorts says whether the packets of a protocol have ports.
func HasPorts(protocol uint8) bool {
	switch protocol {
	case TCP, UDP, DCCP, SCTP, UDPLt:
		return true
	}
	return false
}

// IsICMP says whether a protocol is the ICMP of a family (4 or 6): its packets have a type and a code.
func IsICMP(family, protocol uint8) bool {
	return family == 4 && protocol == ICMP || family == 6 && protocol == ICMPv6
}

// Range is a range of ports, both ends in it.
type Range struct{ First, Last uint16 }

// Contains says whether a port is in the range.
func (r Range) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// Service is what a rule says about protocol and ports. Protocol 1 is of IPv4 only and protocol 58 of IPv6 only.
type Service struct {
	Family             uint8 // 4, 6; 0 is both
	Protocol           uint8 // ignored with AnyProtocol
	AnyProtocol        bool  // with ports: any protocol that has ports
	Ports, SourcePorts *Range
	ICMPType, ICMPCode *uint8 // a code only with a type
}

// Remote says what a rule compares the other end by.
type Remote uint8

// What a rule compares the other end by; never two at once.
const (
	Anybody   Remote = iota
	Workloads        // Identities; without any it is nobody
	Addresses        // Ranges less Except; without any it is nobody
)

// Rule is one rule of a ruleset.
type Rule struct {
	Number     uint32 // of the host, for hits and records; nothing is decided by it
	Name       string // for errors
	Action     Action
	Remote     Remote
	Identities []Identity
	Ranges     []netip.Prefix
	Except     []netip.Prefix // of all Ranges
	Services   []Service      // none is all
	Log        bool
	Audit      bool // only counted and recorded
}

// Ruleset is the ordered rules of one layer and one direction.
type Ruleset struct {
	Rules      []Rule
	Outside    Action // if nothing matches and the other end has no identity
	Identified Action // if nothing matches and it has one
	// Rest is the number under which is counted and recorded what is dropped because
	// nothing matches; 0: it is neither.
	Rest uint32
}

// Packet is the first packet of a conversation, as one end of it sees it.
type Packet struct {
	Identity   Identity   // of the other end
	Remote     netip.Addr // the other end; its family is the packet's
	Protocol   uint8
	SourcePort uint16 // of who began; 0 if the protocol has no ports
	Port       uint16 // of who is spoken to; of ICMP see ICMPPort; 0 of other protocols
}

// ICMPPort is type and code of an ICMP packet in the place of its port.
func ICMPPort(icmpType, code uint8) uint16 { return uint16(icmpType)<<8 | uint16(code) }

// Family gives 4 or 6.
func (p Packet) Family() uint8 { return family(p.Remote) }

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return 4
	}
	return 6
}

// Orders of what is decided if no rule matches. A pending end's is the smaller, so that the smallest order wins among all that is found.
const (
	Default        = ^uint32(0)
	PendingDefault = Default - 1
)

// Verdict is what a ruleset says about a packet, and by which rule.
type Verdict struct {
	Order  uint32 // place of the rule from 1; Default or PendingDefault if no rule matched; 0 of nothing at all
	Rule   uint32 // its number; if no rule matched 0, or that of the rest
	Action Action
	Log    bool
}

// Matched says whether a rule said it.
func (v Verdict) Matched() bool { return v.Order != 0 && v.Order < PendingDefault }
