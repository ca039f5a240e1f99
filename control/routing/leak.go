// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// runImports finds which networks are joined by which policy. A pair joined by
// several policies is joined once, by the first of them by name.
func (u *update) runImports() {
	attached := map[string][]*Network{} // by policy
	for _, a := range api.ListOf[*api.NetworkPolicyAttachment](u.snapshot, api.KindNetworkPolicyAttachment) {
		network := u.networks[a.Spec.Network.UUID]
		if members := attached[a.Spec.Policy.UUID]; network != nil && !slices.Contains(members, network) {
			attached[a.Spec.Policy.UUID] = append(members, network)
		}
	}
	imports := map[string][]Import{} // by the importing network
	joined := map[[2]*Network]bool{}
	for _, p := range api.ListOf[*api.NetworkPolicy](u.snapshot, api.KindNetworkPolicy) {
		policy := api.RefTo(p)
		joinPairs(p, attached[p.Meta.UUID], func(a, b *Network) {
			if !joined[[2]*Network{a, b}] {
				joined[[2]*Network{a, b}] = true
				imports[a.Ref.UUID] = append(imports[a.Ref.UUID], Import{Network: b.Ref, Policy: policy})
			}
		})
	}
	u.setImports(imports)
}

// setImports gives the networks what they import, and notes what follows.
func (u *update) setImports(imports map[string][]Import) {
	u.importers = map[string][]string{}
	for _, n := range u.Networks {
		uuid := n.Ref.UUID
		now := imports[uuid]
		slices.SortFunc(now, func(a, b Import) int {
			return cmp.Or(compareRefs(a.Policy, b.Policy), compareRefs(a.Network, b.Network))
		})
		for _, imp := range now {
			u.importers[imp.Network.UUID] = append(u.importers[imp.Network.UUID], uuid)
			if u.dirty[imp.Network.UUID] { // also one that was away
				u.leaks[uuid] = true
			}
		}
		before := u.networks[uuid].Imports
		if slices.Equal(before, now) {
			continue
		}
		u.leaks[uuid] = true
		for _, imp := range slices.Concat(before, now) {
			u.admits[imp.Network.UUID] = true
		}
		u.own(uuid).Imports = now
	}
}

// joinPairs calls join for each ordered pair of members that a rule of the
// policy joins. It says the same as NetworkPolicy.Joins for every pair, without
// asking every rule about every pair.
func joinPairs(p *api.NetworkPolicy, members []*Network, join func(a, b *Network)) {
	for _, rule := range p.Spec.Rules {
		for _, a := range members {
			if !rule.Source.Matches(a.Ref.UUID) {
				continue
			}
			for _, b := range members {
				if a != b && rule.Destination.Matches(b.Ref.UUID) {
					join(a, b)
					join(b, a)
				}
			}
		}
	}
}

// leak fills a network's VRF: its own routes, then those of the networks it is
// joined with. Gateways stay at home, and what was leaked in is not lent on.
func (d *Derived) leak(n *Network) {
	n.ConflictCount, n.conflicts = 0, nil
	if len(n.Imports) == 0 {
		n.Routes = n.Own
		return
	}
	holder := make(map[netip.Prefix]Route, len(n.Own))
	for _, r := range n.Own {
		holder[r.Prefix] = r
	}
	n.Routes = slices.Clone(n.Own)
	var conflicts []Conflict
	for _, imp := range n.Imports {
		from := d.networks[imp.Network.UUID]
		conflicts = append(conflicts, overlaps(n, from, imp.Policy)...)
		for _, r := range from.Own {
			if r.Gateway {
				continue
			}
			r.LeakedBy = imp.Policy
			if winner, taken := holder[r.Prefix]; taken {
				conflicts = append(conflicts, Conflict{n.Ref, SamePrefix, r.Prefix, claimantOf(winner), claimantOf(r)})
				continue
			}
			holder[r.Prefix] = r
			n.Routes = append(n.Routes, r)
		}
	}
	slices.SortFunc(n.Routes, compareRoutes)
	n.ConflictCount = len(conflicts)
	slices.SortStableFunc(conflicts, func(a, b Conflict) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), compareRefs(a.Loser.Policy, b.Loser.Policy), compareRefs(a.Loser.Network, b.Loser.Network))
	})
	n.conflicts = conflicts[:min(len(conflicts), maxConflicts)]
}

// overlaps reports the subnets of a joined network that overlap one of n's.
func overlaps(n, from *Network, policy api.Ref) []Conflict {
	var conflicts []Conflict
	for _, own := range n.Subnets {
		for _, other := range from.Subnets {
			if own.CIDR.Overlaps(other.CIDR) {
				conflicts = append(conflicts, Conflict{n.Ref, OverlappingSubnets, other.CIDR,
					Claimant{Origin: own.Ref, Network: n.Ref}, Claimant{Origin: other.Ref, Network: from.Ref, Policy: policy}})
			}
		}
	}
	return conflicts
}

func claimantOf(r Route) Claimant {
	return Claimant{Origin: r.Origin, Network: r.OriginNetwork, Policy: r.LeakedBy}
}

// compareRefs orders by name; the UUID breaks ties of names that the store rules out.
func compareRefs(a, b api.Ref) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
}
