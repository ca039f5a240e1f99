// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/weft-network/weft/vrouter/rules"
)

// world makes rulesets and packets that meet: few identities, nested ranges, ports next to each other's ends.
type world struct{ *rand.Rand }

var edges = []uint16{0, 1, 22, 53, 79, 80, 81, 254, 255, 256, 257, 443, 511, 512, 1023, 1024, 8080, 32767, 32768, 65279, 65280, 65534, 65535}

var roots = []string{"10.0.0.0", "10.128.0.0", "192.168.1.0", "255.255.255.255", "0.0.0.0", "2001:db8::", "2001:db8:0:1::", "fe80::", "::ffff:10.0.0.0", "ffff:ffff::"}

func oneOf[T any](w world, of []T) T { return of[w.IntN(len(of))] }

func (w world) chance(percent int) bool { return w.IntN(100) < percent }

func (w world) prefix() netip.Prefix {
	a := netip.MustParseAddr(oneOf(w, roots))
	bits := oneOf(w, []int{0, 1, 7, 8, 9, 16, 24, 31, 32})
	if a.Is6() {
		bits = oneOf(w, []int{0, 1, 16, 32, 63, 64, 65, 96, 127, 128})
	}
	return netip.PrefixFrom(a, bits) // not masked: so may be what a person writes
}

func (w world) prefixes(most int) []netip.Prefix {
	out := make([]netip.Prefix, w.IntN(most+1))
	for i := range out {
		out[i] = w.prefix()
	}
	return out
}

func (w world) portRange() *rules.Range {
	a, b := oneOf(w, edges), oneOf(w, edges)
	switch w.IntN(4) {
	case 0:
		b = a
	case 1:
		a, b = 1024, 65535
	}
	return &rules.Range{First: min(a, b), Last: max(a, b)}
}

func (w world) service() rules.Service {
	s := rules.Service{Family: oneOf(w, []uint8{0, 0, 4, 6}), Protocol: oneOf(w, []uint8{6, 6, 17, 132, 1, 58, 47, 0, 255})}
	s.AnyProtocol = w.chance(20)
	if s.AnyProtocol || rules.HasPorts(s.Protocol) {
		if w.chance(60) {
			s.Ports = w.portRange()
		}
		if w.chance(20) {
			s.SourcePorts = w.portRange()
		}
	}
	if !s.AnyProtocol && (s.Protocol == rules.ICMP || s.Protocol == rules.ICMPv6) && w.chance(70) {
		s.ICMPType = octet(oneOf(w, []uint8{0, 8, 128, 255}))
		if w.chance(50) {
			s.ICMPCode = octet(oneOf(w, []uint8{0, 1, 255}))
		}
	}
	return s
}

func (w world) identity() rules.Identity { return rules.Identity(2 + w.IntN(9)) }

func (w world) rule(number int) rules.Rule {
	r := rules.Rule{Number: uint32(number), Name: fmt.Sprint("rule ", number), Action: rules.Action(1 + w.IntN(4)), Log: w.chance(20), Audit: w.chance(15)}
	r.Remote = oneOf(w, []rules.Remote{rules.Anybody, rules.Workloads, rules.Workloads, rules.Addresses, rules.Addresses})
	switch r.Remote {
	case rules.Workloads:
		for range w.IntN(5) {
			r.Identities = append(r.Identities, w.identity())
		}
	case rules.Addresses:
		r.Ranges, r.Except = w.prefixes(4), w.prefixes(2)
	}
	if w.chance(90) {
		for range 1 + w.IntN(3) {
			r.Services = append(r.Services, w.service())
		}
	}
	return r
}

func (w world) ruleset() rules.Ruleset {
	r := rules.Ruleset{Outside: rules.Action(1 + w.IntN(4)), Identified: rules.Action(1 + w.IntN(4))}
	if w.chance(50) {
		r.Rest = 99
	}
	for i := range w.IntN(12) {
		r.Rules = append(r.Rules, w.rule(100+i))
	}
	return r
}

// near is an address in, at an end of, or just outside of a prefix.
func (w world) near(p netip.Prefix) netip.Addr {
	first := p.Masked().Addr()
	b := first.AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		if bit := byte(0x80 >> (i % 8)); w.chance(50) {
			b[i/8] |= bit
		}
	}
	inside, _ := netip.AddrFromSlice(b)
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	if a := oneOf(w, []netip.Addr{first, first.Prev(), inside, last, last.Next()}); a.IsValid() {
		return a
	}
	return inside
}

// packet is a packet that rules of the ruleset are likely to be about.
func (w world) packet(r rules.Ruleset) rules.Packet {
	p := rules.Packet{Remote: w.near(w.prefix()), Protocol: oneOf(w, []uint8{6, 17, 132, 136, 33, 1, 58, 47, 0, 255, 2})}
	if len(r.Rules) > 0 && w.chance(80) {
		one := oneOf(w, r.Rules)
		if around := append(one.Ranges, one.Except...); len(around) > 0 {
			p.Remote = w.near(oneOf(w, around))
		}
		if len(one.Services) > 0 && w.chance(80) {
			p.Protocol = oneOf(w, one.Services).Protocol
		}
	}
	p.Identity = oneOf(w, []rules.Identity{rules.None, rules.Pending, w.identity(), w.identity()})
	switch {
	case rules.HasPorts(p.Protocol):
		p.Port, p.SourcePort = oneOf(w, edges)+uint16(w.IntN(3))-1, oneOf(w, edges)+uint16(w.IntN(3))-1
	case rules.IsICMP(p.Family(), p.Protocol):
		p.Port = rules.ICMPPort(oneOf(w, []uint8{0, 1, 8, 128, 255}), oneOf(w, []uint8{0, 1, 2, 255}))
	}
	return p
}

// fromBytes is a source of randomness that a fuzzer can steer.
type fromBytes struct {
	data []byte
	rest *rand.PCG
}

func (f *fromBytes) Uint64() uint64 {
	if len(f.data) < 2 {
		return f.rest.Uint64()
	}
	n := uint64(binary.LittleEndian.Uint16(f.data))
	f.data = f.data[2:]
	return n<<48 | n<<32 | n<<16 | n
}
