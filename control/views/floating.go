// SPDX-License-Identifier: Apache-2.0

package views

import (
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// whyFloatingIP shows who has a floating-ip, the routes to it, and what does not
// work.
func (c *chain) whyFloatingIP(ip *api.FloatingIP) {
	c.referent(api.KindAddress, ip.Spec.Address)
	// Where it is may be an operator's network, which its owner does not see.
	a, ok := c.plan.Derived.Snapshot.Get(api.KindAddress, ip.Spec.Address.UUID).(*api.Address)
	if !ok {
		return
	}
	for _, o := range api.ListOf[*api.FloatingIPAssociation](c.snapshot, api.KindFloatingIPAssociation) {
		if o.Spec.FloatingIP.UUID == ip.Meta.UUID {
			c.associated(a.Meta.Parent.UUID, o)
		}
	}
	c.pickRoutes("route to a floating address", func(_ *routing.Network, r *routing.Route) bool {
		return r.Mapped.Is() && r.Origin.UUID == ip.Meta.UUID
	})
}

// whyAssociation shows where a floating-ip leads, by one association.
func (c *chain) whyAssociation(o *api.FloatingIPAssociation) {
	ip, _ := c.referent(api.KindFloatingIP, o.Spec.FloatingIP).(*api.FloatingIP)
	if ip == nil {
		return
	}
	if !o.Spec.Port.IsZero() {
		c.referent(api.KindPort, o.Spec.Port)
		c.pickPort(o.Spec.Port.UUID)
	}
	c.whyFloatingIP(ip)
}

// associated adds what is derived of an association, or why nothing is.
func (c *chain) associated(network string, o *api.FloatingIPAssociation) {
	what := "association " + api.RefTo(o).String()
	f := c.plan.Derived.Network(network).Association(api.RefTo(o))
	switch {
	case f == nil:
		c.add(api.StageDerived, whereControl, what, "the network of the floating address has no VRF", statusMissing)
	case f.Reason != "":
		c.add(api.StageDerived, whereControl, what, f.Message, f.Reason)
	default:
		c.add(api.StageDerived, whereControl, what, f.Mapped.String()+" on "+f.Host.String(), statusOK)
	}
}
