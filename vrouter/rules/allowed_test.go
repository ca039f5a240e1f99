// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

// end is a random end: some layers, of which each has few rules.
func (w world) end() rules.End {
	var e rules.End
	for layer := range e.Rulesets {
		if w.chance(50) {
			r := w.ruleset()
			if layer >= int(rules.FirewallAdmin) && w.chance(70) {
				r.Outside, r.Identified = rules.Next, rules.Next
			}
			e.Rulesets[layer] = &r
		}
	}
	return e
}

func TestAllowedIsExactlyWhatBothEndsPass(t *testing.T) {
	in, out, inPart := 0, 0, 0
	for seed := range 3000 {
		w := world{rand.New(rand.NewPCG(uint64(seed), 4))}
		egress, ingress := w.end(), w.end()
		for range 5 {
			from := rules.Peer{Identity: rules.Identity(w.IntN(8)), Address: w.near(w.prefix())}
			to := rules.Peer{Identity: rules.Identity(w.IntN(8)), Address: w.near(w.prefix())}
			for to.Address.Is4() != from.Address.Is4() {
				to.Address = w.near(w.prefix())
			}
			set := rules.Allowed(egress, ingress, from, to)
			if flows := set.Flows(); len(flows) > 1 {
				inPart++
			}
			for range 30 {
				p := w.packet(rules.Ruleset{})
				if e := egress.Rulesets[w.IntN(int(rules.Layers))]; e != nil {
					p = w.packet(*e)
				}
				sent, got := p, p
				sent.Identity, sent.Remote = to.Identity, to.Address
				got.Identity, got.Remote = from.Identity, from.Address
				if rules.IsICMP(sent.Family(), p.Protocol) || !rules.HasPorts(p.Protocol) {
					sent.SourcePort, got.SourcePort = 0, 0
				}
				want := egress.Decide(sent).Action == rules.Pass && ingress.Decide(got).Action == rules.Pass
				if set.Contains(sent) != want {
					t.Fatalf("seed %d: %+v from %v to %v: passed is %v, but not in %+v\negress %+v\ningress %+v", seed, p, from, to, want, set.Flows(), egress, ingress)
				}
				if want {
					in++
				} else {
					out++
				}
			}
		}
	}
	t.Logf("%d packets in, %d not; %d sets of more than one flow", in, out, inPart)
	if in < 10_000 || out < 10_000 || inPart < 1000 {
		t.Error("too few of one kind")
	}
}

func TestSetsAreWrittenAlike(t *testing.T) {
	one := func(first, last uint16) rules.Set { return service(ports(first, last)[0]) }
	low, high := one(0, 1023), one(1024, 65535)
	if whole := one(0, 65535); !low.Union(high).Equal(whole) || !whole.Minus(low).Equal(high) || !low.Intersect(high).Empty() {
		t.Errorf("0-1023 and 1024-65535: %+v", low.Union(high).Flows())
	}
	from := func(first, last uint16) rules.Set {
		return service(rules.Service{Protocol: rules.TCP, SourcePorts: &rules.Range{First: first, Last: last}})
	}
	if whole := from(0, 65535); !from(0, 99).Union(from(100, 65535)).Equal(whole) || !from(0, 200).Union(from(100, 65535)).Equal(one(0, 65535)) || len(whole.Flows()) != 1 {
		t.Errorf("source ports 0-99 and 100-65535: %+v", from(0, 99).Union(from(100, 65535)).Flows())
	}
	all := rules.All(4)
	if !all.Minus(low).Union(low).Equal(all) || !all.Minus(all).Empty() {
		t.Errorf("all less some and some: %+v", all.Minus(low).Union(low).Flows())
	}
}

// service is what one service allows to any IPv4 address.
func service(s rules.Service) rules.Set {
	e := rules.End{}
	e.Rulesets[rules.SecurityGroup] = &rules.Ruleset{Outside: rules.Deny, Identified: rules.Deny, Rules: []rules.Rule{{Action: rules.Pass, Services: []rules.Service{s}}}}
	return e.Allowed(rules.Peer{Address: netip.MustParseAddr("10.0.0.1")})
}

func BenchmarkAllowed(b *testing.B) {
	r := rules.Ruleset{Outside: rules.Deny, Identified: rules.Deny}
	for i := range 10_000 {
		r.Rules = append(r.Rules, rules.Rule{Action: rules.Pass, Services: ports(uint16(2*i), uint16(2*i))})
	}
	e := rules.End{}
	e.Rulesets[rules.SecurityGroup] = &r
	for b.Loop() {
		if n := len(e.Allowed(rules.Peer{Address: netip.MustParseAddr("10.0.0.1")}).Flows()[0].Ports); n != 10_000 {
			b.Fatal(n)
		}
	}
}

func TestAnExampleIsInItsSet(t *testing.T) {
	for seed := range 3000 {
		w := world{rand.New(rand.NewPCG(uint64(seed), 5))}
		end, peer := w.end(), rules.Peer{Identity: rules.Identity(w.IntN(8)), Address: w.near(w.prefix())}
		set := end.Allowed(peer)
		p, found := set.Example()
		p.Identity, p.Remote = peer.Identity, peer.Address
		if found == set.Empty() || found && !set.Contains(p) {
			t.Fatalf("seed %d: %+v, found %v, of %+v", seed, p, found, set.Flows())
		}
	}
}
