// SPDX-License-Identifier: Apache-2.0

package views

import (
	"fmt"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
)

// whyBalancer shows the routes to a load-balancer's addresses, who serves them, what
// does not work, and the rows that hosts get of it.
func (c *chain) whyBalancer(l *api.LoadBalancer) {
	b := c.plan.Balance.Get(l.Meta.UUID)
	if b == nil {
		c.add(api.StageDerived, whereControl, "load-balancer", "", statusMissing)
		return
	}
	for i := range b.Faults {
		f := &b.Faults[i]
		what := string(f.Kind)
		if o := c.snapshot.Get(f.Kind, f.UUID); o != nil {
			what += " " + o.Head().Meta.FQName
		}
		c.add(api.StageDerived, whereControl, what, f.Message, f.Reason)
	}
	c.pickRoutes("route to a virtual address", func(_ *routing.Network, r *routing.Route) bool { return r.Origin.UUID == l.Meta.UUID })
	for i := range b.Listeners {
		c.picked.keys = append(c.picked.keys, placement.ListenerKey(b.VRF, b.Ref.UUID, b.Listeners[i].Ref.UUID))
	}
	for i := range b.Members {
		m := &b.Members[i]
		if i < maxShown {
			c.add(api.StageDerived, whereControl, "member "+m.Ref.String(), fmt.Sprintf("%s, weight %d, port %s on %s", m.State, m.Weight, m.Port, m.Host), statusOK)
		}
		c.picked.keys = append(c.picked.keys, placement.MemberKey(b.VRF, b.Ref.UUID, m.Ref.UUID))
	}
}
