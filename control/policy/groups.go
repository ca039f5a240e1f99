// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// askGroups is what a workload's security-groups allow: nothing but what a rule
// of one of them passes.
func (u *update) askGroups(w *Workload) (rulesets [Directions]*Ruleset) {
	if len(w.Groups) == 0 {
		return rulesets
	}
	key := strings.Join(w.Groups, " ")
	if done, ok := u.groups[key]; ok {
		return done
	}
	var groups []*api.SecurityGroup
	for _, uuid := range w.Groups {
		if g, ok := get[*api.SecurityGroup](u.snapshot, api.KindSecurityGroup, uuid); ok {
			groups = append(groups, g)
		}
	}
	sorted(groups)
	names, of := make([]string, len(groups)), make([]string, len(groups))
	var rest *hoststream.Rule
	for i, g := range groups {
		names[i], of[i] = g.Meta.FQName, g.Meta.UUID
		if g.Spec.Log && rest == nil {
			rest = asRule(g, "")
			rest.Log = true
		}
	}
	for d := range Directions {
		b := u.build(api.ActionDeny, api.ActionDeny)
		b.message.Name, b.message.Rest, b.of = "security-groups "+strings.Join(names, ", "), rest, append(b.of, of...)
		for _, g := range groups {
			for _, r := range u.objects.groupRules(g.Meta.UUID) {
				if (r.Spec.Direction == api.Ingress) == (d == Ingress) {
					u.allow(b, g, r)
				}
			}
		}
		rulesets[d] = u.intern(b)
	}
	u.groups[key] = rulesets
	return rulesets
}

// allow adds a security-group-rule.
func (u *update) allow(b *builder, g *api.SecurityGroup, r *api.SecurityGroupRule) {
	family := four
	if r.Spec.Family == api.IPv6 {
		family = six
	}
	says := hoststream.Rule{
		Object: r.Meta.UUID, Kind: string(api.KindSecurityGroupRule), Name: r.Meta.FQName, Owner: r.Meta.Owner,
		Via: []string{string(api.KindSecurityGroup) + "/" + g.Meta.FQName}, Action: string(api.ActionPass),
	}
	services := servicesOf([]api.Match{r.Spec.Match}, family)
	if len(services) == 0 {
		return // of the other family's ICMP
	}
	for _, s := range services {
		says.Services = append(says.Services, s.RuleService)
	}
	switch {
	case !r.Spec.RemoteGroup.IsZero():
		says.Remote = &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{b.selected(choose(&criterion{group: r.Spec.RemoteGroup.UUID}))}}}
	case !r.Spec.RemoteAddressGroup.IsZero():
		a, ok := get[*api.AddressGroup](u.snapshot, api.KindAddressGroup, r.Spec.RemoteAddressGroup.UUID)
		if !ok || !fromRanges(&says, a.Spec.Ranges, a.Spec.Except, family) {
			return
		}
	case r.Spec.RemoteRange.IsValid():
		if !fromRanges(&says, []netip.Prefix{r.Spec.RemoteRange}, nil, family) {
			return
		}
	default:
		says.Remote = &hoststream.Rule_Anybody{Anybody: &hoststream.Anybody{}}
	}
	b.add(&says)
}

// fromRanges makes addresses of one family the remote of a rule; false: there
// are none.
func fromRanges(says *hoststream.Rule, ranges, except []netip.Prefix, family families) bool {
	other := func(p netip.Prefix) bool { return familyOf(p.Addr()) != family }
	whole, rest := remoteRanges(slices.DeleteFunc(slices.Clone(ranges), other), slices.DeleteFunc(slices.Clone(except), other))
	switch {
	case whole != 0:
		says.Remote = &hoststream.Rule_Anybody{Anybody: &hoststream.Anybody{}}
	case rest != nil:
		says.Remote = &hoststream.Rule_Ranges{Ranges: rest}
	default:
		return false
	}
	return true
}

// stateless tells whether all security-groups of a workload are.
func (u *update) stateless(groups []string) bool {
	return len(groups) > 0 && !slices.ContainsFunc(groups, func(uuid string) bool {
		g, ok := get[*api.SecurityGroup](u.snapshot, api.KindSecurityGroup, uuid)
		return !ok || !g.Spec.Stateless
	})
}
