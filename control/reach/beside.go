// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/vrouter/rules"
)

// unsendable is what no workload sends from, whatever its pairs and routes say.
var unsendable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("::/128"), netip.MustParsePrefix("ff00::/8"),
}

// variant is an address of a port, or one of many alike, and what the other end
// passes of it.
type variant struct {
	rules.Peer
	set *rules.Set
}

// besideKey is all that the variants of a port follow from: to the rules and routes
// of whom it speaks to, or hears.
type besideKey struct {
	port, network, end string
	direction          policy.Direction
}

// Beside are the further ways from one port to another: from what it may send from
// beside its own addresses, which are its allowed address pairs and what lies behind
// it, and to all else that routes lead to the other; and of both the addresses that
// they may take. Of addresses that rules and routes do not tell apart there is one, so
// they are not all ways there are, but nothing passes that does not pass by one of them.
func (m *Model) Beside(ctx context.Context, from, to *routing.Port) ([]Way, error) {
	if down(from) || down(to) {
		return nil, nil
	}
	led := m.table(from.Network.Ref.UUID).led[to.Ref.UUID]
	if len(from.Pairs)+len(from.Sources)+len(led) == 0 && len(m.takeable(from))+len(m.takeable(to)) == 0 {
		return nil, nil
	}
	egress, err := m.endOf(from.Ref.UUID, policy.Egress)
	if err != nil {
		return nil, err
	}
	ingress, err := m.endOf(to.Ref.UUID, policy.Ingress)
	if err != nil {
		return nil, err
	}
	var sources, targets []variant
	for _, a := range addresses(from) {
		sources = append(sources, m.variant(ingress, m.peer(to.Network.Ref.UUID, a)))
	}
	for _, b := range addresses(to) {
		if r := m.table(from.Network.Ref.UUID).find(b); r != nil && r.leadsTo(to) {
			targets = append(targets, m.variant(egress, m.peer(from.Network.Ref.UUID, b)))
		}
	}
	ownSources, ownTargets := len(sources), len(targets)
	more, err := m.sources(ctx, from, to, ingress)
	if err != nil {
		return nil, err
	}
	sources = append(sources, more...)
	if more, err = m.targets(ctx, from, to, egress); err != nil {
		return nil, err
	}
	targets = append(targets, more...)
	var ways []Way
	for i, a := range sources {
		for j, b := range targets {
			if a.Address.Is4() == b.Address.Is4() && (i >= ownSources || j >= ownTargets) {
				ways = append(ways, Way{a.Peer, b.Peer, m.together(b.set, a.set), egress, ingress})
			}
		}
	}
	return ways, nil
}

// down tells whether nothing passes a port.
func down(p *routing.Port) bool { return p.Disabled || p.Network.Disabled }

// peer is an address as the rules of a network's ports see it.
func (m *Model) peer(network string, a netip.Addr) rules.Peer {
	return rules.Peer{Identity: m.seen(network, a), Address: a}
}

// variant is what an end passes of another one.
func (m *Model) variant(at *end, p rules.Peer) variant { return variant{p, m.ask(at, p)} }

// sources are what a port may send from beside its own addresses. What lies behind it
// may where no route is longer, nor another prefix that the host has of the port: the
// longest decides alone.
func (m *Model) sources(ctx context.Context, from, to *routing.Port, ingress *end) (all []variant, err error) {
	key := besideKey{from.Ref.UUID, to.Network.Ref.UUID, ingress.key, policy.Ingress}
	if known, is := m.beside[key]; is {
		return known, nil
	}
	own, other := m.table(from.Network.Ref.UUID), m.table(to.Network.Ref.UUID)
	by := slices.Concat(ingress.ranges(), own.prefixes(), other.prefixes(), unsendable)
	for _, p := range from.Pairs {
		if all, err = m.alike(ctx, all, ingress, p.Range, by, func(a netip.Addr) (rules.Peer, bool) {
			return m.peer(to.Network.Ref.UUID, a), sendable(a)
		}); err != nil {
			return nil, err
		}
		if all, err = m.takenBy(ctx, all, p.Range, ingress, to.Network.Ref.UUID); err != nil {
			return nil, err
		}
	}
	decisive := slices.Concat(m.probed(from), from.Sources)
	by = append(by, decisive...)
	for _, source := range from.Sources {
		if all, err = m.alike(ctx, all, ingress, source, by, func(a netip.Addr) (rules.Peer, bool) {
			r := own.find(a)
			refused := slices.ContainsFunc(decisive, func(p netip.Prefix) bool { return p.Bits() > source.Bits() && p.Contains(a) })
			return m.peer(to.Network.Ref.UUID, a), sendable(a) && r != nil && r.Prefix == source && !refused
		}); err != nil {
			return nil, err
		}
	}
	if all, err = m.taken(ctx, all, from, ingress, to.Network.Ref.UUID, false); err != nil {
		return nil, err
	}
	m.beside[key] = all
	return all, nil
}

// targets are where routes of the sender's network lead to a port beside its own
// addresses, or will once it has taken an address.
func (m *Model) targets(ctx context.Context, from, to *routing.Port, egress *end) (all []variant, err error) {
	key := besideKey{to.Ref.UUID, from.Network.Ref.UUID, egress.key, policy.Egress}
	if known, is := m.beside[key]; is {
		return known, nil
	}
	t := m.table(from.Network.Ref.UUID)
	by := append(egress.ranges(), t.prefixes()...)
	for _, p := range t.led[to.Ref.UUID] {
		if all, err = m.alike(ctx, all, egress, p, by, func(a netip.Addr) (rules.Peer, bool) {
			r := t.find(a)
			return m.peer(from.Network.Ref.UUID, a), r != nil && r.Prefix == p
		}); err != nil {
			return nil, err
		}
	}
	if all, err = m.taken(ctx, all, to, egress, from.Network.Ref.UUID, true); err != nil {
		return nil, err
	}
	m.beside[key] = all
	return all, nil
}

// alike adds those addresses of a range of which an end passes what it passes of no
// other one there is, among those that are meant, as whoever they are seen then.
func (m *Model) alike(ctx context.Context, all []variant, at *end, r netip.Prefix, by []netip.Prefix, as func(netip.Addr) (p rules.Peer, meant bool)) ([]variant, error) {
	pieces, err := piecesOf(r, by)
	if err != nil {
		return nil, err
	}
	for _, a := range pieces {
		if err := late(ctx); err != nil {
			return nil, err
		}
		p, meant := as(a)
		if !meant {
			continue
		}
		v := m.variant(at, p)
		if !slices.ContainsFunc(all, func(o variant) bool { return o.set == v.set || o.set.Family == v.set.Family && o.set.Equal(*v.set) }) {
			all = append(all, v)
		}
	}
	return all, nil
}

func sendable(a netip.Addr) bool {
	return !slices.ContainsFunc(unsendable, func(p netip.Prefix) bool { return p.Contains(a) })
}
