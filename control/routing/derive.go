// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// maxConflicts bounds the conflicts listed for one network: two joined copies
// of a large network would otherwise list one for every address.
const maxConflicts = 100

// Derive computes everything that follows from the objects.
//
// References that lead nowhere have a defined outcome: an address whose port
// is missing, unbound, on a missing host or in another network makes no route;
// a port whose network is missing is no port; an attachment whose network or
// policy is missing joins nothing; a route-target or route-table that is
// missing does nothing; a static route whose next hop is no bound port of the
// network makes no route and is listed as unresolved. Of two networks with one VNI the first by
// name has it and the other has no VRF (the store admits no such pair; were
// there one, tenants must not meet).
func Derive(s api.Snapshot) *Derived {
	u := newUpdate(nothing(), s, listed(s))
	u.everything()
	return u.run()
}

// nothing follows from no objects.
func nothing() *Derived {
	return &Derived{networks: map[string]*Network{}, hosts: map[string]*Host{}, importers: map[string][]string{}, projects: map[string]*Project{}}
}

func hostOf(h *api.Host) *Host {
	host := &Host{Ref: api.RefTo(h), UnderlayMTU: h.Spec.UnderlayMTU, Encapsulations: h.Spec.Encapsulations, Physical: h.Spec.PhysicalNetworks}
	for _, a := range h.Spec.TunnelAddresses {
		if a.IsValid() {
			host.TunnelAddresses = append(host.TunnelAddresses, a.Unmap())
		}
	}
	return host
}

// identities are the networks that have a VRF, by fully qualified name.
func identities(s api.Snapshot) []Identity {
	var all []Identity
	taken := map[uint32]bool{}
	for _, n := range api.ListOf[*api.Network](s, api.KindNetwork) {
		if n.Spec.VNI == 0 || n.Spec.VNI > api.MaxVNI || taken[n.Spec.VNI] {
			continue
		}
		taken[n.Spec.VNI] = true
		id := identityOf(n)
		id.asks(n)
		all = append(all, id)
	}
	return all
}

func identityOf(n *api.Network) Identity {
	forwarding := cmp.Or(n.Spec.Forwarding, api.ForwardingBoth)
	if e := n.Spec.Encapsulation; len(e) > 0 && e[0] == api.EncapsulationNone {
		forwarding = api.ForwardingPackets // there is no tunnel to carry frames
	}
	return Identity{
		Ref: api.RefTo(n), VRF: n.Spec.VNI, MTU: n.Spec.MTU, Domain: domainOf(n), Disabled: n.Spec.AdminState == api.AdminDown, ECMPFields: strings.Join(n.Spec.ECMPFields, " "), Encapsulations: encapsulationsOf(n),
		Forwarding: forwarding, Flooding: n.Spec.Flooding && forwarding != api.ForwardingPackets, Unchecked: n.Spec.PortSecurity == api.PortSecurityOff,
		Segment: segmentOf(n),
	}
}

// local derives what follows from a network's own objects alone: subnets,
// ports, reserved addresses, own routes and the hosts with a binding.
func local(id *Identity, objects source) *Network {
	hosts := objects.hosts
	n := &Network{Identity: id, Services: objects.services(id.Ref.UUID), tablesOf: map[string][]api.Ref{}}
	for _, sub := range objects.subnets(id.Ref.UUID) {
		if sub.Spec.CIDR.IsValid() {
			n.addSubnet(sub)
		}
	}
	n.addExternal(hosts)
	n.addPorts(objects, hosts)
	addresses := objects.addresses(id.Ref.UUID)
	n.addReservations(addresses, hosts)
	n.addVirtual(objects, addresses)
	n.addFloating(objects, addresses)
	n.addSourceNATs(objects, addresses)
	n.addAddresses(addresses)
	if !n.Frames() {
		n.addShared()
		n.addStatic(objects)
	}
	for _, routes := range [][]Route{n.Own, n.OwnEqual} {
		for i := range routes {
			if !routes[i].Host.IsZero() && !routes[i].Mapped.Is() { // these go by VXLAN
				routes[i].Encapsulations = n.Encapsulations
			}
		}
	}
	return n
}

func (n *Network) addSubnet(sub *api.Subnet) {
	subnet := Subnet{Ref: api.RefTo(sub), CIDR: sub.Spec.CIDR.Masked(), Gateway: sub.Spec.Gateway.Unmap(), Services: &sub.Spec.SubnetServices}
	if n.Frames() { // nobody answers for it
		subnet.Gateway = netip.Addr{}
	}
	n.Subnets = append(n.Subnets, subnet)
	if subnet.Gateway.IsValid() {
		n.Own = append(n.Own, Route{
			Prefix: hostPrefix(subnet.Gateway), Gateway: true, OriginKind: api.KindSubnet,
			Origin: subnet.Ref, OriginNetwork: n.Ref, OriginVRF: n.VRF,
		})
	}
}

// addPorts finds each port's active binding, and the hosts with any.
func (n *Network) addPorts(objects objects, hosts map[string]*Host) {
	members := map[string]bool{}
	for _, p := range objects.ports(n.Ref.UUID) {
		active, sequence := n.place(objects.bindings(p.Meta.UUID), hosts, members), int64(0)
		if active != nil {
			sequence = active.Meta.Revision
		}
		c, carried := objects.carrier(p.Meta.UUID)
		if carried {
			active, sequence = n.carry(c, active, objects.bindings(c.port.UUID), hosts, members)
		}
		if _, err := p.Spec.MAC.Bytes(); active == nil || err != nil {
			continue
		}
		port := &Port{
			Ref: api.RefTo(p), Network: n.Identity, MAC: p.Spec.MAC, Host: hosts[active.Spec.Host.UUID].Ref,
			Binding: api.RefTo(active), BindingRevision: sequence, Trunk: c.port, VLAN: c.vlan, Pairs: pairsOf(p), spoken: p.Status.Announced,
			Options: p.Spec.DHCPOptions, Project: p.Meta.Parent.UUID, Machine: p.Spec.VirtualMachine.UUID, Disabled: p.Spec.AdminState == api.AdminDown, Withdrawn: withdrawn(p),
		}
		port.MACLimit, port.Unchecked = learning(p, n.Identity)
		port.Limits = objects.limits(p)
		port.HostName, port.Domain = nameOf(p, objects.machine(port.Machine), n.Identity)
		n.ports = append(n.ports, port)
		if len(p.Spec.RouteTables) > 0 {
			n.tablesOf[p.Meta.UUID] = p.Spec.RouteTables
		}
	}
	n.orderMembers()
}

// learning is how many MACs are learned behind a port, and whether nothing is
// checked that it sends.
func learning(p *api.Port, network *Identity) (limit int, unchecked bool) {
	if l := p.Spec.MACLearning; l != nil && network.Forwarding != api.ForwardingPackets {
		limit = cmp.Or(l.Limit, api.DefaultMACLimit)
	}
	if p.Spec.PortSecurity == "" {
		return limit, network.Unchecked
	}
	return limit, p.Spec.PortSecurity == api.PortSecurityOff
}

// newer orders bindings by mobility sequence; the UUID only breaks ties.
func newer(a, b *api.Binding) bool {
	return cmp.Or(cmp.Compare(a.Meta.Revision, b.Meta.Revision), cmp.Compare(a.Meta.UUID, b.Meta.UUID)) > 0
}

// addAddresses gives the ports their addresses and makes routes to them.
func (n *Network) addAddresses(addresses []*api.Address) {
	ports := make(map[string]*Port, len(n.ports))
	for _, p := range n.ports {
		ports[p.Ref.UUID] = p
	}
	for _, a := range addresses {
		port := ports[a.Spec.Port.UUID]
		if port == nil || !a.Spec.IP.IsValid() {
			continue
		}
		address := n.address(api.RefTo(a), a.Spec.IP)
		port.Addresses = append(port.Addresses, address)
		n.Own = append(n.Own, Route{
			Prefix: hostPrefix(address.IP), Port: port.Ref, Host: port.Host, MAC: port.MAC, MTU: n.MTU, OriginKind: api.KindAddress,
			Origin: address.Ref, OriginNetwork: n.Ref, OriginVRF: n.VRF,
		})
	}
	for _, p := range n.ports {
		slices.SortStableFunc(p.Addresses, func(a, b PortAddress) int { return a.IP.Compare(b.IP) })
	}
	// Stable, and gateways were added first: of two routes with one prefix
	// (which the store's claims rule out) the gateway or the first by name wins.
	slices.SortStableFunc(n.Own, compareRoutes)
	n.Own = slices.CompactFunc(n.Own, func(a, b Route) bool { return a.Prefix == b.Prefix })
}

func compareRoutes(a, b Route) int { return a.Prefix.Compare(b.Prefix) }

func comparePorts(a, b *Port) int { return compareRefs(a.Ref, b.Ref) }

func hostPrefix(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }
