// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// askedSet is an application-policy-set with all that it names. What it says is
// found once, not for each workload that is asked.
type askedSet struct {
	*api.ApplicationPolicySet
	policies []askedPolicy
}

type askedPolicy struct {
	uuid      string
	workloads *criterion
	rules     []askedRule
	isolates  [Directions]bool
	audit     bool
	rest      *hoststream.Rule // says that it denies everything else
}

type askedRule struct {
	says      *hoststream.Rule
	direction api.Direction
	matchTags []string
	spoken    []service
	plain     []*hoststream.RuleService // of spoken those without names
	all       bool
	source    endpoint
	target    endpoint
}

// endpoint is one side of a firewall-rule.
type endpoint struct {
	workloads chosen
	anybody   bool       // it says nothing of workloads
	addresses *addresses // nil: it says none
}

type addresses struct{ ranges, except []netip.Prefix }

// finder finds what the sets for a project ask. It changes nothing and may run
// beside what compiles.
type finder struct {
	snapshot api.Snapshot
	objects  objects
	global   []*askedSet // for all projects
}

// tiers are the sets that may be for the workloads of a project, by tier and in
// their order.
type tiers [3][]*askedSet

func (f *finder) tiersOf(project string) *tiers {
	var all tiers
	put := func(set *askedSet) {
		if tier := slices.Index(tierWords[:], cmp.Or(set.Spec.Tier, "default")); tier >= 0 {
			all[tier] = append(all[tier], set)
		}
	}
	for _, set := range f.global {
		put(set)
	}
	for _, set := range f.objects.setsOf(project) {
		put(f.askedOf(set))
	}
	for _, sets := range all {
		slices.SortFunc(sets, func(a, b *askedSet) int {
			return cmp.Or(compareScopes(a.ApplicationPolicySet, b.ApplicationPolicySet), cmp.Compare(a.Spec.Priority, b.Spec.Priority), cmp.Compare(a.Meta.FQName, b.Meta.FQName), cmp.Compare(a.Meta.UUID, b.Meta.UUID))
		})
	}
	return &all
}

// compareScopes: who may write a set for a project comes after those for all,
// whatever priority it says.
func compareScopes(a, b *api.ApplicationPolicySet) int {
	switch {
	case a.Global() == b.Global():
		return 0
	case a.Global():
		return -1
	}
	return 1
}

// askedOf finds what a set names; what is missing is none.
func (f *finder) askedOf(set *api.ApplicationPolicySet) *askedSet {
	s := &askedSet{ApplicationPolicySet: set, policies: make([]askedPolicy, 0, len(set.Spec.Policies))}
	for _, ref := range set.Spec.Policies {
		p, ok := get[*api.FirewallPolicy](f.snapshot, api.KindFirewallPolicy, ref.UUID)
		if !ok {
			continue
		}
		asked := askedPolicy{uuid: p.Meta.UUID, workloads: criterionOf(&p.Spec.Workloads, p.Meta.Parent.UUID), audit: p.Spec.Audit, rest: asRule(p, api.ActionDeny, by(set))}
		asked.rest.Audit, asked.rest.Log = p.Spec.Audit, p.Spec.Log
		for d := range Directions {
			asked.isolates[d] = slices.Contains(p.Spec.Isolates, api.Side(d.String()))
		}
		via := []string{by(p), by(set)}
		asked.rules = make([]askedRule, 0, len(p.Spec.Rules))
		for _, ref := range p.Spec.Rules {
			if r, ok := get[*api.FirewallRule](f.snapshot, api.KindFirewallRule, ref.UUID); ok && !r.Spec.Disabled {
				asked.rules = f.appendRule(asked.rules, r, p.Spec.Audit, via)
			}
		}
		s.policies = append(s.policies, asked)
	}
	return s
}

// appendRule adds a rule, if it can match anything.
func (f *finder) appendRule(rules []askedRule, r *api.FirewallRule, audit bool, via []string) []askedRule {
	matches := r.Spec.Services
	if !r.Spec.ServiceGroup.IsZero() {
		g, ok := get[*api.ServiceGroup](f.snapshot, api.KindServiceGroup, r.Spec.ServiceGroup.UUID)
		if !ok {
			return rules
		}
		matches = g.Spec.Services
	}
	asked := askedRule{
		says: asRule(r, r.Spec.Action, via...), direction: r.Spec.Direction, matchTags: r.Spec.MatchTags, spoken: servicesOf(matches, both),
		all: len(matches) == 0 && r.Spec.ServiceGroup.IsZero(), source: f.endpoint(r, &r.Spec.Source), target: f.endpoint(r, &r.Spec.Destination),
	}
	asked.says.Log, asked.says.Audit = r.Spec.Log, r.Spec.Audit || audit
	asked.plain = plain(asked.spoken)
	return append(rules, asked)
}

// plain are the services that name no port.
func plain(services []service) (plain []*hoststream.RuleService) {
	for _, s := range services {
		if s.name == "" {
			plain = append(plain, s.RuleService)
		}
	}
	return plain
}

func (f *finder) endpoint(of *api.FirewallRule, e *api.Endpoint) endpoint {
	c := criterionOf(e, of.Meta.Parent.UUID)
	made := endpoint{workloads: choose(c), anybody: c.project == "" && c.network == "" && len(c.tags) == 0 && len(c.expressions) == 0}
	switch {
	case !e.AddressGroup.IsZero():
		made.addresses = &addresses{}
		if g, ok := get[*api.AddressGroup](f.snapshot, api.KindAddressGroup, e.AddressGroup.UUID); ok {
			made.addresses.ranges, made.addresses.except = masked(g.Spec.Ranges), masked(g.Spec.Except)
		}
	case e.Range.IsValid():
		made.addresses = &addresses{masked([]netip.Prefix{e.Range}), masked(e.Except)}
	}
	return made
}

// criterionOf is what an endpoint says of workloads, if an object of a project
// says it: expressions then mean tags of this project, or of the one they name.
func criterionOf(e *api.Endpoint, project string) *criterion {
	c := &criterion{project: e.Project.UUID, network: e.Network.UUID, expressions: slices.Clone(e.Expressions)}
	for i := range c.expressions {
		if of := &c.expressions[i].Project; of.IsZero() {
			of.UUID = project
		}
	}
	for _, t := range e.Tags {
		c.tags = append(c.tags, t.UUID)
	}
	return c
}

func masked(ranges []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, len(ranges))
	for i, r := range ranges {
		all[i] = r.Masked()
	}
	return all
}
