// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// Resolved is the condition that all routes of a route-table lead somewhere,
// wherever it is used.
const Resolved = "Resolved"

// The reasons of Resolved.
const (
	reasonResolved   = "resolved"   // holds
	reasonUnresolved = "unresolved" // some lead nowhere
)

// unresolvedTold is how many routes the message names.
const unresolvedTold = 3

func (c *collector) routeTables() {
	nowhere := map[string][]string{} // by table
	for _, n := range c.Plan.Derived.Networks {
		for i := range n.Unresolved {
			u := &n.Unresolved[i]
			nowhere[u.Table.UUID] = append(nowhere[u.Table.UUID], c.unresolvedWords(n, u))
		}
	}
	for _, t := range api.ListOf[*api.RouteTable](c.Snapshot, api.KindRouteTable) {
		now := t.Status
		now.Conditions = c.setOf(now.Conditions, resolved(nowhere[t.Meta.UUID]))
		c.want(t, &now)
	}
}

// unresolvedWords names the network to its own owner only: the table may be
// somebody else's, who shares it.
func (c *collector) unresolvedWords(n *routing.Network, u *routing.Unresolved) string {
	words := fmt.Sprintf("%v", u.Prefix)
	if u.NextHop.IsValid() {
		words += fmt.Sprintf(" via %v", u.NextHop)
	}
	network, table := c.Snapshot.Get(api.KindNetwork, n.Ref.UUID), c.Snapshot.Get(api.KindRouteTable, u.Table.UUID)
	switch {
	case network == nil || table == nil:
		return words + ": " + u.Why
	case network.Head().Meta.Owner != table.Head().Meta.Owner:
		return words + " in a network of orchestrator " + network.Head().Meta.Owner
	}
	return words + " in " + n.Ref.String() + ": " + u.Why
}

func resolved(nowhere []string) api.Condition {
	if len(nowhere) == 0 {
		return api.Condition{Type: Resolved, Status: true, Reason: reasonResolved}
	}
	message := strings.Join(nowhere[:min(len(nowhere), unresolvedTold)], "; ")
	if more := len(nowhere) - unresolvedTold; more > 0 {
		message += fmt.Sprintf("; and %d more", more)
	}
	return api.Condition{Type: Resolved, Reason: reasonUnresolved, Message: bounded(message)}
}

// setOf is set for conditions of any type.
func (c *collector) setOf(conditions []api.Condition, now api.Condition) []api.Condition {
	conditions = slices.Clone(conditions)
	now.Since = c.Now.UTC()
	i := slices.IndexFunc(conditions, func(old api.Condition) bool { return old.Type == now.Type })
	if i < 0 {
		conditions = append(conditions, now)
		slices.SortFunc(conditions, func(a, b api.Condition) int { return cmp.Compare(a.Type, b.Type) })
		return conditions
	}
	if old := conditions[i]; old.Status == now.Status && old.Reason == now.Reason {
		now.Since = old.Since
	}
	conditions[i] = now
	return conditions
}
