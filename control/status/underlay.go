// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// InUnderlay is the condition that a network has the place in the underlay, or
// before the eyes of the hosts, that it asks for. Others have no such condition.
const InUnderlay = "InUnderlay"

// The reasons of InUnderlay.
const (
	reasonRouted   = "routed"       // holds: its workloads are routed without encapsulation
	reasonVisible  = "host-visible" // holds: hosts see their own workloads
	reasonOverlaps = "overlaps"     // another network has some of its addresses there
)

func (c *collector) networks() {
	for _, n := range c.Plan.Derived.Networks {
		if n.Underlay == (routing.Underlay{}) && c.only != nil {
			continue // one that lost its place was changed, and then all are looked at
		}
		o, _ := c.Snapshot.Get(api.KindNetwork, n.Ref.UUID).(*api.Network)
		if o == nil {
			continue
		}
		now := o.Status
		if n.Underlay == (routing.Underlay{}) {
			if !slices.ContainsFunc(now.Conditions, ofUnderlay) {
				continue
			}
			now.Conditions = slices.DeleteFunc(slices.Clone(now.Conditions), ofUnderlay)
		} else {
			now.Conditions = c.setOf(now.Conditions, inUnderlay(n.Underlay))
		}
		c.want(o, &now)
	}
}

func ofUnderlay(c api.Condition) bool { return c.Type == InUnderlay }

func inUnderlay(u routing.Underlay) api.Condition {
	switch {
	case u.Refused != "":
		return api.Condition{Type: InUnderlay, Reason: reasonOverlaps, Message: bounded(u.Refused + ": the network stays apart")}
	case u.Fabric:
		return api.Condition{Type: InUnderlay, Status: true, Reason: reasonRouted}
	}
	return api.Condition{Type: InUnderlay, Status: true, Reason: reasonVisible}
}
