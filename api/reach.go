// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxAssertions is how many assertions are checked at once.
const MaxAssertions = 1000

// Reach is exactly what policy lets some workloads say to others, at one
// revision. Each pair of workloads that have a place is in one row.
type Reach struct {
	Revision int64      `json:"revision"`
	Rows     []ReachRow `json:"rows"`
	NotExact []string   `json:"notExact,omitempty" doc:"Ports that can say more than the rows know of, each with why, in words."`
}

// ReachRow is what each of some workloads may say to each of others; none is
// meant to speak to itself.
type ReachRow struct {
	From       []Ref          `json:"from" doc:"Ports."`
	To         []Ref          `json:"to" doc:"Ports."`
	FromRanges []netip.Prefix `json:"fromRanges,omitempty" doc:"In place of from: addresses."`
	ToRanges   []netip.Prefix `json:"toRanges,omitempty" doc:"In place of to: addresses."`
	Allowed    []ReachFlow    `json:"allowed" doc:"All that is allowed, and nothing else is; empty: nothing."`
	Reason     string         `json:"reason,omitempty" doc:"Why nothing is, where policy is not asked: there is no route, or one of the two is disabled."`
}

// ReachFlow is conversations of one protocol, or of all protocols but some.
type ReachFlow struct {
	Family      int        `json:"family,omitempty" doc:"4 or 6; absent where it is all families that the two have in common."`
	Protocol    Protocol   `json:"protocol,omitempty" doc:"Name or number; all protocols but those in except when absent."`
	Except      []Protocol `json:"except,omitempty" doc:"Without protocol: those that have entries of their own, or none."`
	Ports       []string   `json:"ports,omitempty" doc:"Destination ports, as 80 or 1024-65535; of ICMP its types, as 8, 3/1 with a code, or 0-7; all when absent."`
	SourcePorts string     `json:"sourcePorts,omitempty" doc:"As ports; all when absent."`
}

// String is the flow as people read it.
func (f ReachFlow) String() string {
	words := []string{string(f.Protocol)}
	switch {
	case f.Protocol == "" && len(f.Except) == 0:
		words[0] = "everything"
	case f.Protocol == "":
		words[0] = "all but"
		for i, p := range f.Except {
			separator := ","
			if i == len(f.Except)-1 {
				separator = ""
			}
			words = append(words, string(p)+separator)
		}
	}
	if f.Family != 0 {
		words = append([]string{"IPv" + strconv.Itoa(f.Family)}, words...)
	}
	if len(f.Ports) > 0 {
		words = append(words, strings.Join(f.Ports, ","))
	}
	if f.SourcePorts != "" {
		words = append(words, "from "+f.SourcePorts)
	}
	return strings.Join(words, " ")
}

// ProtocolOf is the name of a protocol, or its number if it has no usual name.
func ProtocolOf(number int) Protocol {
	for _, usual := range []Protocol{"icmp", TCP, UDP, "gre", "esp", "ah", "icmpv6", "vrrp", SCTP, UDPLite, DCCP} {
		if protocolNumbers[usual] == number {
			return usual
		}
	}
	return Protocol(strconv.Itoa(number))
}

// Assertion is a sentence about who may talk to whom that is to hold: one of
// its fields besides the name.
type Assertion struct {
	Name   string     `json:"name,omitempty" doc:"What it is for, in words."`
	Never  *Encounter `json:"never,omitempty" doc:"Nothing of it is allowed, from any of the workloads to any of the others."`
	Allows *Encounter `json:"allows,omitempty" doc:"All of it is allowed, from each of the workloads to each of the others, by each of their own addresses."`
}

// Encounter is two sets of workloads and what is said from one to the other.
type Encounter struct {
	From     string     `json:"from" doc:"Workloads: a port, network, security-group, tag, project, virtual-machine or host, as KIND/NAME or KIND/UUID; or addresses, as cidr/203.0.113.0/24."`
	To       string     `json:"to" doc:"Likewise; not both are addresses."`
	Family   int        `json:"family,omitempty" doc:"4 or 6; both when absent."`
	Protocol Protocol   `json:"protocol,omitempty" doc:"Name in lower case or number; any when absent."`
	Port     int        `json:"port,omitempty" minimum:"1" maximum:"65535" doc:"Destination port."`
	Ports    *PortRange `json:"ports,omitempty" doc:"Destination ports, in place of port; any when absent."`
	ICMPType *int       `json:"icmpType,omitempty" minimum:"0" maximum:"255" doc:"Type of ICMP or ICMPv6; any when absent."`
}

// Match is what is said, and any problem with it.
func (e *Encounter) Match() (Match, error) {
	m := Match{Protocol: e.Protocol, Ports: e.Ports, ICMPType: e.ICMPType}
	if e.Port != 0 {
		if e.Ports != nil {
			return m, fmt.Errorf("port excludes ports")
		}
		m.Ports = &PortRange{From: e.Port}
	}
	if e.Family != 0 && e.Family != 4 && e.Family != 6 {
		return m, fmt.Errorf("family %d is neither 4 nor 6", e.Family)
	}
	var p Problems
	if e.Protocol != "" {
		if problem := e.Protocol.problem(); problem != "" {
			return m, fmt.Errorf("protocol %s", problem)
		}
	}
	m.check(&p, "it")
	if len(p) > 0 {
		return m, fmt.Errorf("%s", strings.TrimPrefix(p[0].String(), "it."))
	}
	return m, nil
}

// FieldUnchangedSince is the field of a transaction, and of a commit of a draft,
// that is refused if another transaction wrote objects after this revision.
const FieldUnchangedSince = "unchangedSince"

// Check says which assertions hold at one revision.
type Check struct {
	Revision int64     `json:"revision"`
	Base     int64     `json:"base,omitempty" doc:"Revision of the objects on which it rests: a transaction with this in unchangedSince is refused if what was checked is not what would be."`
	Verdicts []Checked `json:"verdicts" doc:"One for each assertion, in their order."`
}

// Holds tells whether all do.
func (c *Check) Holds() bool {
	for i := range c.Verdicts {
		if !c.Verdicts[i].Holds {
			return false
		}
	}
	return true
}

// Checked is whether an assertion holds.
type Checked struct {
	Assertion string          `json:"assertion" doc:"In words."`
	Holds     bool            `json:"holds"`
	Pairs     int             `json:"pairs" doc:"How many pairs of ports it was checked for, or ports where the other side is addresses; 0: it says nothing about anybody."`
	Counter   *CounterExample `json:"counterExample,omitempty" doc:"Of one that does not hold."`
	NotExact  []string        `json:"notExact,omitempty" doc:"Ports that can say more than was checked, each with why, in words."`
}

// CounterExample is a packet by which an assertion does not hold.
type CounterExample struct {
	From     Ref      `json:"from" doc:"Empty where the assertion has addresses."`
	To       Ref      `json:"to" doc:"Likewise."`
	Packet   string   `json:"packet"`
	Allowed  bool     `json:"allowed"`
	Verdicts []string `json:"verdicts,omitempty" doc:"What each layer says, in words, until one drops it."`
}

// CheckRequest asks whether assertions hold; with operations, whether they would
// after these.
type CheckRequest struct {
	Assertions []Assertion `json:"assertions" minItems:"1" maxItems:"1000"`
	Operations []Operation `json:"operations,omitempty" doc:"Changes that are only thought of, as in a transaction."`
}

// Changes are objects as they would be, and those that would be gone.
type Changes struct {
	Put     []Object
	Deleted []Target
}

// Target names one object.
type Target struct {
	Kind Kind
	UUID string
}
