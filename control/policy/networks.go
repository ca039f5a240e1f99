// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// networkPolicies is what the network-policies say to which a port's network is
// attached: their rules, by name and as written; then what is of the same
// network, or of one that a route-target joins, passes, and other networks do not.
func (a *asking) networkPolicies() (rulesets [Directions]*Ruleset) {
	if done, ok := a.update.networks[a.Network]; ok {
		return done
	}
	policies := a.objects.policiesOf(a.Network)
	if len(policies) == 0 {
		return rulesets
	}
	network, ok := get[*api.Network](a.snapshot, api.KindNetwork, a.Network)
	if !ok {
		return rulesets
	}
	var owners []*hoststream.Rule
	for _, p := range policies {
		owners = append(owners, asRule(p, ""))
	}
	before := a.byAddress
	a.byAddress = false
	for d := range Directions {
		b := a.build(api.ActionPass, api.ActionDeny)
		b.message.Name = "network-policies of network " + network.Meta.FQName
		for i, p := range policies {
			for j := range p.Spec.Rules {
				a.networkRule(b, d, p, owners[i], j)
			}
		}
		a.joined(b, network)
		rulesets[d] = a.intern(b)
	}
	if !a.byAddress && !slices.ContainsFunc(policies, namesPorts) {
		a.update.networks[a.Network] = rulesets
	}
	a.byAddress = a.byAddress || before
	return rulesets
}

// namesPorts tells whether a rule says a port by its name: then what a workload is
// asked follows from its own names, and from those of the others.
func namesPorts(p *api.NetworkPolicy) bool {
	return slices.ContainsFunc(p.Spec.Rules, func(r api.NetworkPolicyRule) bool {
		return slices.ContainsFunc(r.Services, func(m api.Match) bool { return m.PortName != "" })
	})
}

// networkRule adds a rule in the ways in which it is asked at the port.
func (a *asking) networkRule(b *builder, d Direction, p *api.NetworkPolicy, owner *hoststream.Rule, index int) {
	r := &p.Spec.Rules[index]
	says := &hoststream.Rule{
		Object: owner.Object, Kind: owner.Kind, Name: owner.Name, Owner: owner.Owner, Index: uint32(index + 1), Action: string(r.Action), Log: r.Log, Audit: r.Audit,
	}
	for i, way := range read(d, r.Direction, &r.Source, &r.Destination) {
		b.mirror = i > 0
		in := a.inNetwork(p, way.here)
		to := a.networksOf(p, way.here, way.there)
		if in == 0 || to.nobody() {
			continue
		}
		asked := way.there
		if d == Ingress {
			asked = way.here
		}
		nameless := asked.Range.IsValid() || !asked.Subnet.IsZero()
		spoken := servicesOf(r.Services, both)
		a.put(b, d, &rule{Rule: says, to: to, spoken: spoken, plain: plain(spoken), all: len(r.Services) == 0, in: in, nameless: nameless})
	}
}

// inNetwork tells for which families a port is what one side of a rule means.
func (a *asking) inNetwork(p *api.NetworkPolicy, s *api.NetworkSelector) families {
	yes := false
	switch {
	case !s.Network.IsZero():
		yes = s.Network.UUID == a.Network
	case !s.Policy.IsZero():
		for _, n := range a.objects.networksOf(s.Policy.UUID) {
			yes = yes || n.UUID == a.Network
		}
	case !s.Subnet.IsZero():
		subnet, ok := get[*api.Subnet](a.snapshot, api.KindSubnet, s.Subnet.UUID)
		if !ok || !subnet.Spec.CIDR.IsValid() {
			return 0
		}
		return a.hasAddress([]netip.Prefix{subnet.Spec.CIDR}, nil)
	case s.Range.IsValid():
		return a.hasAddress([]netip.Prefix{s.Range}, nil)
	default: // any network attached to the policy, or this one of them
		yes = true
	}
	if yes {
		return both
	}
	return 0
}

// hasAddress tells of which families a port has addresses in ranges. It follows
// from which port it is.
func (a *asking) hasAddress(ranges, except []netip.Prefix) families {
	a.byAddress = true
	return addressesIn(a.at, ranges, except)
}

// networksOf is the other end as one side of a rule means it.
func (a *asking) networksOf(p *api.NetworkPolicy, here, there *api.NetworkSelector) (to remote) {
	networks := func(refs []api.Ref) remote {
		to.workloads = true
		for _, n := range refs {
			to.criteria = append(to.criteria, choose(&criterion{network: n.UUID}))
		}
		return to
	}
	switch {
	case !there.Network.IsZero():
		return networks([]api.Ref{there.Network})
	case !there.Policy.IsZero():
		return networks(a.objects.networksOf(there.Policy.UUID))
	case !there.Subnet.IsZero():
		if subnet, ok := get[*api.Subnet](a.snapshot, api.KindSubnet, there.Subnet.UUID); ok && subnet.Spec.CIDR.IsValid() {
			to.ranges = []netip.Prefix{subnet.Spec.CIDR}
		}
		return to
	case there.Range.IsValid():
		to.ranges = []netip.Prefix{there.Range}
		return to
	case there.Local && here.Local:
		return networks([]api.Ref{{UUID: a.Network}})
	}
	return networks(a.objects.networksOf(p.Meta.UUID))
}

// joined passes what no network-policy has a say in.
func (a *asking) joined(b *builder, network *api.Network) {
	b.mirror = false
	pass := func(says *hoststream.Rule, network string) {
		b.emit(says, &remote{workloads: true, criteria: []chosen{choose(&criterion{network: network})}}, nil, both)
	}
	pass(asRule(network, api.ActionPass), network.Meta.UUID)
	n := a.Routing.Network(network.Meta.UUID)
	if n == nil {
		return
	}
	for i := range n.Imports {
		imp := &n.Imports[i]
		if target, ok := get[*api.RouteTarget](a.snapshot, api.KindRouteTarget, imp.Target.UUID); ok {
			pass(asRule(target, api.ActionPass), imp.Network.UUID)
		}
	}
}
