// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/vrouter/rules"
)

// takeable is a range of which a port may come to have an address by speaking for it.
type takeable struct {
	prefix netip.Prefix
	asked  bool // one that nobody else has: of a slaac subnet
}

// takeable are the ranges of a port's active-standby pairs, and its slaac subnets.
func (m *Model) takeable(p *routing.Port) []takeable {
	if known, is := m.takes[p.Ref.UUID]; is {
		return known
	}
	var all []takeable
	for _, pair := range p.Pairs {
		if pair.Standby && !p.Withdrawn && !p.Network.Frames() {
			all = append(all, takeable{pair.Range, false})
		}
	}
	for _, s := range m.slaac(p) {
		if !p.Network.Frames() {
			all = append(all, takeable{s, true})
		}
	}
	m.takes[p.Ref.UUID] = all
	return all
}

// slaac are the subnets whose addresses a port takes by probing them.
func (m *Model) slaac(p *routing.Port) (all []netip.Prefix) {
	n := m.routing.Network(p.Network.Ref.UUID)
	if n == nil {
		return nil
	}
	for i := range n.Subnets {
		s := &n.Subnets[i]
		if s.CIDR.Addr().Is6() && s.Services.Mode() == api.ModeSLAAC && slices.ContainsFunc(p.Addresses, func(a routing.PortAddress) bool { return a.Subnet == s.Ref.UUID }) {
			all = append(all, s.CIDR)
		}
	}
	return all
}

// probed are those of its slaac subnets from which a port sends nothing before it has
// taken an address there: whose no pair around them is.
func (m *Model) probed(p *routing.Port) []netip.Prefix {
	return slices.DeleteFunc(m.slaac(p), func(s netip.Prefix) bool {
		return slices.ContainsFunc(p.Pairs, func(pair routing.Pair) bool {
			return pair.MAC == p.MAC && pair.Range.Bits() <= s.Bits() && pair.Range.Contains(s.Addr())
		})
	})
}

// taken adds the addresses that a port may take, as an end in a network will see them
// then. With led, only those to which the network's routes will lead.
func (m *Model) taken(ctx context.Context, all []variant, p *routing.Port, at *end, network string, led bool) (_ []variant, err error) {
	for _, t := range m.takeable(p) {
		if network == p.Network.Ref.UUID && !at.byAddress && hasIn(p, t.prefix) {
			continue // as its own address, which routes lead to as well
		}
		if all, err = m.takenOf(ctx, all, taker{p, t, m.who(p)}, t.prefix, at, network, led); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// takenOf adds those that a port may take of a range in what it may take.
func (m *Model) takenOf(ctx context.Context, all []variant, by taker, r netip.Prefix, at *end, network string, led bool) ([]variant, error) {
	there := m.table(network)
	cuts := slices.Concat(at.ranges(), m.table(by.port.Network.Ref.UUID).prefixes(), there.prefixes(), unsendable)
	return m.alike(ctx, all, at, r, cuts, func(a netip.Addr) (rules.Peer, bool) {
		meant := sendable(a) && m.free(by.port, by.takeable, a)
		switch learned := m.learns(network, by.port, a); {
		case !learned:
			return m.peer(network, a), meant && !led
		case by.who == rules.None:
			return rules.Peer{Identity: there.nobodys(a), Address: a}, meant
		}
		return rules.Peer{Identity: by.who, Address: a}, meant
	})
}

// taker is a port, for all of its network that rules do not tell from it, with a range of
// which they may take addresses.
type taker struct {
	port *routing.Port
	takeable
	who rules.Identity
}

// takenBy adds what others may take of a range from which a port may send whatever
// routes say: it is then taken for them.
func (m *Model) takenBy(ctx context.Context, all []variant, r netip.Prefix, at *end, network string) (_ []variant, err error) {
	for _, by := range m.takers() {
		if !by.prefix.Overlaps(r) {
			continue
		}
		smaller := r
		if by.prefix.Bits() > r.Bits() {
			smaller = by.prefix
		}
		if all, err = m.takenOf(ctx, all, by, smaller, at, network, true); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (m *Model) takers() []taker {
	if m.takersOf != nil {
		return m.takersOf
	}
	type alike struct {
		network string
		takeable
		who rules.Identity
	}
	seen := map[alike]bool{}
	m.takersOf = []taker{}
	for _, p := range m.routing.Ports() {
		for _, t := range m.takeable(p) {
			if a := (alike{p.Network.Ref.UUID, t, m.who(p)}); !seen[a] && !down(p) {
				seen[a] = true
				m.takersOf = append(m.takersOf, taker{p, t, a.who})
			}
		}
	}
	return m.takersOf
}

// who a port is to rules, where routes lead to it.
func (m *Model) who(p *routing.Port) rules.Identity {
	if owner := m.policy.Port(p.Ref.UUID); owner != nil {
		return rules.Identity(owner.Workload.Identity)
	}
	return rules.None
}

// hasIn tells whether a port has an address of its own in the family of a prefix.
func hasIn(p *routing.Port, of netip.Prefix) bool {
	return slices.ContainsFunc(p.Addresses, func(a routing.PortAddress) bool { return a.IP.Is4() == of.Addr().Is4() })
}

// free tells whether a port may take an address: nobody's own, nor, if it must ask,
// one that somebody has taken.
func (m *Model) free(p *routing.Port, t takeable, a netip.Addr) bool {
	r := m.table(p.Network.Ref.UUID).find(a)
	switch {
	case r == nil || !r.Prefix.IsSingleIP() || r.OriginNetwork.UUID != p.Network.Ref.UUID:
		return true
	case r.Announced != 0:
		return !t.asked
	}
	return r.OriginKind == api.KindPort || r.OriginKind == api.KindRouteTable
}

// learns tells whether a network will have the route to an address that a port takes:
// its own comes first, and then that of whose routes it takes first.
func (m *Model) learns(network string, p *routing.Port, a netip.Addr) bool {
	home := p.Network.Ref.UUID
	if network == home {
		return true
	}
	n := m.routing.Network(network)
	if n == nil {
		return false
	}
	r := m.table(network).find(a)
	other := r != nil && r.Prefix.IsSingleIP() && r.OriginNetwork.UUID != home
	if other && !r.Leaked() {
		return false
	}
	for i := range n.Imports {
		switch from := n.Imports[i].Network.UUID; {
		case from == home:
			return true
		case other && from == r.OriginNetwork.UUID:
			return false
		}
	}
	return false
}
