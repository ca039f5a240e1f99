// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"crypto/sha256"
	"fmt"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// Policy is what a port asks. Rulesets are named by a digest of all that is
// compiled into them; the zero digest is none.
type Policy struct {
	Identity        rules.Identity
	Rulesets        [rules.Directions][rules.Layers]desired.Digest
	ConnectionLimit uint32
	Stateless       bool
}

// Asked is what the ports of this host ask.
type Asked struct {
	Policies map[int]Policy // by interface, of ports that ask anything
	// Waiting are the ports of which not all that they ask is here, with the
	// reason. They have no entry in Policies.
	Waiting map[int]string
	// Rulesets are what Policies name, and Selectors what stands for identities in them.
	Rulesets  map[desired.Digest]desired.Ruleset
	Selectors map[string]desired.Selector
	// Managed are prefixes of which every workload must be known.
	Managed map[vrouter.RouteKey]struct{}
	// Partial: of what changes together some is here and some is to come.
	Partial bool
	Hold    desired.Hold // under which they are; without ID there is none

	names map[string]desired.Digest // of rulesets that were found, by key
}

func newAsked(rows desired.Rows) Asked {
	p := Asked{
		Policies: map[int]Policy{}, Waiting: map[int]string{}, Rulesets: map[desired.Digest]desired.Ruleset{}, Selectors: rows.Selectors,
		Managed: map[vrouter.RouteKey]struct{}{}, names: map[string]desired.Digest{}, Hold: holdOf(rows),
	}
	for _, v := range rows.VRFs {
		for _, prefix := range v.Managed {
			p.Managed[vrouter.RouteKey{VRF: v.ID, Prefix: prefix}] = struct{}{}
		}
	}
	return p
}

// add says what a port asks, and tells whether it asks anything.
func (t *Asked) add(p desired.Port, ifindex int, rows desired.Rows) (asks bool) {
	if len(p.Rulesets) == 0 && p.ConnectionLimit == 0 {
		return false
	}
	policy := Policy{Identity: p.Identity, ConnectionLimit: p.ConnectionLimit, Stateless: p.Stateless}
	for _, r := range p.Rulesets {
		name, layer, why := t.find(r, rows)
		direction := rules.Egress
		if r.Ingress {
			direction = rules.Ingress
		}
		place := &policy.Rulesets[direction][layer]
		if why == "" && *place != (desired.Digest{}) {
			why = fmt.Sprintf("it has two rulesets for layer %s, %s", layer, direction)
		}
		if why != "" {
			t.Waiting[ifindex] = why
			return true
		}
		*place = name
	}
	t.Policies[ifindex] = policy
	return true
}

// find names a ruleset with the selectors that it refers to, if all is here.
func (t *Asked) find(r desired.PortRuleset, rows desired.Rows) (name desired.Digest, layer rules.Layer, why string) {
	layer, err := rules.ParseLayer(r.Layer)
	if err != nil {
		return name, 0, err.Error() + ": upgrade this agent"
	}
	if name, found := t.names[r.Ruleset]; found {
		return name, layer, ""
	}
	set, here := rows.Rulesets[r.Ruleset]
	if !here {
		return name, layer, cmp.Or(rows.Bad[desired.RulesetRow(r.Ruleset)], fmt.Sprintf("its ruleset %s of layer %s is not here yet", r.Ruleset, layer))
	}
	digest := sha256.New()
	digest.Write(set.Digest[:])
	for _, rule := range set.Rules {
		for _, id := range rule.Selectors {
			s, here := rows.Selectors[id]
			if !here {
				return name, layer, cmp.Or(rows.Bad[desired.SelectorRow(id)], fmt.Sprintf("selector %s of %s is not here yet", id, rule.Cause))
			}
			digest.Write(s.Digest[:])
		}
	}
	name = desired.Digest(digest.Sum(nil))
	t.Rulesets[name], t.names[r.Ruleset] = set, name
	return name, layer, ""
}

// source is a ruleset as the compiler takes it.
func source(set desired.Ruleset, selectors map[string][]rules.Identity, numbers *ruleNumbers) rules.Ruleset {
	r := rules.Ruleset{Outside: set.Outside, Identified: set.Identified, Rules: make([]rules.Rule, 0, len(set.Rules))}
	for _, rule := range set.Rules {
		body := rule.Body
		body.Number = numbers.of(RuleHash(rule.Cause))
		for _, id := range rule.Selectors {
			body.Identities = append(body.Identities, selectors[id]...)
		}
		r.Rules = append(r.Rules, body)
	}
	if set.Rest != nil {
		r.Rest = numbers.of(RuleHash(*set.Rest))
	}
	return r
}
