// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/probe"
)

// The ports on which every workload answers, TCP and UDP.
var ports = []uint16{53, 80, 443, 5432}

// services are what every workload tries at every other.
type service struct {
	protocol int
	port     uint16 // of ICMP the type
}

func services(v6 bool) []service {
	all := []service{{probe.ProtocolTCP, 80}, {probe.ProtocolTCP, 443}, {probe.ProtocolTCP, 5432}, {probe.ProtocolUDP, 53}, {probe.ProtocolUDP, 443}}
	if v6 {
		return append(all, service{probe.ProtocolICMPv6, probe.EchoRequest6})
	}
	return append(all, service{probe.ProtocolICMP, probe.EchoRequest4}, service{probe.ProtocolICMP, probe.TimestampRequest})
}

// try is an attempt, who makes it, and what it must see.
type try struct {
	from     Workload
	attempt  probe.Attempt
	packet   Packet // From is nil if there is nobody at the address
	who      string // has the address
	decision Decision
}

// table is what every workload tries, by the model.
func table(m *Model) map[Workload][]try {
	tries := map[Workload][]try{}
	for _, from := range Workloads {
		sender := m.Port(from.Port())
		for _, to := range Workloads {
			if to.Domain() != from.Domain() || to == from {
				continue
			}
			for i, source := range from.Addresses() {
				destination := to.Addresses()[i]
				for _, s := range services(destination.Is6()) {
					t := try{from: from, attempt: probe.Attempt{From: source, To: destination, Protocol: s.protocol, Port: s.port}}
					if receiver := m.At(sender, destination); receiver != nil {
						t.packet = packet(t.attempt, sender, receiver)
						t.decision = m.Decide(t.packet)
						t.who = to.Short()
					}
					tries[from] = append(tries[from], t)
				}
			}
		}
	}
	return tries
}

func packet(a probe.Attempt, from, to *api.Port) Packet {
	const ephemeral = 40000 // no rule of ours is about ports from here on
	p := Packet{From: from, To: to, Source: a.From, Destination: a.To, Protocol: a.Protocol, SourcePort: max(int(a.SourcePort), ephemeral), Port: int(a.Port)}
	if a.SourcePort != 0 {
		p.SourcePort = int(a.SourcePort)
	}
	if p.icmp() {
		p.Type, p.Port, p.SourcePort = int(a.Port), 0, 0
	}
	return p
}

// wrong says what is wrong with what was found; empty if nothing is.
func (t try) wrong(m *Model, f probe.Found) string {
	switch {
	case t.packet.From == nil:
		if f.Finding == probe.Connected || f.Finding == probe.Refused {
			return "nobody of its networks is there"
		}
	case t.decision.Action == api.ActionPass:
		if back := m.Answer(t.packet); back.Action != api.ActionPass {
			if f.Finding == probe.Connected {
				return "its answer: " + back.String()
			}
			return ""
		}
		if f.Finding != probe.Connected || !t.packet.icmp() && f.Who != t.who {
			return t.decision.String() + ": " + t.who
		}
	case t.decision.Action == api.ActionReject:
		want := probe.Prohibited
		if t.attempt.Protocol == probe.ProtocolTCP {
			want = probe.Refused
		}
		if f.Finding != want && !(f.Finding == probe.Silent && t.withoutConversation()) {
			return t.decision.String()
		}
	default:
		if f.Finding != probe.Silent {
			return t.decision.String()
		}
	}
	return ""
}

// withoutConversation tells of ICMP that is no echo: an error about it from
// another host is asked like other ICMP where it arrives, and may be refused.
func (t try) withoutConversation() bool {
	switch t.attempt.Protocol {
	case probe.ProtocolICMP:
		return t.attempt.Port != 8
	case probe.ProtocolICMPv6:
		return t.attempt.Port != 128
	}
	return false
}

// leak tells whether something passed that must not.
func (t try) leak(f probe.Found) bool {
	return f.Finding == probe.Connected && (t.packet.From == nil || t.decision.Action != api.ActionPass)
}

// tally counts what was decided, for people.
type tally map[string]int

func (c tally) note(t try) {
	word := "nobody there"
	if t.packet.From != nil {
		word = string(t.decision.Action)
		if t.decision.Layer != "" {
			word += " by " + t.decision.Layer + ", " + string(t.decision.Side)
		}
	}
	c[word]++
}

func (c tally) String() string {
	sum := 0
	for _, n := range c {
		sum += n
	}
	var parts []string
	for _, word := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%s %d (%d %%)", word, c[word], 100*c[word]/max(sum, 1)))
	}
	return fmt.Sprintf("%d attempts: %s", sum, strings.Join(parts, "; "))
}
