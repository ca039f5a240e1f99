// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// The tiers of application-policy-sets, in the order in which they are asked.
var tierWords = [3]string{"admin", "default", "baseline"}

// unmatched is what a tier says if no rule matches: after the last one everything passes.
var unmatched = [3]api.Action{api.ActionNext, api.ActionNext, api.ActionPass}

// setsFor are the sets that may be for the workloads of a project, by tier and
// in their order.
func (u *update) setsFor(project string) *[3][]*api.ApplicationPolicySet {
	if done, ok := u.tiers[project]; ok {
		return done
	}
	var tiers [3][]*api.ApplicationPolicySet
	for _, set := range slices.Concat(u.global, u.objects.setsOf(project)) {
		tier := slices.Index(tierWords[:], cmp.Or(set.Spec.Tier, "default"))
		if tier >= 0 {
			tiers[tier] = append(tiers[tier], set)
		}
	}
	for _, sets := range tiers {
		slices.SortFunc(sets, func(a, b *api.ApplicationPolicySet) int {
			return cmp.Or(cmp.Compare(a.Spec.Priority, b.Spec.Priority), compareScopes(a, b), cmp.Compare(a.Meta.FQName, b.Meta.FQName), cmp.Compare(a.Meta.UUID, b.Meta.UUID))
		})
	}
	u.tiers[project] = &tiers
	return &tiers
}

func compareScopes(a, b *api.ApplicationPolicySet) int {
	switch {
	case a.Global() == b.Global():
		return 0
	case a.Global():
		return -1
	}
	return 1
}

// firewall is what the sets of a tier ask in a direction; nil: nothing.
func (a *asking) firewall(tier int, d Direction) *Ruleset {
	sets := a.setsFor(a.Project)[tier]
	if len(sets) == 0 {
		return nil
	}
	end := string(unmatched[tier])
	b := &builder{message: &hoststream.Ruleset{Outside: end, Identified: end}}
	var names []string
	for _, set := range sets {
		if !set.Spec.Application.IsZero() && !a.has(set.Spec.Application.UUID) {
			continue
		}
		names, b.of = append(names, set.Meta.FQName), append(b.of, set.Meta.UUID)
		if a.askSet(b, d, set) {
			break
		}
	}
	if len(b.message.Rules) == 0 {
		return nil
	}
	b.message.Name = "application-policy-sets " + strings.Join(names, ", ")
	return a.intern(b)
}

// askSet adds the rules of a set, and tells that it denies everything else.
func (a *asking) askSet(b *builder, d Direction, set *api.ApplicationPolicySet) bool {
	side := api.Side(d.String())
	var isolates, audits *api.FirewallPolicy
	for _, ref := range set.Spec.Policies {
		p, ok := get[*api.FirewallPolicy](a.snapshot, api.KindFirewallPolicy, ref.UUID)
		if !ok || !a.is(&p.Spec.Workloads) {
			continue
		}
		via := []string{by(p), by(set)}
		b.of = append(b.of, p.Meta.UUID)
		for _, ref := range p.Spec.Rules {
			if r, ok := get[*api.FirewallRule](a.snapshot, api.KindFirewallRule, ref.UUID); ok && !r.Spec.Disabled {
				a.askRule(b, d, r, p.Spec.Audit, via)
			}
		}
		if slices.Contains(p.Spec.Isolates, side) {
			if p.Spec.Audit {
				audits = cmp.Or(audits, p)
			} else {
				isolates = cmp.Or(isolates, p)
			}
		}
	}
	b.mirror = false
	for _, p := range []*api.FirewallPolicy{audits, isolates} {
		if p != nil {
			says := asRule(p, api.ActionDeny, by(set))
			says.Audit = p == audits
			b.emit(says, &remote{anybody: true}, nil, both)
		}
	}
	return isolates != nil
}

// askRule adds a firewall-rule in the ways in which it is asked at the port.
func (a *asking) askRule(b *builder, d Direction, r *api.FirewallRule, audit bool, via []string) {
	matches := r.Spec.Services
	all := len(matches) == 0 && r.Spec.ServiceGroup.IsZero()
	if !r.Spec.ServiceGroup.IsZero() {
		g, ok := get[*api.ServiceGroup](a.snapshot, api.KindServiceGroup, r.Spec.ServiceGroup.UUID)
		if !ok {
			return
		}
		matches = g.Spec.Services
	}
	var alike [][]string // tags of which the remote must have one each
	for _, word := range r.Spec.MatchTags {
		tags := a.ofType(word)
		if len(tags) == 0 {
			return
		}
		slices.Sort(tags)
		alike = append(alike, tags)
	}
	says := asRule(r, r.Spec.Action, via...)
	says.Log, says.Audit = r.Spec.Log, r.Spec.Audit || audit
	for i, way := range read(d, r.Spec.Direction, &r.Spec.Source, &r.Spec.Destination) {
		b.mirror = i > 0
		in := a.means(way.here)
		if in == 0 {
			continue
		}
		to, spoken := a.meant(way.there, alike), way.there
		if d == Ingress {
			spoken = way.here
		}
		if !to.nobody() {
			a.put(b, d, &rule{Rule: says, to: to, spoken: servicesOf(matches, both), all: all, in: in, nameless: addressed(spoken)})
		}
	}
}

// criterionOf is what an endpoint says of workloads.
func criterionOf(e *api.Endpoint) *criterion {
	c := &criterion{project: e.Project.UUID, network: e.Network.UUID, expressions: e.Expressions}
	for _, t := range e.Tags {
		c.tags = append(c.tags, t.UUID)
	}
	return c
}

// is tells whether the workload is what an endpoint means, but for addresses.
func (a *asking) is(e *api.Endpoint) bool { return criterionOf(e).matches(a.Workload) }

// addressesOf are those that an endpoint says; some: it says any.
func (a *asking) addressesOf(e *api.Endpoint) (ranges, except []netip.Prefix, some bool) {
	switch {
	case !e.AddressGroup.IsZero():
		g, ok := get[*api.AddressGroup](a.snapshot, api.KindAddressGroup, e.AddressGroup.UUID)
		if !ok {
			return nil, nil, true
		}
		ranges, except = masked(g.Spec.Ranges), masked(g.Spec.Except)
	case e.Range.IsValid():
		ranges, except = masked([]netip.Prefix{e.Range}), masked(e.Except)
	default:
		return nil, nil, false
	}
	return ranges, except, true
}

// addressed tells that an endpoint says addresses.
func addressed(e *api.Endpoint) bool { return !e.AddressGroup.IsZero() || e.Range.IsValid() }

func masked(ranges []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, len(ranges))
	for i, r := range ranges {
		all[i] = r.Masked()
	}
	return all
}

// means tells for which families a port is what an endpoint means.
func (a *asking) means(e *api.Endpoint) families {
	if !a.is(e) {
		return 0
	}
	if ranges, except, some := a.addressesOf(e); some {
		return a.hasAddress(ranges, except)
	}
	return both
}

// meant is the other end as an endpoint means it: a workload or addresses.
func (a *asking) meant(e *api.Endpoint, alike [][]string) (to remote) {
	c := criterionOf(e)
	c.anyOf = alike
	anybody := c.project == "" && c.network == "" && len(c.tags) == 0 && len(c.expressions) == 0 && len(alike) == 0
	ranges, except, some := a.addressesOf(e)
	switch {
	case some && anybody:
		to.ranges, to.except = ranges, except
	case some: // a workload and an address at once: no rule means that
	case anybody:
		to.anybody = true
	default:
		to.workloads, to.criteria = true, []*criterion{c}
	}
	return to
}
