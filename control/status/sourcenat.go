// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// featureSourceNAT is what agents say that translate for shared addresses.
const featureSourceNAT = "source-nat"

// reasonNoPorts is that hosts have no ports of a shared address.
const reasonNoPorts = "no-ports"

// sourceNATs says of source-nats whether workloads go out with their addresses.
func (c *collector) sourceNATs() {
	all := api.ListOf[*api.SourceNAT](c.Snapshot, api.KindSourceNAT)
	if len(all) == 0 {
		return
	}
	of := map[string][]*routing.SourceNAT{}
	for _, n := range c.Plan.Derived.Networks {
		for _, s := range n.SourceNATs() {
			of[s.Source.UUID] = append(of[s.Source.UUID], s)
		}
	}
	for _, o := range all {
		c.want(o, &api.Reported{Conditions: c.setOf(c.conditions(o, o.Status.Conditions), c.goesOut(o, of[o.Meta.UUID]))})
	}
}

// goesOut is the condition of one, from what becomes of its addresses.
func (c *collector) goesOut(o *api.SourceNAT, addresses []*routing.SourceNAT) api.Condition {
	now := api.Condition{Type: Serving}
	fail := func(reason, message string) api.Condition {
		now.Reason, now.Message = reason, bounded(message)
		return now
	}
	if len(addresses) < len(o.Spec.Addresses) {
		return fail(routing.FloatingUnfit, "the network of an address has no VRF")
	}
	var hosts []api.Ref
	for _, s := range addresses {
		if s.Reason != "" {
			return fail(s.Reason, s.Message)
		}
		hosts = append(hosts, s.Hosts...)
	}
	slices.SortFunc(hosts, func(a, b api.Ref) int { return strings.Compare(a.Name, b.Name) })
	hosts = slices.Compact(hosts)
	old := c.without(hosts, func(h api.Ref) bool {
		state, known := c.Hosts[h.UUID]
		return !known || !state.Connected || state.Report == nil || slices.Contains(state.Report.Features, featureSourceNAT)
	})
	lacking := c.without(hosts, func(h api.Ref) bool { return c.hasPorts(addresses, h) })
	switch {
	case len(hosts) == 0:
		return fail(routing.FloatingNowhere, "no port of network "+o.Spec.Network.Name+" is bound to a host")
	case old != "":
		return fail(reasonOldAgent, "agents do not translate for shared addresses: what workloads send to where their network has no route ends on "+old)
	case lacking != "":
		return fail(reasonNoPorts, "no ports are free, or not given yet, for "+lacking+": if this stays, give the source-nat more addresses")
	}
	now.Status, now.Reason = true, reasonServing
	return now
}

// without names the hosts of which something does not hold, some of many; empty: of all it does.
func (c *collector) without(hosts []api.Ref, holds func(api.Ref) bool) string {
	var names []string
	more := 0
	for _, h := range hosts {
		switch {
		case holds(h):
		case len(names) < hostsTold:
			names = append(names, "host "+h.Name)
		default:
			more++
		}
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// hasPorts tells whether a host has ports in each family and network that it goes
// out to.
func (c *collector) hasPorts(addresses []*routing.SourceNAT, host api.Ref) bool {
	type use struct {
		external, inside string
		six              bool
	}
	has := map[use]bool{}
	for _, s := range addresses {
		u := use{s.Network.Ref.UUID, s.Inside.UUID, s.IP.Is6()}
		has[u] = has[u]
		for _, other := range c.Plan.Derived.Network(u.external).SourceNATs() { // another source-nat may have given them
			if other.Inside.UUID == u.inside && other.IP.Is6() == u.six && slices.ContainsFunc(other.Blocks, func(b routing.Block) bool {
				return b.Host.UUID == host.UUID && !b.Releasing
			}) {
				has[u] = true
			}
		}
	}
	for _, ok := range has {
		if !ok {
			return false
		}
	}
	return true
}
