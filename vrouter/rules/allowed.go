// SPDX-License-Identifier: Apache-2.0

package rules

import "net/netip"

// Peer is one end as the rules of the other see it.
type Peer struct {
	Identity Identity
	Address  netip.Addr
}

// Allowed is exactly what may be said from one peer to another: what the sender's egress passes to the receiver, and the receiver's ingress from the sender.
func Allowed(egress, ingress End, from, to Peer) Set {
	return egress.Allowed(to).Intersect(ingress.Allowed(from))
}

// Allowed is exactly what an end passes to, or from, a remote end.
func (e End) Allowed(remote Peer) Set {
	f := family(remote.Address)
	open := All(f)
	for layer, ruleset := range e.Rulesets[:FirewallAdmin] {
		if ruleset != nil {
			passed, next := e.Rulesets[layer].allowed(remote)
			open = open.Intersect(passed.Union(next))
		}
	}
	allowed := Nothing(f)
	for _, ruleset := range e.Rulesets[FirewallAdmin:] {
		if ruleset != nil {
			passed, next := ruleset.allowed(remote)
			allowed = allowed.Union(open.Intersect(passed))
			open = open.Intersect(next)
		}
	}
	return allowed.Union(open)
}

// allowed is what a ruleset passes, and what it leaves to the next tier.
func (r Ruleset) allowed(remote Peer) (passed, next Set) {
	p := Packet{Identity: remote.Identity, Remote: remote.Address}
	f := p.Family()
	left := All(f)
	passed, next = Nothing(f), Nothing(f)
	decide := func(what Set, a Action) {
		switch a {
		case Pass:
			passed = passed.Union(what)
		case Next:
			next = next.Union(what)
		}
	}
	for rest := r.matching(p); len(rest) > 0 && !left.Empty(); {
		run := 1 // rules in a row that say the same are one
		for run < len(rest) && rest[run].Action == rest[0].Action {
			run++
		}
		matched := left.Intersect(services(rest[:run], f))
		decide(matched, rest[0].Action)
		left, rest = left.Minus(matched), rest[run:]
	}
	decide(left, r.unmatched(p.Identity).Action)
	return passed, next
}

// matching are the rules that decide about a remote end, each with what it then says.
func (r Ruleset) matching(p Packet) []Rule {
	var out []Rule
	for _, rule := range r.Rules {
		if rule.Audit || !rule.matchesRemote(p) {
			continue
		}
		if p.Identity == Pending && rule.Remote == Workloads {
			rule.Action = DropPending
		}
		out = append(out, rule)
	}
	return out
}

// SetOf is what services match in a family; none is all.
func SetOf(services []Service, family uint8) Set { return Rule{Services: services}.services(family) }

// services is what the services of one of the rules match. It is put together from halves, so that many rules cost little more than their number.
func services(of []Rule, f uint8) Set {
	if len(of) == 1 {
		return of[0].services(f)
	}
	return services(of[:len(of)/2], f).Union(services(of[len(of)/2:], f))
}

// services is what the services of a rule match.
func (r Rule) services(f uint8) Set {
	if len(r.Services) == 0 {
		return All(f)
	}
	out := Nothing(f)
	for _, s := range r.Services {
		out = out.Union(s.set(f))
	}
	return out
}

func (s Service) set(f uint8) Set {
	out := Nothing(f)
	if len(s.ofFamilies([]uint8{f})) == 0 {
		return out
	}
	if s.anything() {
		return All(f)
	}
	first, last := s.span16()
	sources := everyPort
	if s.SourcePorts != nil {
		sources = *s.SourcePorts
	}
	for _, protocol := range s.protocols() {
		out.planes[uint16(protocol)] = plane{{sources, []Range{{first, last}}}}
	}
	return out
}
