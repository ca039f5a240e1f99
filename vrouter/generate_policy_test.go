// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

// identity is one of few, so that rules meet them.
func (g *generator) identity() rules.Identity {
	return pick(g, rules.None, rules.None, rules.Identity(2), 3, 4, 5, 1<<63+6)
}

// policy gives routes and ports identities, and ports something to ask.
func (g *generator) policy() {
	g.o.PortPolicies, g.o.Rulesets, g.o.Managed = map[int]PortPolicy{}, map[uint32]rules.Ruleset{}, map[RouteKey]struct{}{}
	for _, key := range sortedRoutes(g.o.Routes) {
		route := g.o.Routes[key]
		route.Identity = g.identity()
		g.o.Routes[key] = route
	}
	for vrf := uint32(1); vrf <= 3; vrf++ {
		for _, six := range []bool{false, true} {
			if g.chance(40) {
				a := poolAddress(six, 0)
				bits := a.BitLen() - pick(g, 3, 4, 5, 8)
				g.o.Managed[RouteKey{vrf, netip.PrefixFrom(a, bits).Masked()}] = struct{}{}
			}
			for range g.IntN(4) { // a subnet may be one address
				g.o.Managed[RouteKey{vrf, host(poolAddress(six, g.IntN(poolSize)))}] = struct{}{}
			}
		}
	}
	for range 1 + g.IntN(6) {
		g.ruleset()
	}
	for _, ifindex := range slices.Sorted(maps.Keys(g.o.Ports)) {
		if g.chance(45) {
			port := g.o.Ports[ifindex]
			port.Policed, port.Stateless = true, g.chance(40)
			g.o.Ports[ifindex] = port
		}
		if g.chance(95) {
			g.o.PortPolicies[ifindex] = g.portPolicy()
		}
		if p, there := g.o.PortPolicies[ifindex]; there && g.o.Ports[ifindex].Stateless { // each way asks another
			for direction := range p.Rulesets {
				p.Rulesets[direction][rules.SecurityGroup] = pick(g, slices.Sorted(maps.Keys(g.o.Rulesets))...)
			}
			g.o.PortPolicies[ifindex] = p
		}
	}
	g.rejecting()
	g.occupied()
}

func sortedRoutes[V any](routes map[RouteKey]V) []RouteKey {
	return slices.SortedFunc(maps.Keys(routes), func(a, b RouteKey) int {
		if a.VRF != b.VRF {
			return int(a.VRF) - int(b.VRF)
		}
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		return a.Prefix.Bits() - b.Prefix.Bits()
	})
}

// portPolicy is most often little: what each layer lets through is rare enough.
func (g *generator) portPolicy() PortPolicy {
	p := PortPolicy{Identity: g.identity(), ConnectionLimit: g.limit(), Stateless: g.chance(90), Rulesets: g.asked()}
	if g.chance(25) {
		p.Strict, p.Former, p.FormerStateless = true, g.asked(), g.chance(60)
	}
	return p
}

func (g *generator) asked() (sets [rules.Directions][rules.Layers]uint32) {
	all := slices.Sorted(maps.Keys(g.o.Rulesets))
	for direction := range sets {
		for layer := range sets[direction] {
			if g.chance(30) {
				sets[direction][layer] = all[g.IntN(len(all))]
			}
			if g.chance(1) {
				sets[direction][layer] = 99 // not there
			}
		}
	}
	return sets
}

// ruleset makes one of a few rules and remembers what it is compiled into.
func (g *generator) ruleset() {
	r := rules.Ruleset{Outside: pick(g, rules.Pass, rules.Pass, rules.Next, rules.Deny), Identified: pick(g, rules.Pass, rules.Pass, rules.Next, rules.Reject), Rest: pick(g, 0, uint32(201+g.IntN(9)))}
	for range g.IntN(5) {
		r.Rules = append(r.Rules, g.rule())
	}
	g.o.Rulesets[compiled(r).ID] = r
}

func compiled(r rules.Ruleset) *rules.Compiled {
	c, err := rules.Compile(r)
	if err != nil {
		panic(err)
	}
	return c
}

func (g *generator) rule() rules.Rule {
	r := rules.Rule{
		Number: 1 + uint32(g.IntN(200)), Action: pick(g, rules.Pass, rules.Pass, rules.Pass, rules.Next, rules.Deny, rules.Reject),
		Remote: pick(g, rules.Anybody, rules.Workloads, rules.Workloads, rules.Addresses), Log: g.chance(30), Audit: g.chance(15),
	}
	switch r.Remote {
	case rules.Workloads:
		for range 1 + g.IntN(3) {
			if id := g.identity(); id != rules.None {
				r.Identities = append(r.Identities, id)
			}
		}
	case rules.Addresses:
		for range 1 + g.IntN(3) {
			r.Ranges = append(r.Ranges, g.policyRange())
		}
		if g.chance(30) {
			r.Except = append(r.Except, g.policyRange())
		}
	}
	for range pick(g, 0, 1, 1, 2) {
		r.Services = append(r.Services, g.policyService())
	}
	return r
}

func (g *generator) policyRange() netip.Prefix {
	six := g.chance(50)
	a := poolAddress(six, pick(g, g.IntN(poolSize), 100+g.IntN(16), 200))
	return netip.PrefixFrom(a, a.BitLen()-pick(g, 0, 1, 2, 3, 5, 8, 12)).Masked()
}

func (g *generator) policyService() rules.Service {
	s := rules.Service{Family: pick(g, uint8(0), 0, 4, 6), Protocol: pick(g, uint8(6), 6, 17, 17, 132, 50, 1, 58)}
	octet := func(n int) *uint8 { o := uint8(n); return &o }
	switch s.Protocol {
	case 1:
		s.Family = 4
		if g.chance(70) {
			s.ICMPType = octet(pick(g, 8, 8, 0, 3, 11, 13))
		}
	case 58:
		s.Family = 6
		if g.chance(70) {
			s.ICMPType = octet(pick(g, 128, 128, 129, 3, 127))
		}
	case 50:
	default:
		s.AnyProtocol = g.chance(15)
		if g.chance(75) {
			s.Ports = g.ports()
		}
		if g.chance(20) {
			s.SourcePorts = g.ports()
		}
	}
	if s.ICMPType != nil && g.chance(50) {
		s.ICMPCode = octet(pick(g, 0, 0, 1))
	}
	return s
}

// ports are some that frames here have, or a good part of all.
func (g *generator) ports() *rules.Range {
	first := pick(g, 0, 1000, 2000, 2001, 9, g.IntN(1<<16), 256*g.IntN(256))
	return &rules.Range{First: uint16(first), Last: uint16(min(1<<16-1, first+pick(g, 0, 1, 255, 1000, 30000, 1<<16)))}
}

func installPolicy(t testing.TB, d *Datapath, o *Oracle) {
	t.Helper()
	keep := map[uint32]bool{}
	for id, r := range o.Rulesets {
		check(t, d.PutRuleset(compiled(r)))
		keep[id] = true
	}
	check(t, replace(d.PortPolicies, o.PortPolicies))
	have, err := d.Managed.All()
	check(t, err)
	for k := range have {
		check(t, d.Managed.Delete(k))
	}
	for k, v := range o.Managed {
		check(t, d.Managed.Put(k, v))
	}
	check(t, d.KeepRulesets(keep))
}

// churnPolicy changes what a port asks, or whose an address is.
func (g *generator) churnPolicy(t testing.TB, d *Datapath) {
	t.Helper()
	ifindex := 1 + g.IntN(testPorts)
	switch g.IntN(6) {
	case 0, 1, 2:
		g.ruleset()
		for id, r := range g.o.Rulesets {
			if _, known, err := d.Rulesets.Get(id); !known {
				check(t, err)
				check(t, d.PutRuleset(compiled(r)))
			}
		}
		g.o.PortPolicies[ifindex] = g.portPolicy()
		check(t, d.PortPolicies.Put(ifindex, g.o.PortPolicies[ifindex]))
	case 3:
		port := g.o.Ports[ifindex]
		port.Policed, port.Stateless = !port.Policed, g.chance(25)
		g.o.Ports[ifindex] = port
		check(t, d.Ports.Put(ifindex, port))
	case 4:
		keys := sortedRoutes(g.o.Routes)
		key := keys[g.IntN(len(keys))]
		route := g.o.Routes[key]
		route.Identity = g.identity()
		g.o.Routes[key] = route
		check(t, d.Routes.Put(key, route))
	case 5:
		a := poolAddress(g.chance(50), 8*g.IntN(3))
		key := RouteKey{uint32(1 + g.IntN(2)), netip.PrefixFrom(a, a.BitLen()-3).Masked()}
		if _, known := g.o.Managed[key]; known {
			delete(g.o.Managed, key)
			check(t, d.Managed.Delete(key))
		} else {
			g.o.Managed[key] = struct{}{}
			check(t, d.Managed.Put(key, struct{}{}))
		}
	}
}

func forgetHits(t testing.TB, d *Datapath) {
	t.Helper()
	hits, err := d.RuleHits()
	check(t, err)
	for rule := range hits {
		check(t, d.ForgetRuleHits(rule))
	}
}

// compareHits compares how often each rule decided.
func compareHits(t *testing.T, d *Datapath, o *Oracle) {
	t.Helper()
	got, err := d.RuleHits()
	check(t, err)
	if !maps.Equal(got, o.RuleHits) {
		t.Fatalf("hits\n %v\nwant\n %v", got, o.RuleHits)
	}
}
