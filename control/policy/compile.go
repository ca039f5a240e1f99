// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

// compiled is what is asked at the ports of a workload.
type compiled struct {
	rulesets  Rulesets
	byAddress bool   // it follows from a port's addresses, too
	names     []atom // it follows from who has these names for ports
}

// compile says what is asked at the ports of a workload, or at one of them.
func (u *update) compile(w *Workload, at *routing.Port) (c compiled) {
	a := asking{update: u, Workload: w, at: at}
	for direction, r := range a.networkPolicies() {
		c.rulesets[direction][NetworkPolicy] = r
	}
	for direction, r := range u.askGroups(w) {
		c.rulesets[direction][SecurityGroup] = r
	}
	tiers := u.tiersOf(w.Project)
	for tier, layer := range [3]Layer{FirewallAdmin, Firewall, FirewallBaseline} {
		for d := range Directions {
			c.rulesets[d][layer] = a.firewall(tier, d, tiers[tier])
		}
	}
	slices.SortFunc(a.names, compareAtoms)
	c.byAddress, c.names = a.byAddress, slices.Compact(a.names)
	return c
}

// asking is a workload, or one of its ports, of which is found what is asked there.
type asking struct {
	*update
	*Workload
	at        *routing.Port // nil: any of them
	byAddress bool
	names     []atom
}

// sides of a rule, as one of the ends reads them.
type sides[T any] struct{ here, there T }

// read are the ways in which a rule can be asked at an end: as it is written,
// and if either side may begin, as its mirror.
func read[T any](d Direction, of api.Direction, source, destination T) []sides[T] {
	ways := []sides[T]{{source, destination}, {destination, source}}
	if d == Ingress {
		ways[0], ways[1] = ways[1], ways[0]
	}
	if of != api.DirectionBoth {
		return ways[:1]
	}
	return ways
}

// families is a set of families of addresses.
type families uint8

const (
	four families = 1 << iota
	six
	both = four | six
)

func familyOf(a netip.Addr) families {
	if a.Is4() {
		return four
	}
	return six
}

// number is 4 or 6; 0 for both.
func (f families) number() uint32 {
	switch f {
	case four:
		return 4
	case six:
		return 6
	}
	return 0
}

// service is what is spoken; a name stands for ports of who is spoken to.
type service struct {
	*hoststream.RuleService
	name string
}

// servicesOf are what matches say, in some families.
func servicesOf(matches []api.Match, in families) (services []service) {
	for i := range matches {
		m := &matches[i]
		s := service{&hoststream.RuleService{}, m.PortName}
		of := in
		if number, ok := m.Protocol.Number(); ok {
			switch number {
			case 1:
				of &= four
			case 58:
				of &= six
			}
			n := uint32(number)
			s.Protocol = &n
		}
		if of == 0 {
			continue
		}
		s.Family = of.number()
		s.Ports, s.SourcePorts = rangeOf(m.Ports), rangeOf(m.SourcePorts)
		s.IcmpType, s.IcmpCode = numberOf(m.ICMPType), numberOf(m.ICMPCode)
		services = append(services, s)
	}
	return services
}

func rangeOf(r *api.PortRange) *hoststream.NumberRange {
	if r == nil {
		return nil
	}
	return &hoststream.NumberRange{First: uint32(r.From), Last: uint32(r.Last())}
}

func numberOf(n *int) *uint32 {
	if n == nil {
		return nil
	}
	number := uint32(*n)
	return &number
}

// within leaves of services what is of some families; false: nothing.
func within(services []*hoststream.RuleService, in families) ([]*hoststream.RuleService, bool) {
	if in == both {
		return services, true
	}
	if len(services) == 0 {
		return []*hoststream.RuleService{{Family: in.number()}}, in != 0
	}
	var left []*hoststream.RuleService
	for _, s := range services {
		switch s.Family {
		case in.number():
			left = append(left, s)
		case 0:
			own := &hoststream.RuleService{
				Family: in.number(), Protocol: s.Protocol, Ports: s.Ports, SourcePorts: s.SourcePorts, IcmpType: s.IcmpType, IcmpCode: s.IcmpCode,
			}
			left = append(left, own)
		}
	}
	return left, len(left) > 0
}

// remoteRanges are addresses as a rule says them: families of which all are
// meant, and ranges of the others.
func remoteRanges(ranges, except []netip.Prefix) (whole families, rest *hoststream.Ranges) {
	for _, r := range ranges {
		f := familyOf(r.Addr())
		if r.Bits() == 0 && !slices.ContainsFunc(except, func(e netip.Prefix) bool { return familyOf(e.Addr()) == f }) {
			whole |= f
		}
	}
	rest = &hoststream.Ranges{}
	for _, r := range ranges {
		if familyOf(r.Addr())&whole == 0 {
			rest.Ranges = append(rest.Ranges, prefixOf(r))
		}
	}
	if len(rest.Ranges) == 0 {
		return whole, nil
	}
	for _, e := range except {
		if familyOf(e.Addr())&whole == 0 {
			rest.Except = append(rest.Except, prefixOf(e))
		}
	}
	return whole, rest
}

func prefixOf(p netip.Prefix) *hoststream.Prefix {
	p = p.Masked()
	return &hoststream.Prefix{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())}
}

// addressesIn tells of which families a port has an address of its own in
// ranges less what is excepted.
func addressesIn(at *routing.Port, ranges, except []netip.Prefix) (in families) {
	if at == nil {
		return 0
	}
	contain := func(ranges []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(a) })
	}
	for _, a := range at.Addresses {
		if contain(ranges, a.IP) && !contain(except, a.IP) {
			in |= familyOf(a.IP)
		}
	}
	for _, a := range at.Announced {
		if contain(ranges, a) && !contain(except, a) {
			in |= familyOf(a)
		}
	}
	return in
}
