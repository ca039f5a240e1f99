// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// spoken is an address that a port spoke for, and may.
type spoken struct {
	port *Port
	api.AnnouncedAddress
	asked bool // for itself alone, in a slaac subnet: who came first has it; else who came last
}

// addShared adds the routes to addresses that ports may have beside their own:
// the ranges of active-active pairs, which their ports share, and of
// active-standby pairs the addresses that somebody spoke for. The routes of the
// ports' own addresses must be there and sorted.
func (n *Network) addShared() {
	var made []Route
	for _, p := range n.ports {
		for _, pair := range p.Pairs {
			if !pair.Standby && !p.Disabled && !p.Withdrawn {
				made = append(made, n.shared(p, pair.Range, pair.MAC))
			}
		}
	}
	for address, s := range n.speakers() {
		r := n.shared(s.port, hostPrefix(address), s.MAC)
		r.Announced, r.Proxied = s.Sequence, !s.asked
		if s.asked {
			s.port.Announced = append(s.port.Announced, address)
		}
		made = append(made, r)
	}
	for _, p := range n.ports {
		slices.SortFunc(p.Announced, netip.Addr.Compare)
	}
	if len(made) > 0 {
		n.choose(made)
	}
}

func (n *Network) shared(p *Port, prefix netip.Prefix, mac api.MAC) Route {
	return Route{
		Prefix: prefix, Port: p.Ref, Host: p.Host, MAC: mac, MTU: n.MTU, OriginKind: api.KindPort, Origin: p.Ref,
		OriginNetwork: n.Ref, OriginVRF: n.VRF, ECMPFields: n.ECMPFields, Proxied: true, Routed: !n.within(prefix),
	}
}

// within tells whether workloads take a prefix for neighbours.
func (n *Network) within(prefix netip.Prefix) bool {
	return slices.ContainsFunc(n.Subnets, func(sub Subnet) bool {
		return sub.CIDR.Bits() <= prefix.Bits() && sub.CIDR.Contains(prefix.Addr())
	})
}

// speakers are who has each address that somebody spoke for. What somebody has
// as an address of its own is nobody's to speak for.
func (n *Network) speakers() map[netip.Addr]spoken {
	has := map[netip.Addr]spoken{}
	for _, p := range n.ports {
		for _, a := range p.spoken {
			s := spoken{port: p, AnnouncedAddress: a}
			if p.Disabled || !n.mayHave(&s) || p.Withdrawn && !s.asked {
				continue
			}
			if _, owned := slices.BinarySearchFunc(n.Own, hostPrefix(a.Address), func(r Route, q netip.Prefix) int { return r.Prefix.Compare(q) }); owned {
				continue
			}
			other, taken := has[a.Address]
			if !taken || s.before(&other) {
				has[a.Address] = s
			}
		}
	}
	return has
}

// mayHave tells whether a port may have what it spoke for, and how.
func (n *Network) mayHave(s *spoken) bool {
	for _, pair := range s.port.Pairs {
		if pair.Standby && pair.MAC == s.MAC && pair.Range.Contains(s.Address) {
			return true
		}
	}
	if s.MAC != s.port.MAC {
		return false
	}
	s.asked = slices.ContainsFunc(n.Subnets, func(sub Subnet) bool {
		return sub.CIDR.Contains(s.Address) && sub.Services.Mode() == api.ModeSLAAC && s.Address.Is6() &&
			slices.ContainsFunc(s.port.Addresses, func(a PortAddress) bool { return a.Subnet == sub.Ref.UUID })
	})
	return s.asked
}

// before tells that s has the address rather than t. A pair comes before what
// is asked for.
func (s *spoken) before(t *spoken) bool {
	if s.asked != t.asked {
		return t.asked
	}
	later := cmp.Or(cmp.Compare(s.Order, t.Order), cmp.Compare(s.port.Ref.UUID, t.port.Ref.UUID)) > 0
	return later != s.asked
}

// speaks tells whether an event that changes only the status of a port changes
// what it spoke for, or whether routes lead through it.
func speaks(e api.Event) bool {
	now, is := e.Object.(*api.Port)
	was, had := e.Was.(*api.Port)
	return is && had && (!slices.Equal(now.Status.Announced, was.Status.Announced) || withdrawn(now) != withdrawn(was))
}

// withdrawn tells that a health-check of the port took its routes back.
func withdrawn(p *api.Port) bool { return p.Status.Withdrawn && len(p.Spec.HealthChecks) > 0 }
