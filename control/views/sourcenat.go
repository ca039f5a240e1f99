// SPDX-License-Identifier: Apache-2.0

package views

import (
	"fmt"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// whySourceNAT shows with what a network goes out, which host has which ports, and
// what does not work.
func (c *chain) whySourceNAT(o *api.SourceNAT) {
	c.referent(api.KindNetwork, o.Spec.Network)
	for _, ref := range o.Spec.Addresses {
		c.referent(api.KindAddress, ref)
		// Where it is may be an operator's network, which its owner does not see.
		a, ok := c.plan.Derived.Snapshot.Get(api.KindAddress, ref.UUID).(*api.Address)
		if !ok {
			continue
		}
		var of *routing.SourceNAT
		if n := c.plan.Derived.Network(a.Meta.Parent.UUID); n != nil {
			for _, s := range n.SourceNATs() {
				if s.Source.UUID == o.Meta.UUID && s.Address.UUID == ref.UUID {
					of = s
				}
			}
		}
		c.goesOut(ref, of)
	}
	c.pickRoutes("route to a shared address", func(_ *routing.Network, r *routing.Route) bool {
		return r.Shared.Is() && r.Origin.UUID == o.Meta.UUID
	})
}

// goesOut adds what is derived of an address of a source-nat, or why nothing is.
func (c *chain) goesOut(ref api.Ref, s *routing.SourceNAT) {
	what := "address " + ref.String()
	switch {
	case s == nil:
		c.add(api.StageDerived, whereControl, what, "the network of the address has no VRF", statusMissing)
		return
	case s.Reason != "":
		c.add(api.StageDerived, whereControl, what, s.Message, s.Reason)
		return
	}
	c.add(api.StageDerived, whereControl, what, fmt.Sprintf("%d hosts go out with it, by %d port-blocks", len(s.Hosts), len(s.Blocks)), statusOK)
	for i, b := range s.Blocks {
		if i == maxShown {
			break
		}
		says := "ports " + b.Ports.String() + " of " + s.IP.String() + " are of host " + b.Host.String()
		if b.Releasing {
			says += ", which is to begin nothing there"
		}
		c.add(api.StageDerived, whereControl, "port-block "+b.Ref.Name, says, statusOK)
	}
}
