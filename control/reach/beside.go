// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

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
// it, and to all else that routes lead to the other. Of addresses that rules and
// routes do not tell apart there is one, so they are not all ways there are, but
// nothing passes that does not pass by one of them.
func (m *Model) Beside(from, to *routing.Port) ([]Way, error) {
	if down(from) || down(to) {
		return nil, nil
	}
	led := m.table(from.Network.Ref.UUID).led[to.Ref.UUID]
	if len(from.Pairs)+len(from.Sources)+len(led) == 0 {
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
		sources = append(sources, m.variant(ingress, to.Network.Ref.UUID, a))
	}
	for _, b := range addresses(to) {
		if r := m.table(from.Network.Ref.UUID).find(b); r != nil && r.leadsTo(to) {
			targets = append(targets, m.variant(egress, from.Network.Ref.UUID, b))
		}
	}
	ownSources, ownTargets := len(sources), len(targets)
	sources, targets = append(sources, m.sources(from, to, ingress)...), append(targets, m.targets(from, to, egress)...)
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

// variant is an address as the rules at an end in a network see it.
func (m *Model) variant(at *end, network string, a netip.Addr) variant {
	peer := rules.Peer{Identity: m.seen(network, a), Address: a}
	return variant{peer, m.ask(at, peer)}
}

// sources are what a port may send from beside its own addresses. What lies behind
// it may as far as no route leads elsewhere more closely.
func (m *Model) sources(from, to *routing.Port, ingress *end) []variant {
	key := besideKey{from.Ref.UUID, to.Network.Ref.UUID, ingress.key, policy.Ingress}
	if known, is := m.beside[key]; is {
		return known
	}
	own, other := m.table(from.Network.Ref.UUID), m.table(to.Network.Ref.UUID)
	by := slices.Concat(ingress.ranges(), own.prefixes(), other.prefixes(), unsendable)
	var all []variant
	for _, p := range from.Pairs {
		all = m.alike(all, ingress, to.Network.Ref.UUID, p.Range, by, sendable)
	}
	for _, source := range from.Sources {
		all = m.alike(all, ingress, to.Network.Ref.UUID, source, by, func(a netip.Addr) bool {
			r := own.find(a)
			return sendable(a) && r != nil && r.Prefix == source && r.leadsTo(from)
		})
	}
	m.beside[key] = all
	return all
}

// targets are where routes of the sender's network lead to a port beside its own
// addresses.
func (m *Model) targets(from, to *routing.Port, egress *end) []variant {
	key := besideKey{to.Ref.UUID, from.Network.Ref.UUID, egress.key, policy.Egress}
	if known, is := m.beside[key]; is {
		return known
	}
	t := m.table(from.Network.Ref.UUID)
	by := append(egress.ranges(), t.prefixes()...)
	var all []variant
	for _, p := range t.led[to.Ref.UUID] {
		all = m.alike(all, egress, from.Network.Ref.UUID, p, by, func(a netip.Addr) bool {
			r := t.find(a)
			return r != nil && r.Prefix == p
		})
	}
	m.beside[key] = all
	return all
}

// alike adds those addresses of a range of which an end passes what it passes of no
// other one there is, among those that are meant.
func (m *Model) alike(all []variant, at *end, network string, r netip.Prefix, by []netip.Prefix, meant func(netip.Addr) bool) []variant {
	for _, a := range kinds(r, by) {
		if !meant(a) {
			continue
		}
		v := m.variant(at, network, a)
		if !slices.ContainsFunc(all, func(o variant) bool { return o.set == v.set || o.set.Family == v.set.Family && o.set.Equal(*v.set) }) {
			all = append(all, v)
		}
	}
	return all
}

func sendable(a netip.Addr) bool {
	return !slices.ContainsFunc(unsendable, func(p netip.Prefix) bool { return p.Contains(a) })
}

// kinds gives an address of each part of a range that prefixes tell apart: of what
// is in one of them, and in none that is inside this.
func kinds(r netip.Prefix, by []netip.Prefix) (all []netip.Addr) {
	inside := []netip.Prefix{r.Masked()}
	for _, p := range by {
		if p.Bits() > r.Bits() && r.Contains(p.Addr()) {
			inside = append(inside, p.Masked())
		}
	}
	slices.SortFunc(inside, func(p, q netip.Prefix) int {
		if c := p.Addr().Compare(q.Addr()); c != 0 {
			return c
		}
		return p.Bits() - q.Bits()
	})
	inside = slices.Compact(inside)
	for i, p := range inside {
		if a := bare(p, inside[i+1:]); a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// bare gives the first address of a prefix that is in none of those that follow it
// in their order, by address and length; none is invalid.
func bare(p netip.Prefix, following []netip.Prefix) netip.Addr {
	a := p.Addr()
	for _, q := range following {
		switch {
		case q.Contains(a):
			if a = last(q).Next(); !a.IsValid() || !p.Contains(a) {
				return netip.Addr{}
			}
		case q.Addr().Compare(a) > 0:
			return a
		}
	}
	return a
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch left := p.Bits() - 8*i; {
		case left <= 0:
			b[i] = 0xff
		case left < 8:
			b[i] |= 0xff >> left
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// NotExact says in words for which of some ports an answer may miss what they can
// say to each other.
func NotExact(from, to []*routing.Port) (all []string) {
	for _, of := range []struct {
		why   string
		meant func(*routing.Port) bool
	}{
		{"portSecurity is off, and any address that is nobody else's may be used", func(p *routing.Port) bool { return p.Unchecked }},
		{"the network forwards l2, where frames go by their MAC, whatever routes say", func(p *routing.Port) bool { return p.Network.Frames() }},
	} {
		var names []string
		more := 0
		seen := map[*routing.Port]bool{}
		for _, p := range slices.Concat(from, to) {
			switch {
			case seen[p] || !of.meant(p):
			case len(names) == maxNamed:
				more++
			default:
				names = append(names, p.Ref.String())
			}
			seen[p] = true
		}
		if len(names) > 0 {
			all = append(all, listed(names, more)+": "+of.why)
		}
	}
	return all
}

// maxNamed is how many ports an answer names of those about which it is not exact.
const maxNamed = 5

func listed(names []string, more int) string {
	text := "ports "
	if len(names) == 1 && more == 0 {
		text = "port "
	}
	text += strings.Join(names, ", ")
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
