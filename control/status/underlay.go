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

// place says in a network's status whether it has the place in the underlay
// that it asks for.
func (c *collector) place(n *routing.Network, now *api.NetworkStatus) {
	if n.Underlay != (routing.Underlay{}) {
		now.Conditions = c.setOf(now.Conditions, inUnderlay(n.Underlay))
	} else if slices.ContainsFunc(now.Conditions, ofUnderlay) {
		now.Conditions = without(now.Conditions, InUnderlay)
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
