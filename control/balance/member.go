// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// member finds where a member is; serves: it has a mapping there.
func (m *maker) member(o *api.Member, monitored bool) (found Member, serves bool) {
	if o.Spec.AdminState == api.AdminDown {
		m.fault(o, SwitchedOff, "adminState is down: it is not chosen, and its connections end")
		return found, false
	}
	port := m.portOf(o)
	if port == nil {
		return found, false
	}
	if frames := m.u.Routing.Network(port.Network.Ref.UUID); frames == nil || frames.Frames() {
		m.fault(o, NetworkUnfit, "network %s of port %s forwards frames only: there is no way for answers", port.Network.Ref, port.Ref)
		return found, false
	}
	found = Member{
		Ref: api.RefTo(o), Pool: o.Meta.Parent.UUID, Port: port.Ref, Host: port.Host, MTU: port.Network.MTU, Target: uint16(o.Spec.TargetPort),
		State: Active, Backup: o.Spec.Backup, Weight: 1,
	}
	if o.Spec.Weight != nil {
		found.Weight = *o.Spec.Weight
	}
	if found.Addresses = m.internal(o, port); len(found.Addresses) == 0 {
		return found, false
	}
	old := m.u.lacks(port.Host.UUID)
	if old { // of what is wrong the greater thing is told
		m.Faults = slices.DeleteFunc(m.Faults, func(f Fault) bool { return f.Kind == api.KindMember && f.UUID == o.Meta.UUID })
		m.fault(o, OldAgent, "the agent of host %s does not serve virtual addresses, so it is not chosen: upgrade weft-agent there", port.Host)
	}
	if port.Withdrawn && !old {
		m.partly(o, Withdrawn, "a health-check of port %s has failed, so it is not chosen: weft describe port %s", port.Ref, port.Ref)
	}
	switch {
	case old, port.Disabled, port.Withdrawn, o.Spec.State == api.MemberNotReady, monitored && down(o):
		found.State = Down
	case o.Spec.State == api.MemberDraining, monitored && unheard(o):
		found.State = Draining
	}
	return found, true
}

// down tells that the pool's monitor found a member down.
func down(o *api.Member) bool { return offline(o, reasonFailed) }

// unheard tells that nobody knows how a member is, perhaps since its host is no more.
func unheard(o *api.Member) bool { return offline(o, reasonUnknown) }

func offline(o *api.Member, reason string) bool {
	return slices.ContainsFunc(o.Status.Conditions, func(c api.Condition) bool {
		return c.Type == Online && !c.Status && c.Reason == reason
	})
}

// lacks tells whether the agent of a host does not serve virtual addresses. Of one that
// has never said what it can nobody knows.
func (u *update) lacks(host string) bool {
	h, ok := u.snapshot.Get(api.KindHost, host).(*api.Host)
	return ok && slices.Contains(h.Status.Lacks, Feature)
}

// portOf finds the port of a member, or says why there is none.
func (m *maker) portOf(o *api.Member) *routing.Port {
	if !o.Spec.Port.IsZero() {
		port := m.u.Routing.Port(o.Spec.Port.UUID)
		if port == nil {
			m.fault(o, NoPlace, "port %s is on no host", o.Spec.Port)
		}
		return port
	}
	network := m.Network.UUID
	if !o.Spec.Subnet.IsZero() {
		subnet, ok := m.u.snapshot.Get(api.KindSubnet, o.Spec.Subnet.UUID).(*api.Subnet)
		if !ok {
			m.fault(o, NobodyHasThat, "subnet %s is not there", o.Spec.Subnet)
			return nil
		}
		network = subnet.Meta.Parent.UUID
	}
	port := m.having(network, o.Spec.IP.Unmap())
	if port == nil {
		m.fault(o, NobodyHasThat, "no workload of its project has the address %v in its network: members without a port of Weft do not work yet", o.Spec.IP)
	}
	return port
}

// having finds the port of the load-balancer's own project that has an address, as
// seen from a network. Who may attach to a port of another project names that.
func (m *maker) having(network string, address netip.Addr) *routing.Port {
	n := m.u.Routing.Network(network)
	m.looked = append(m.looked, looked{network, n})
	if n == nil || !address.IsValid() {
		return nil
	}
	want := netip.PrefixFrom(address, address.BitLen())
	i, found := slices.BinarySearchFunc(n.Routes, want, func(r routing.Route, p netip.Prefix) int { return r.Prefix.Compare(p) })
	if !found || n.Routes[i].Port.IsZero() {
		return nil
	}
	port := m.u.Routing.Port(n.Routes[i].Port.UUID)
	if port == nil {
		return nil
	}
	if of := port.Network.Ref.UUID; of != network { // joined: it may change by itself
		m.looked = append(m.looked, looked{of, m.u.Routing.Network(of)})
	}
	if port.Project != m.spec.Meta.Parent.UUID || !slices.ContainsFunc(port.Addresses, func(a routing.PortAddress) bool { return a.IP == address }) {
		return nil
	}
	return port
}

// internal are a member's addresses of the families that are served, or none, and
// then it is said why.
func (m *maker) internal(o *api.Member, port *routing.Port) (addresses []netip.Addr) {
	families := map[bool]bool{} // by whether it is IPv4
	for _, a := range m.serves {
		families[a.Is4()] = true
	}
	named := o.Spec.IP.Unmap()
	if !named.IsValid() {
		named = netip.Addr{}
	} else if !slices.ContainsFunc(port.Addresses, func(a routing.PortAddress) bool { return a.IP == named }) {
		m.fault(o, NotTheirs, "port %s has not the address %v", port.Ref, named)
		return nil
	}
	for _, a := range port.Addresses { // by address, IPv4 first
		if families[a.IP.Is4()] && (!named.IsValid() || a.IP == named) {
			addresses = append(addresses, a.IP)
			delete(families, a.IP.Is4())
		}
	}
	var missing []string
	for v4 := range families {
		missing = append(missing, string(map[bool]api.Family{true: api.IPv4, false: api.IPv6}[v4]))
	}
	slices.SortFunc(missing, func(a, b string) int { return cmp.Compare(a, b) })
	words := strings.Join(missing, " and ")
	switch {
	case len(addresses) == 0:
		m.fault(o, NoFamily, "port %s has no address of %s, in which the load-balancer is reached", port.Ref, words)
	case len(missing) > 0:
		m.partly(o, NoFamily, "port %s has no address of %s: it serves the other family only", port.Ref, words)
	}
	return addresses
}

// unmapped notes a member that listeners of SCTP cannot reach: its checksum covers
// the ports, and is over the whole packet.
func (m *maker) unmapped(o *api.Member) {
	for i := range m.Listeners {
		l := &m.Listeners[i]
		if l.Pool == o.Meta.Parent.UUID && l.Protocol == 132 && int(l.Port) != o.Spec.TargetPort && m.Fault(api.KindMember, o.Meta.UUID) == nil {
			m.partly(o, NotBuilt, "ports of SCTP cannot be mapped: give it targetPort %d, as listener %s has", l.Port, l.Ref)
		}
	}
}
