// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"net/netip"
	"slices"

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
// policy is missing joins nothing. Of two networks with one VNI the first by
// name has it and the other has no VRF (the store admits no such pair; were
// there one, tenants must not meet).
func Derive(s api.Snapshot) *Derived {
	d := &Derived{
		Revision: s.Revision(),
		networks: map[string]*Network{},
		hosts:    map[string]*Host{},
		ports:    map[string]*Port{},
	}
	d.addHosts(s)
	d.addNetworks(s)
	d.addPorts(s)
	d.addAddresses(s)
	d.addImports(s)
	d.addSenders(s)
	for _, n := range d.Networks {
		d.leak(n)
	}
	return d
}

func (d *Derived) addHosts(s api.Snapshot) {
	for _, h := range api.ListOf[*api.Host](s, api.KindHost) {
		host := &Host{Ref: api.RefTo(h)}
		for _, a := range h.Spec.TunnelAddresses {
			if a.IsValid() {
				host.TunnelAddresses = append(host.TunnelAddresses, a.Unmap())
			}
		}
		d.Hosts = append(d.Hosts, host)
		d.hosts[host.Ref.UUID] = host
	}
}

func (d *Derived) addNetworks(s api.Snapshot) {
	taken := map[uint32]bool{}
	for _, n := range api.ListOf[*api.Network](s, api.KindNetwork) {
		if n.Spec.VNI == 0 || n.Spec.VNI > api.MaxVNI || taken[n.Spec.VNI] {
			continue
		}
		taken[n.Spec.VNI] = true
		network := &Network{Ref: api.RefTo(n), VRF: n.Spec.VNI, MTU: n.Spec.MTU, Domain: domainOf(n), Services: n.Spec.Services}
		d.Networks = append(d.Networks, network)
		d.networks[network.Ref.UUID] = network
	}
	for _, sub := range api.ListOf[*api.Subnet](s, api.KindSubnet) {
		network := d.networks[sub.Meta.Parent.UUID]
		if network == nil || !sub.Spec.CIDR.IsValid() {
			continue
		}
		subnet := Subnet{Ref: api.RefTo(sub), CIDR: sub.Spec.CIDR.Masked(), Gateway: sub.Spec.Gateway.Unmap(), Services: &sub.Spec.SubnetServices}
		network.Subnets = append(network.Subnets, subnet)
		if subnet.Gateway.IsValid() {
			network.Own = append(network.Own, Route{
				Prefix: hostPrefix(subnet.Gateway), Gateway: true, OriginKind: api.KindSubnet,
				Origin: subnet.Ref, OriginNetwork: network.Ref, OriginVRF: network.VRF,
			})
		}
	}
}

// addPorts finds each port's active binding. The store admits one; were there
// more, the newest wins.
func (d *Derived) addPorts(s api.Snapshot) {
	active := map[string]*api.Binding{} // by port
	for _, b := range api.ListOf[*api.Binding](s, api.KindBinding) {
		if !b.Spec.Active || d.hosts[b.Spec.Host.UUID] == nil {
			continue
		}
		port := b.Meta.Parent.UUID
		if old := active[port]; old == nil || newer(b, old) {
			active[port] = b
		}
	}
	for _, p := range api.ListOf[*api.Port](s, api.KindPort) {
		binding, network := active[p.Meta.UUID], d.networks[p.Spec.Network.UUID]
		if _, err := p.Spec.MAC.Bytes(); binding == nil || network == nil || err != nil {
			continue
		}
		host := d.hosts[binding.Spec.Host.UUID]
		port := &Port{
			Ref: api.RefTo(p), Network: network, MAC: p.Spec.MAC, Host: host.Ref,
			Binding: api.RefTo(binding), BindingRevision: binding.Meta.Revision, Options: p.Spec.DHCPOptions, Project: p.Meta.Parent.UUID, Machine: p.Spec.VirtualMachine.UUID,
		}
		port.HostName, port.Domain = nameOf(s, p, network)
		d.Ports = append(d.Ports, port)
		d.ports[port.Ref.UUID] = port
		host.Ports = append(host.Ports, port)
	}
}

// newer orders bindings by mobility sequence; the UUID only breaks ties.
func newer(a, b *api.Binding) bool {
	return cmp.Or(cmp.Compare(a.Meta.Revision, b.Meta.Revision), cmp.Compare(a.Meta.UUID, b.Meta.UUID)) > 0
}

func (d *Derived) addAddresses(s api.Snapshot) {
	for _, a := range api.ListOf[*api.Address](s, api.KindAddress) {
		port := d.ports[a.Spec.Port.UUID]
		if port == nil || !a.Spec.IP.IsValid() || a.Meta.Parent.UUID != port.Network.Ref.UUID {
			continue
		}
		ip := a.Spec.IP.Unmap().WithZone("")
		address := PortAddress{Ref: api.RefTo(a), IP: ip, PrefixLength: ip.BitLen()}
		for _, sub := range port.Network.Subnets {
			if sub.CIDR.Contains(ip) {
				address.PrefixLength, address.Gateway = sub.CIDR.Bits(), sub.Gateway
				address.Subnet = sub.Ref.UUID
				break
			}
		}
		port.Addresses = append(port.Addresses, address)
		port.Network.Own = append(port.Network.Own, Route{
			Prefix: hostPrefix(ip), Port: port.Ref, Host: port.Host, MAC: port.MAC, MTU: port.Network.MTU, OriginKind: api.KindAddress,
			Origin: address.Ref, OriginNetwork: port.Network.Ref, OriginVRF: port.Network.VRF,
		})
	}
	for _, p := range d.Ports {
		slices.SortStableFunc(p.Addresses, func(a, b PortAddress) int { return a.IP.Compare(b.IP) })
	}
	for _, n := range d.Networks {
		// Stable, and gateways were added first: of two routes with one prefix
		// (which the store's claims rule out) the gateway or the first by name wins.
		slices.SortStableFunc(n.Own, compareRoutes)
		n.Own = slices.CompactFunc(n.Own, func(a, b Route) bool { return a.Prefix == b.Prefix })
	}
}

func compareRoutes(a, b Route) int { return a.Prefix.Compare(b.Prefix) }

func hostPrefix(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }
