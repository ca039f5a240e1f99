// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// The tiers of application-policy-sets, in the order in which they are asked.
var tierWords = [3]string{"admin", "default", "baseline"}

// unmatched is what a tier says if no rule matches: after the last one everything passes.
var unmatched = [3]api.Action{api.ActionNext, api.ActionNext, api.ActionPass}

// firewall is what the sets of a tier ask in a direction; nil: nothing.
func (a *asking) firewall(tier int, d Direction, sets []*askedSet) *Ruleset {
	if len(sets) == 0 {
		return nil
	}
	b := a.build(unmatched[tier], unmatched[tier])
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
	if len(b.rules) == 0 {
		return nil
	}
	b.message.Name = "application-policy-sets " + strings.Join(names, ", ")
	return a.intern(b)
}

// askSet adds the rules of a set, and tells that it denies everything else.
func (a *asking) askSet(b *builder, d Direction, set *askedSet) bool {
	var isolates, audits *askedPolicy
	for i := range set.policies {
		p := &set.policies[i]
		if !p.workloads.matches(a.Workload) {
			continue
		}
		b.of = append(b.of, p.uuid)
		for j := range p.rules {
			a.askRule(b, d, &p.rules[j])
		}
		switch {
		case !p.isolates[d]:
		case p.audit:
			audits = cmp.Or(audits, p)
		case isolates == nil || p.rest.Log && !isolates.rest.Log:
			isolates = p
		}
	}
	b.mirror = false
	for _, p := range []*askedPolicy{audits, isolates} {
		if p != nil {
			b.emit(p.rest, &remote{anybody: true}, nil, both)
		}
	}
	return isolates != nil
}

// askRule adds a firewall-rule in the ways in which it is asked at the port.
func (a *asking) askRule(b *builder, d Direction, r *askedRule) {
	var alike [][]string // tags of which the remote must have one each
	for _, word := range r.matchTags {
		tags := a.ofType(word)
		if len(tags) == 0 {
			return
		}
		slices.Sort(tags)
		alike = append(alike, tags)
	}
	for i, way := range read(d, r.direction, &r.source, &r.target) {
		b.mirror = i > 0
		in := a.means(way.here)
		if in == 0 {
			continue
		}
		to, spoken := way.there.meant(alike), way.there
		if d == Ingress {
			spoken = way.here
		}
		if !to.nobody() {
			a.put(b, d, &rule{Rule: r.says, to: to, spoken: r.spoken, plain: r.plain, all: r.all, in: in, nameless: spoken.addresses != nil})
		}
	}
}

// means tells for which families a port is what an endpoint means.
func (a *asking) means(e *endpoint) families {
	switch {
	case !e.workloads.matches(a.Workload):
		return 0
	case e.addresses != nil:
		return a.hasAddress(e.addresses.ranges, e.addresses.except)
	}
	return both
}

// meant is the other end as an endpoint means it: a workload or addresses.
func (e *endpoint) meant(alike [][]string) (to remote) {
	anybody := e.anybody && len(alike) == 0
	switch {
	case e.addresses != nil && anybody:
		to.ranges, to.except = e.addresses.ranges, e.addresses.except
	case e.addresses != nil: // a workload and an address at once: no rule means that
	case anybody:
		to.anybody = true
	default:
		to.workloads = true
		if len(alike) > 0 {
			c := *e.workloads.criterion
			c.anyOf = alike
			to.criteria = []chosen{choose(&c)}
			break
		}
		to.criteria = []chosen{e.workloads}
	}
	return to
}
