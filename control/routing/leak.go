// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// runImports finds which networks take the routes of which, by network-policies
// and by route-targets. One that takes them in several ways takes them once: by
// a policy rather than a route-target, by the first of its kind by name. One
// that forwards frames only has no part in it.
func (u *update) runImports() {
	attached := map[string][]*Network{} // by policy
	for _, a := range api.ListOf[*api.NetworkPolicyAttachment](u.snapshot, api.KindNetworkPolicyAttachment) {
		network := u.networks[a.Spec.Network.UUID]
		if members := attached[a.Spec.Policy.UUID]; network != nil && !slices.Contains(members, network) {
			attached[a.Spec.Policy.UUID] = append(members, network)
		}
	}
	imports := map[string][]Import{} // by the importing network
	joined := map[[2]*Network]int{}  // place among the imports, from 1
	take := func(a, b *Network, kind api.Kind, by api.Ref) {
		if a.Frames() || b.Frames() {
			return
		}
		pair := [2]*Network{a, b}
		all := imports[a.Ref.UUID]
		if joined[pair] == 0 {
			all = append(all, Import{Network: b.Ref, Kind: kind, By: by})
			imports[a.Ref.UUID], joined[pair] = all, len(all)
		}
		if i := joined[pair] - 1; kind == api.KindRouteTarget && all[i].Target.IsZero() {
			all[i].Target = by
		}
	}
	for _, p := range api.ListOf[*api.NetworkPolicy](u.snapshot, api.KindNetworkPolicy) {
		policy := api.RefTo(p)
		joinPairs(p, attached, func(a, b *Network) {
			take(a, b, api.KindNetworkPolicy, policy)
		})
	}
	u.eachTarget(func(importer, exporter *Network, target api.Ref) {
		take(importer, exporter, api.KindRouteTarget, target)
	})
	u.setImports(imports)
}

// setImports gives the networks what they import, and notes what follows.
func (u *update) setImports(imports map[string][]Import) {
	u.importers = map[string][]string{}
	for _, n := range u.Networks {
		uuid := n.Ref.UUID
		now := imports[uuid]
		slices.SortFunc(now, func(a, b Import) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), compareRefs(a.By, b.By), compareRefs(a.Network, b.Network))
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

// eachTarget calls visit for every network that imports from a route-target to
// which another network exports, targets in the order of their names. A
// route-target stands for itself and not for its community: who may name it has
// been checked, and another object cannot say the same.
func (u *update) eachTarget(visit func(importer, exporter *Network, target api.Ref)) {
	importers, exporters := map[string][]*Network{}, map[string][]*Network{} // by route-target
	for _, o := range api.ListOf[*api.Network](u.snapshot, api.KindNetwork) {
		n := u.networks[o.Meta.UUID]
		if n == nil {
			continue
		}
		for _, t := range o.Spec.ImportTargets {
			importers[t.UUID] = append(importers[t.UUID], n)
		}
		for _, t := range o.Spec.ExportTargets {
			exporters[t.UUID] = append(exporters[t.UUID], n)
		}
	}
	if len(importers) == 0 || len(exporters) == 0 {
		return
	}
	for _, t := range api.ListOf[*api.RouteTarget](u.snapshot, api.KindRouteTarget) {
		target := api.RefTo(t)
		for _, a := range importers[target.UUID] {
			for _, b := range exporters[target.UUID] {
				if a != b {
					visit(a, b, target)
				}
			}
		}
	}
}

// joinPairs calls join for each ordered pair of networks that a rule of the
// policy joins, of those attached to it. It says the same as NetworkPolicy.Joins
// for every pair, without asking every rule about every pair.
func joinPairs(p *api.NetworkPolicy, attached map[string][]*Network, join func(a, b *Network)) {
	members := attached[p.Meta.UUID]
	named := func(s *api.NetworkSelector) []*Network {
		if s.IsAny() || s.Local {
			return members
		}
		return slices.DeleteFunc(slices.Clone(members), func(n *Network) bool {
			return !s.Names(n.Ref, func(policy, _ string) bool { return slices.Contains(attached[policy], n) })
		})
	}
	for i := range p.Spec.Rules {
		rule := &p.Spec.Rules[i]
		if !rule.JoinsAny() {
			continue
		}
		destinations := named(&rule.Destination)
		for _, a := range named(&rule.Source) {
			for _, b := range destinations {
				if a != b {
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
	n.Routes, n.Equal = n.Own, n.OwnEqual
	conflicts := slices.Clone(n.lost)
	if len(n.Imports) > 0 {
		conflicts = append(conflicts, d.leakInto(n)...)
	}
	n.ConflictCount = len(conflicts)
	slices.SortStableFunc(conflicts, func(a, b Conflict) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), compareRefs(a.Loser.LeakedBy, b.Loser.LeakedBy), compareRefs(a.Loser.Network, b.Loser.Network))
	})
	n.conflicts = conflicts[:min(len(conflicts), maxConflicts)]
}

// leakInto adds the routes of the networks that n imports, and returns what
// does not fit.
func (d *Derived) leakInto(n *Network) []Conflict {
	holder := make(map[netip.Prefix]Route, len(n.Own))
	for _, r := range n.Own {
		holder[r.Prefix] = r
	}
	n.Routes, n.Equal = slices.Clone(n.Own), slices.Clone(n.OwnEqual)
	var conflicts []Conflict
	for _, imp := range n.Imports {
		from := d.networks[imp.Network.UUID]
		conflicts = append(conflicts, overlaps(n, from, imp.By)...)
		for _, r := range from.Own {
			if r.Gateway {
				continue
			}
			r.leakedBy(imp)
			if winner, taken := holder[r.Prefix]; taken {
				conflicts = append(conflicts, Conflict{n.Ref, SamePrefix, r.Prefix, claimantOf(winner), claimantOf(r)})
				continue
			}
			holder[r.Prefix] = r
			n.Routes = append(n.Routes, r)
		}
		for _, r := range from.OwnEqual { // none has a gateway's prefix
			if holder[r.Prefix].OriginNetwork == from.Ref {
				r.leakedBy(imp)
				n.Equal = append(n.Equal, r)
			}
		}
	}
	slices.SortFunc(n.Routes, compareRoutes)
	slices.SortStableFunc(n.Equal, compareRoutes)
	return conflicts
}

func (r *Route) leakedBy(imp Import) {
	r.LeakKind, r.LeakedBy, r.Routed = imp.Kind, imp.By, true
}

// overlaps reports the subnets of a joined network that overlap one of n's.
func overlaps(n, from *Network, by api.Ref) []Conflict {
	var conflicts []Conflict
	for _, own := range n.Subnets {
		for _, other := range from.Subnets {
			if own.CIDR.Overlaps(other.CIDR) {
				conflicts = append(conflicts, Conflict{n.Ref, OverlappingSubnets, other.CIDR,
					Claimant{Origin: own.Ref, Network: n.Ref}, Claimant{Origin: other.Ref, Network: from.Ref, LeakedBy: by}})
			}
		}
	}
	return conflicts
}

func claimantOf(r Route) Claimant {
	return Claimant{Origin: r.Origin, Network: r.OriginNetwork, LeakedBy: r.LeakedBy}
}

// compareRefs orders by name; the UUID breaks ties of names that the store rules out.
func compareRefs(a, b api.Ref) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID))
}
