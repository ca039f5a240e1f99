// SPDX-License-Identifier: Apache-2.0

package views

import (
	"fmt"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// carried adds the sub-port that puts a port into a trunk, the trunk, and the
// placements of the port that carries it; false for a port in no trunk.
func (c *chain) carried(p *api.Port) bool {
	for _, s := range api.ListOf[*api.SubPort](c.snapshot, api.KindSubPort) {
		if s.Spec.Port.UUID == p.Meta.UUID {
			c.object(s)
			c.carrier(s)
			return true
		}
	}
	return false
}

// carrier adds the trunk of a sub-port and where its port is.
func (c *chain) carrier(s *api.SubPort) {
	if t, ok := c.referent(api.KindTrunk, s.Meta.Parent).(*api.Trunk); ok {
		if p, ok := c.referent(api.KindPort, t.Spec.Port).(*api.Port); ok {
			c.bindings(p)
		}
	}
}

func (c *chain) whySubPort(s *api.SubPort) {
	c.carrier(s)
	c.referent(api.KindPort, s.Spec.Port)
	c.pickPort(s.Spec.Port.UUID)
	c.pickRoutes("route", func(_ *routing.Network, r *routing.Route) bool { return r.Port.UUID == s.Spec.Port.UUID })
}

func (c *chain) whyTrunk(t *api.Trunk) {
	if p, ok := c.referent(api.KindPort, t.Spec.Port).(*api.Port); ok {
		c.bindings(p)
	}
	c.pickPort(t.Spec.Port.UUID)
	members := map[string]bool{}
	for _, s := range api.ListOf[*api.SubPort](c.snapshot, api.KindSubPort) {
		if s.Meta.Parent.UUID != t.Meta.UUID {
			continue
		}
		members[s.Spec.Port.UUID] = true
		if len(members) <= maxShown {
			c.object(s)
		}
	}
	if len(members) > maxShown {
		c.add(api.StageIntent, whereStore, fmt.Sprintf("%d sub-ports", len(members)), "", statusOK)
	}
	c.pickRoutes("route", func(_ *routing.Network, r *routing.Route) bool { return members[r.Port.UUID] })
}
