// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Reported is the status of kinds that report nothing but conditions.
type Reported struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

// AdminState is what its owner wants of an object's working; empty means up.
type AdminState string

// The states an owner may want.
const (
	AdminUp   AdminState = "up"
	AdminDown AdminState = "down"
)

// Side is the direction of packets as a workload sees them.
type Side string

// The directions.
const (
	Ingress Side = "ingress" // towards the workload
	Egress  Side = "egress"  // from the workload
)

// Family is a version of IP.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Protocol is an IP protocol by name or number; empty means any.
type Protocol string

// The protocols that have ports.
const (
	TCP     Protocol = "tcp"
	UDP     Protocol = "udp"
	SCTP    Protocol = "sctp"
	UDPLite Protocol = "udplite"
	DCCP    Protocol = "dccp"
)

// protocolNumbers are IANA's assigned protocol numbers for the names people use.
var protocolNumbers = map[Protocol]int{
	"icmp": 1, "igmp": 2, "ipip": 4, TCP: 6, "egp": 8, UDP: 17, DCCP: 33, "ipv6-encap": 41,
	"ipv6-route": 43, "ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
	"icmpv6": 58, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ospf": 89,
	"vrrp": 112, "pgm": 113, SCTP: 132, UDPLite: 136,
}

// Number is the protocol's number; it is false for any and for unknown names.
func (p Protocol) Number() (int, bool) {
	if n, ok := protocolNumbers[p]; ok {
		return n, true
	}
	n, err := strconv.Atoi(string(p))
	return n, err == nil && n >= 0 && n <= 255 && strconv.Itoa(n) == string(p)
}

// Key is one spelling for all names of a protocol.
func (p Protocol) Key() string {
	if n, ok := p.Number(); ok {
		return strconv.Itoa(n)
	}
	return "any"
}

// HasPorts tells whether packets of the protocol carry ports.
func (p Protocol) HasPorts() bool {
	key := p.Key()
	return slices.ContainsFunc([]Protocol{TCP, UDP, SCTP, UDPLite, DCCP}, func(q Protocol) bool { return q.Key() == key })
}

func (p Protocol) problem() string {
	if _, ok := p.Number(); ok {
		return ""
	}
	return fmt.Sprintf("%q is neither the name of a protocol in lower case nor a number from 0 to 255", string(p))
}

// PortRange is a range of transport ports, both ends included.
type PortRange struct {
	From int `json:"from" minimum:"1" maximum:"65535" doc:"First port."`
	To   int `json:"to,omitempty" minimum:"1" maximum:"65535" doc:"Last port; the first when absent."`
}

// Last is the last port of the range.
func (r PortRange) Last() int { return max(r.From, r.To) }

// Overlaps tells whether two ranges have a port in common.
func (r PortRange) Overlaps(o PortRange) bool { return r.From <= o.Last() && o.From <= r.Last() }

func (r PortRange) String() string {
	if r.Last() == r.From {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.Last())
}

func (r PortRange) problem() string {
	if r.To != 0 && r.To < r.From {
		return fmt.Sprintf("ends at %d before it begins at %d", r.To, r.From)
	}
	return ""
}

// Match says which packets are meant by protocol and ports.
type Match struct {
	Protocol    Protocol   `json:"protocol,omitempty" doc:"Name in lower case or number; any when absent."`
	Ports       *PortRange `json:"ports,omitempty" doc:"Destination ports; any when absent."`
	PortName    string     `json:"portName,omitempty" doc:"Destination port by the name that each destination port object gives it (namedPorts); excludes ports. Not in security-group-rules."`
	SourcePorts *PortRange `json:"sourcePorts,omitempty" doc:"Source ports; any when absent. Not in security-group-rules."`
	ICMPType    *int       `json:"icmpType,omitempty" minimum:"0" maximum:"255" doc:"Type of ICMP or ICMPv6; any when absent."`
	ICMPCode    *int       `json:"icmpCode,omitempty" minimum:"0" maximum:"255" doc:"Code of ICMP or ICMPv6; needs a type."`
}

// check reports combinations that no packet has.
func (m *Match) check(p *Problems, field string) {
	ports := m.Ports != nil || m.SourcePorts != nil || m.PortName != ""
	if ports && !m.Protocol.HasPorts() {
		p.Addf(field+".ports", "protocol %q has no ports: want tcp, udp, sctp, udplite or dccp", string(m.Protocol))
	}
	if m.Ports != nil && m.PortName != "" {
		p.Addf(field+".portName", "excludes ports")
	}
	if icmp := slices.Contains([]string{"1", "58"}, m.Protocol.Key()); m.ICMPType != nil && !icmp {
		p.Addf(field+".icmpType", "protocol %q has no ICMP types", string(m.Protocol))
	}
	if m.ICMPCode != nil && m.ICMPType == nil {
		p.Addf(field+".icmpCode", "needs icmpType")
	}
}

// key is one spelling for equal matches.
func (m *Match) key() string {
	parts := []string{m.Protocol.Key()}
	for _, r := range []*PortRange{m.SourcePorts, m.Ports} {
		if r == nil {
			parts = append(parts, "any")
			continue
		}
		parts = append(parts, r.String())
	}
	for _, n := range []*int{m.ICMPType, m.ICMPCode} {
		if n == nil {
			parts = append(parts, "any")
			continue
		}
		parts = append(parts, strconv.Itoa(*n))
	}
	return strings.Join(append(parts, m.PortName), ",")
}

func (m MAC) problem() string {
	b, err := m.Bytes()
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not six bytes as aa:bb:cc:dd:ee:ff", string(m))
	case strings.ToLower(string(m)) != string(m) || len(m) != 17:
		return fmt.Sprintf("%q must be written in lower case with colons", string(m))
	case b[0]&1 == 1 || b == [6]byte{}:
		return fmt.Sprintf("%q is a group or null address", string(m))
	}
	return ""
}
