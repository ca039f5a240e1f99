// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// The reasons of Programmed of a sub-port alone.
const (
	reasonTrunkDown = "trunk-down" // its owner wants the trunk down
	reasonOtherHost = "other-host" // the sub-port's own binding is to another host than the trunk's port
)

// trunks says of each sub-port whether it works, and of each trunk whether all
// it carries do.
func (c *collector) trunks() {
	touched := map[string]bool{} // trunks
	for _, s := range c.only.subPorts(c.Snapshot) {
		now := s.Status
		now.Conditions = c.set(now.Conditions, c.subPort(s))
		c.want(s, &now)
		c.carried[s.Meta.UUID] = find(now.Conditions).Status
		touched[s.Meta.Parent.UUID] = true
	}
	if c.only == nil {
		for _, t := range api.ListOf[*api.Trunk](c.Snapshot, api.KindTrunk) {
			touched[t.Meta.UUID] = true
		}
	}
	members := c.membersOf(touched)
	for _, uuid := range slices.Sorted(maps.Keys(touched)) {
		if t, ok := c.Snapshot.Get(api.KindTrunk, uuid).(*api.Trunk); ok {
			now := t.Status
			now.Conditions = c.set(now.Conditions, c.trunk(t, members[uuid]))
			c.want(t, &now)
		}
	}
}

// membersOf finds the sub-ports of trunks.
func (c *collector) membersOf(trunks map[string]bool) map[string][]*api.SubPort {
	members := map[string][]*api.SubPort{}
	if i, ok := c.Snapshot.(routing.Indexed); ok {
		for trunk := range trunks {
			for _, o := range i.Children(api.KindSubPort, trunk) {
				members[trunk] = append(members[trunk], o.(*api.SubPort))
			}
		}
		return members
	}
	for _, s := range api.ListOf[*api.SubPort](c.Snapshot, api.KindSubPort) {
		members[s.Meta.Parent.UUID] = append(members[s.Meta.Parent.UUID], s)
	}
	return members
}

func (c *collector) trunk(t *api.Trunk, members []*api.SubPort) api.Condition {
	if t.Spec.AdminState == api.AdminDown {
		return no(reasonTrunkDown, "")
	}
	done := 0
	for _, s := range members {
		works, looked := c.carried[s.Meta.UUID]
		if old := find(s.Status.Conditions); !looked && old != nil {
			works = old.Status
		}
		if works {
			done++
		}
	}
	if done < len(members) {
		return no(reasonPending, fmt.Sprintf("%d of %d sub-ports are at work", done, len(members)))
	}
	return api.Condition{Type: Programmed, Status: true, Reason: reasonAcknowledged}
}

// subPort says whether a sub-port is at work. What a host that went away last
// said is kept.
func (c *collector) subPort(s *api.SubPort) api.Condition {
	placed := c.Plan.Derived.Port(s.Spec.Port.UUID)
	if placed == nil || placed.VLAN == 0 {
		return c.uncarried(s)
	}
	host, old := c.Hosts[placed.Host.UUID], find(s.Status.Conditions)
	if r := c.report(placed.Host.UUID, placed.Ref.UUID); r != nil {
		switch api.PortState(r.State) {
		case api.PortUp:
			return api.Condition{Type: Programmed, Status: true, Reason: reasonAcknowledged}
		case api.PortFailed:
			return no(reasonRowError, r.Message)
		}
		return no(reasonPending, "port "+placed.Trunk.String()+", which carries it, is not plugged yet")
	}
	switch {
	case !host.Connected && old != nil && old.Status:
		return *old
	case !host.Connected:
		return no(reasonHostAway, "host "+placed.Host.String()+" is not connected")
	}
	return no(reasonPending, "")
}

// uncarried says why a sub-port is on no host.
func (c *collector) uncarried(s *api.SubPort) api.Condition {
	t, _ := c.Snapshot.Get(api.KindTrunk, s.Meta.Parent.UUID).(*api.Trunk)
	if t == nil {
		return no(reasonMissing, "")
	}
	carrier := c.Plan.Derived.Port(t.Spec.Port.UUID)
	switch {
	case t.Spec.AdminState == api.AdminDown:
		return no(reasonTrunkDown, "")
	case carrier == nil:
		return no(reasonUnplaced, "port "+t.Spec.Port.String()+", which carries it, has no active binding")
	}
	return no(reasonOtherHost, fmt.Sprintf("it has a binding of its own that is not to host %s, where port %s is, which carries it: change or delete that", carrier.Host, carrier.Ref))
}

// subPorts returns the sub-ports of the ports to look at.
func (s *scope) subPorts(all api.Snapshot) (subPorts []*api.SubPort) {
	if s == nil {
		return api.ListOf[*api.SubPort](all, api.KindSubPort)
	}
	for _, uuid := range s.uuids {
		for _, o := range all.(routing.Indexed).Referrers(api.KindSubPort, api.KindPort, uuid) {
			subPorts = append(subPorts, o.(*api.SubPort))
		}
	}
	return subPorts
}

// addCarried adds the ports that a port carries to those to look at.
func addCarried(ports map[string]bool, s routing.Indexed, port string) {
	for _, t := range s.Referrers(api.KindTrunk, api.KindPort, port) {
		addMembers(ports, s, t.Head().Meta.UUID)
	}
}

// addMembers adds the ports that a trunk carries.
func addMembers(ports map[string]bool, s routing.Indexed, trunk string) {
	for _, o := range s.Children(api.KindSubPort, trunk) {
		ports[o.(*api.SubPort).Spec.Port.UUID] = true
	}
}
