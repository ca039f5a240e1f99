// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"

	"github.com/weft-network/weft/api"
)

// carrier is what carries a sub-port.
type carrier struct {
	port api.Ref // of the trunk; zero if the trunk is missing
	vlan int
	down bool
}

// carrierBy finds what carries a port by the sub-ports that name it. The store
// admits one; were there more, the first by UUID counts.
func carrierBy(s api.Snapshot, subPorts []*api.SubPort) (c carrier, carried bool) {
	if len(subPorts) == 0 {
		return carrier{}, false
	}
	first := slices.MinFunc(subPorts, func(a, b *api.SubPort) int { return cmp.Compare(a.Meta.UUID, b.Meta.UUID) })
	c.vlan = first.Spec.VLAN
	if t, ok := s.Get(api.KindTrunk, first.Meta.Parent.UUID).(*api.Trunk); ok {
		c.port, c.down = t.Spec.Port, t.Spec.AdminState == api.AdminDown
	}
	return c, true
}

func (i indexes) carrier(port string) (carrier, bool) {
	referrers := i.s.Referrers(api.KindSubPort, api.KindPort, port)
	subPorts := make([]*api.SubPort, len(referrers))
	for n, o := range referrers {
		subPorts[n] = o.(*api.SubPort)
	}
	return carrierBy(i.s, subPorts)
}

func (i indexes) carriedBy(port string) (carried []string) {
	for _, t := range i.s.Referrers(api.KindTrunk, api.KindPort, port) {
		carried = append(carried, i.carriedIn(t.Head().Meta.UUID)...)
	}
	return carried
}

func (i indexes) carriedIn(trunk string) (carried []string) {
	for _, o := range i.s.Children(api.KindSubPort, trunk) {
		carried = append(carried, o.(*api.SubPort).Spec.Port.UUID)
	}
	return carried
}

func (l *lists) carrier(port string) (carrier, bool) { return carrierBy(l.s, l.subPortsOf[port]) }

func (l *lists) carriedBy(port string) (carried []string) {
	for _, t := range api.ListOf[*api.Trunk](l.s, api.KindTrunk) {
		if t.Spec.Port.UUID == port {
			carried = append(carried, l.carriedIn(t.Meta.UUID)...)
		}
	}
	return carried
}

func (l *lists) carriedIn(trunk string) (carried []string) {
	for port, subPorts := range l.subPortsOf {
		if slices.ContainsFunc(subPorts, func(s *api.SubPort) bool { return s.Meta.Parent.UUID == trunk }) {
			carried = append(carried, port)
		}
	}
	return carried
}

// place finds the active one of a port's bindings, and notes the hosts with
// any. The store admits one active; were there more, the newest wins.
func (n *Network) place(bindings []*api.Binding, hosts map[string]*Host, members map[string]bool) (active *api.Binding) {
	for _, b := range bindings {
		host := hosts[b.Spec.Host.UUID]
		if host == nil {
			continue
		}
		if !members[host.Ref.UUID] {
			members[host.Ref.UUID] = true
			n.members = append(n.members, host.Ref)
		}
		if b.Spec.Active && (active == nil || newer(b, active)) {
			active = b
		}
	}
	return active
}

// carry finds the binding of a sub-port: that of the port that carries it. One
// of its own must agree, or the sub-port is nowhere; it is nowhere, too, while
// its trunk is down.
func (n *Network) carry(c carrier, own *api.Binding, bindings []*api.Binding, hosts map[string]*Host, members map[string]bool) (active *api.Binding, sequence int64) {
	active = n.place(bindings, hosts, members)
	if active == nil || c.down || own != nil && own.Spec.Host.UUID != active.Spec.Host.UUID {
		return nil, 0
	}
	sequence = active.Meta.Revision
	if own != nil {
		return own, max(sequence, own.Meta.Revision)
	}
	return active, sequence
}

// touchCarried notes that the bindings of a port count for something else for
// the ports that it carries.
func (u *update) touchCarried(port string) {
	for _, carried := range u.objects.carriedBy(port) {
		u.touchPort(carried)
	}
}
