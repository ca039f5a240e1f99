// SPDX-License-Identifier: Apache-2.0

package records

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// The words of a record's direction.
const (
	egress  = "egress"
	ingress = "ingress"
)

// recordOf is what an event says, with names.
func recordOf(e *vrouter.Event, d directory) api.Record {
	p := parse(e.Frame)
	r := api.Record{
		Time: e.Time, Record: api.RecordDrop, VRF: e.VRF, Direction: egress, Protocol: protocolOf(p),
		Verdict: e.Reason.Verdict, Reason: e.Reason.Name, Stage: e.Reason.Stage, Text: e.Reason.Text,
		Flags: flagsOf(p), Length: e.Length,
	}
	if e.Kind == vrouter.EventFirst {
		r.Record, r.Verdict = api.RecordFirst, "passed"
	}
	if e.In {
		r.Direction = ingress
	}
	if e.OneOf > 1 {
		r.OneOf = e.OneOf
	}
	d.rule(&r, e.Rule)
	if e.Layer >= 0 {
		r.Layer = rules.Layer(e.Layer).String()
	}
	r.Source = d.in(e.VRF, netip.AddrPortFrom(p.From, p.SourcePort))
	r.Destination = d.in(e.VRF, netip.AddrPortFrom(p.To, p.DestinationPort))
	if port, there := d.ports[e.Ifindex]; there && !e.In { // whatever source it claims to have
		d.name(&r.Source, port)
	}
	return r
}

// protocolOf is the protocol's usual name or number; of a frame that is no IP
// packet its ethertype's.
func protocolOf(p Packet) string {
	switch {
	case p.Ethertype == ethertypeARP:
		return "arp"
	case p.Family == 0:
		return fmt.Sprintf("ethertype-%04x", p.Ethertype)
	}
	return protocolWord(p.Protocol)
}

func protocolWord(n uint8) string {
	name, known := map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 50: "esp", 51: "ah", 58: "icmpv6", 132: "sctp", 136: "udplite"}[n]
	if known {
		return name
	}
	return strconv.Itoa(int(n))
}

// tcpFlags are the words of TCP's flags, from the lowest bit.
var tcpFlags = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}

// flagsOf writes the flags of TCP as tcpdump's users know them.
func flagsOf(p Packet) string {
	if p.Protocol != protocolTCP {
		return ""
	}
	var all []string
	for i, word := range tcpFlags {
		if p.Flags&(1<<i) != 0 {
			all = append(all, word)
		}
	}
	return strings.Join(all, ",")
}
