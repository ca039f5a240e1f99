// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// The keys of what is asked at ports.
func RulesetKey(id string) string  { return "ruleset/" + id }
func SelectorKey(id string) string { return selectorPrefix + id }

const selectorPrefix = "selector/"

// policyRows are what a host needs for the ports on it: selectors, then the
// rulesets that name them. What an earlier view has is taken from there.
func policyRows(h *policy.Host, old *View) []Row {
	if h == nil {
		return nil
	}
	had := &policy.Host{}
	var rows []Row
	if old != nil && old.policy != nil {
		had, rows = old.policy, old.rules
	}
	all := make([]Row, 0, len(h.Selectors)+len(h.Rulesets))
	all = appendRows(all, h.Selectors, had.Selectors, rows, func(s *policy.Selector) Row { return Row{SelectorKey(s.ID), s.Hash, s.Body} })
	rows = rows[len(had.Selectors):]
	return appendRows(all, h.Rulesets, had.Rulesets, rows, func(r *policy.Ruleset) Row { return Row{RulesetKey(r.ID), r.Hash, r.Body} })
}

// keyed is a selector or a ruleset.
type keyed interface {
	comparable
	Key() string
}

// appendRows adds the rows of things, which are by their keys. Those that were
// there have their rows.
func appendRows[T keyed](all []Row, things, had []T, rows []Row, row func(T) Row) []Row {
	for _, t := range things {
		for len(had) > 0 && had[0] != t && had[0].Key() < t.Key() {
			had, rows = had[1:], rows[1:]
		}
		if len(had) > 0 && had[0] == t {
			all, had, rows = append(all, rows[0]), had[1:], rows[1:]
		} else {
			all = append(all, row(t))
		}
	}
	return all
}

// Change is what makes the row of a selector out of one with another hash; nil
// for rows of other kinds, and where it is not known or no less than the row.
func (v *View) Change(r Row, was uint64) *hoststream.SelectorChange {
	id, is := strings.CutPrefix(r.Key, selectorPrefix)
	if !is || v.policy == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(v.policy.Selectors, id, func(s *policy.Selector, id string) int { return strings.Compare(s.ID, id) })
	if !found {
		return nil
	}
	came, went, known := v.policy.Selectors[i].Since(was)
	if !known {
		return nil
	}
	return &hoststream.SelectorChange{Key: r.Key, Was: was, Is: r.Hash, Came: came, Went: went}
}

// addPolicy says who a port is to rules, and what is asked at it.
func addPolicy(port *hoststream.Port, asked *policy.Port) {
	port.Identity, port.ConnectionLimit, port.Stateless = asked.Workload.Identity, uint32(asked.Limit), asked.Stateless
	port.Tags = asked.Workload.Words()
	for direction, layers := range asked.Rulesets {
		for layer, r := range layers {
			if r != nil {
				port.Rulesets = append(port.Rulesets, &hoststream.PortRuleset{
					Layer: policy.Layer(layer).String(), Ingress: policy.Direction(direction) == policy.Ingress, Ruleset: r.ID,
				})
			}
		}
	}
}

// managed are the subnets of a VRF: the network's own and those of its imports,
// by range.
func (p *Plan) managed(n *routing.Network) (all []netip.Prefix) {
	add := func(n *routing.Network) {
		for i := range n.Subnets {
			all = append(all, n.Subnets[i].CIDR)
		}
	}
	add(n)
	for i := range n.Imports {
		add(p.Derived.Network(n.Imports[i].Network.UUID))
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// membersOf stand for who a network's addresses are, its own and its imports'.
func (p *Plan) membersOf(n *routing.Network) []*policy.Members {
	members := make([]*policy.Members, 1, 1+len(n.Imports))
	members[0] = p.Policy.Members(n.Ref.UUID)
	for i := range n.Imports {
		members = append(members, p.Policy.Members(n.Imports[i].Network.UUID))
	}
	return members
}

// owned tells that the prefixes have the same owners under a plan.
func (t *Table) owned(p *Plan) bool {
	for i := range t.paths {
		if p.Policy.Owner(&t.paths[i], t.equals(i)) != t.owners[i] {
			return false
		}
	}
	return true
}

func describePolicy(p *hoststream.Port) (words []string) {
	words = append(words, fmt.Sprintf("identity %016x", p.Identity))
	for _, r := range p.Rulesets {
		direction := "egress"
		if r.Ingress {
			direction = "ingress"
		}
		words = append(words, fmt.Sprintf("%s %s ruleset %s", direction, r.Layer, r.Ruleset))
	}
	if p.ConnectionLimit != 0 {
		words = append(words, fmt.Sprintf("at most %d connections", p.ConnectionLimit))
	}
	if p.Stateless {
		words = append(words, "stateless")
	}
	for _, tag := range p.Tags {
		words = append(words, "tag "+tag)
	}
	return words
}

func describeRuleset(r *hoststream.Ruleset) string {
	words := []string{r.Name}
	for _, rule := range r.Rules {
		words = append(words, strings.Join(policy.PrintRule(rule), ", "))
	}
	return strings.Join(append(words, "else "+r.Identified+", outside "+r.Outside+policy.PrintRest(r)), "\t")
}

func describeSelector(s *hoststream.Selector) string {
	words := []string{}
	for _, id := range s.Identities {
		words = append(words, fmt.Sprintf("%016x", id))
	}
	return strings.Join(words, " ")
}
