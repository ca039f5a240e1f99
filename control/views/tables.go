// SPDX-License-Identifier: Apache-2.0

package views

import (
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// whyRouteTable shows the routes that a table makes, and those that lead nowhere.
func (c *chain) whyRouteTable(t *api.RouteTable) {
	c.pickRoutes("static route", func(_ *routing.Network, r *routing.Route) bool { return r.Origin.UUID == t.Meta.UUID })
	shown := 0
	for _, n := range c.plan.Derived.Networks {
		for i := range n.Unresolved {
			if u := &n.Unresolved[i]; u.Table.UUID == t.Meta.UUID && shown < maxShown && c.shows(n.Ref) {
				shown++
				c.add(api.StageDerived, whereControl, "static route "+u.Prefix.String()+" in "+n.Ref.String(), u.Why, statusMissing)
			}
		}
	}
	c.conflicts(func(x *routing.Conflict) bool { return x.Loser.Origin.UUID == t.Meta.UUID })
}

// whyRouteTarget shows the routes that a target leaks.
func (c *chain) whyRouteTarget(t *api.RouteTarget) {
	c.pickRoutes("leaked route", func(_ *routing.Network, r *routing.Route) bool { return r.LeakedBy.UUID == t.Meta.UUID })
	c.conflicts(func(x *routing.Conflict) bool { return x.Loser.LeakedBy.UUID == t.Meta.UUID })
}
