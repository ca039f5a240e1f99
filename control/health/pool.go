// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// untried are the probes that no agent makes yet.
var untried = map[string]bool{"sctp": true}

// pool computes what is to be tried of a pool; nil: nothing.
func (u *update) pool(uuid string) *Pool {
	pool, _ := u.snapshot.Get(api.KindPool, uuid).(*api.Pool)
	monitor := u.monitor(uuid)
	if pool == nil || monitor == nil || pool.Spec.AdminState == api.AdminDown || monitor.Spec.AdminState == api.AdminDown {
		return nil
	}
	balancer, _ := u.snapshot.Get(api.KindLoadBalancer, pool.Meta.Parent.UUID).(*api.LoadBalancer)
	if balancer == nil || balancer.Spec.AdminState == api.AdminDown {
		return nil
	}
	found := &Pool{}
	for _, m := range u.members(uuid) {
		if m.Spec.AdminState == api.AdminDown {
			continue
		}
		found.Members = append(found.Members, u.member(found, m, balancer, &monitor.Spec.Probe))
	}
	slices.SortFunc(found.Members, func(a, b Member) int { return strings.Compare(a.UUID, b.UUID) })
	slices.SortFunc(found.networks, func(a, b network) int { return strings.Compare(a.uuid, b.uuid) })
	found.networks = slices.Compact(found.networks)
	return found
}

// monitor returns the one of a pool, or nil. A claim sees to it that there is
// one at most.
func (u *update) monitor(pool string) *api.HealthMonitor {
	if indexed, ok := u.snapshot.(routing.Indexed); ok {
		for _, o := range indexed.Children(api.KindHealthMonitor, pool) {
			return o.(*api.HealthMonitor)
		}
		return nil
	}
	for _, m := range api.ListOf[*api.HealthMonitor](u.snapshot, api.KindHealthMonitor) {
		if m.Meta.Parent.UUID == pool {
			return m
		}
	}
	return nil
}

// member says who tries a member, or why nobody does.
func (u *update) member(pool *Pool, m *api.Member, balancer *api.LoadBalancer, probe *api.Probe) Member {
	out := Member{UUID: m.Meta.UUID}
	if untried[probe.Type] {
		out.Why = "members are not tried by " + probe.Type + " yet"
		return out
	}
	port, address, why := u.target(pool, m, balancer)
	if why != "" {
		out.Why = why
		return out
	}
	out.Host = port.Host
	// The member's own word counts most.
	check := checkOf(probe, cmp.Or(m.Spec.MonitorPort, probe.Port, m.Spec.TargetPort))
	check.Id, check.Name, check.Port, check.Address = m.Meta.UUID, m.Meta.FQName, port.Ref.UUID, address.AsSlice()
	out.Check = newCheck(check)
	return out
}

// target finds the port and address to be tried, or says why there is none.
func (u *update) target(pool *Pool, m *api.Member, balancer *api.LoadBalancer) (port *routing.Port, address netip.Addr, why string) {
	address = m.Spec.IP
	if m.Spec.MonitorAddress.IsValid() {
		address = m.Spec.MonitorAddress
	}
	address = address.Unmap()
	if m.Spec.Port.IsZero() {
		return u.having(pool, m, balancer, address)
	}
	port = u.routing.Port(m.Spec.Port.UUID)
	switch {
	case port == nil:
		return nil, address, "port " + m.Spec.Port.String() + " is on no host"
	case len(port.Addresses) == 0:
		return nil, address, "port " + m.Spec.Port.String() + " has no address"
	case !address.IsValid():
		return port, port.Addresses[0].IP, ""
	case !slices.ContainsFunc(port.Addresses, func(a routing.PortAddress) bool { return a.IP == address }):
		return nil, address, fmt.Sprintf("port %s has no address %v", m.Spec.Port, address)
	}
	return port, address, ""
}

// having finds the port that has an address, as seen from the member's network.
// Of other projects' workloads nobody learns so whether they answer: whoever
// may attach to their port names that.
func (u *update) having(pool *Pool, m *api.Member, balancer *api.LoadBalancer, address netip.Addr) (*routing.Port, netip.Addr, string) {
	uuid := u.networkOf(m, balancer)
	if uuid == "" {
		return nil, address, "it has neither port nor subnet, and its load-balancer no address: in which network it is, nobody says"
	}
	n := u.routing.Network(uuid)
	pool.networks = append(pool.networks, network{uuid, n})
	if n == nil {
		return nil, address, "its network does not exist"
	}
	none := fmt.Sprintf("no workload of its project has the address %v in its network, and others are not tried", address)
	want := netip.PrefixFrom(address, address.BitLen())
	i, found := slices.BinarySearchFunc(n.Routes, want, func(r routing.Route, p netip.Prefix) int { return r.Prefix.Compare(p) })
	if !found || n.Routes[i].Port.IsZero() {
		return nil, address, none
	}
	port := u.routing.Port(n.Routes[i].Port.UUID)
	if port != nil && port.Network.Ref.UUID != uuid { // joined: that network may change by itself
		pool.networks = append(pool.networks, network{port.Network.Ref.UUID, u.routing.Network(port.Network.Ref.UUID)})
	}
	if port == nil || port.Project != balancer.Meta.Parent.UUID {
		return nil, address, none
	}
	if !slices.ContainsFunc(port.Addresses, func(a routing.PortAddress) bool { return a.IP == address }) {
		return nil, address, none // behind the workload, or shared by several
	}
	return port, address, ""
}

// networkOf is the network that a member's address is seen from; empty: none.
func (u *update) networkOf(m *api.Member, balancer *api.LoadBalancer) string {
	if !m.Spec.Subnet.IsZero() {
		if s, ok := u.snapshot.Get(api.KindSubnet, m.Spec.Subnet.UUID).(*api.Subnet); ok {
			return s.Meta.Parent.UUID
		}
		return ""
	}
	for _, ref := range balancer.Spec.Addresses {
		if a, ok := u.snapshot.Get(api.KindAddress, ref.UUID).(*api.Address); ok {
			return a.Meta.Parent.UUID
		}
	}
	return ""
}
