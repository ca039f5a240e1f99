// SPDX-License-Identifier: Apache-2.0

package services

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/advertise"
	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/dhcp4"
	"github.com/weft-network/weft/agent/dhcp6"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// Facts are what the services know of a port.
type Facts struct {
	Port      string // UUID
	Ifindex   int    // for a sub-port the number that stands for it
	Device    int    // that its frames come and go through
	VLAN      uint16 // and their tag; 0: none
	Alias     uint32 // by which the host path knows it; 0: not yet
	Project   string // UUID
	Machine   string // UUID; may be empty
	Addresses []netip.Addr
	Ranges    []netip.Prefix // of its subnets
	MAC       [6]byte
	DHCP4     dhcp4.Facts
	DHCP6     dhcp6.Facts
	Advertise *advertise.Facts // nil: no advertisements
}

// serverWithoutGateway identifies the DHCP server of a subnet that has no
// gateway; renewals to it do not arrive, and clients then ask everybody.
var serverWithoutGateway = netip.MustParseAddr("169.254.169.254")

// Of computes the facts of a port on an interface.
func Of(rows desired.Rows, port desired.Port, at datapath.Attachment, underlay datapath.Underlay) Facts {
	f := Facts{Port: port.ID, Ifindex: at.Ifindex, Device: cmp.Or(at.Device, at.Ifindex), VLAN: at.VLAN, Project: port.Project, Machine: port.Machine, MAC: port.MAC}
	for _, a := range port.Addresses {
		f.Addresses = append(f.Addresses, a.Prefix.Addr())
		if r := a.Prefix.Masked(); !slices.Contains(f.Ranges, r) {
			f.Ranges = append(f.Ranges, r)
		}
	}
	mtu := datapath.PortMTU(port, at, rows, underlay)
	four, _ := datapath.Gateways(port)
	if !four.IsValid() {
		four = serverWithoutGateway
	}
	f.DHCP4 = dhcp4.Facts{MAC: port.MAC, Server: four, MTU: mtu, HostName: port.HostName, Domain: port.Domain}
	f.DHCP6 = dhcp6.Facts{Server: vrouter.GatewayMAC, Search: searchOf(port.Domain)}
	a := &advertise.Facts{MAC: vrouter.GatewayMAC, MTU: mtu, Search: searchOf(port.Domain)}
	for _, option := range port.Options {
		f.add6(option)
	}
	for _, address := range port.Addresses {
		s, known := rows.Subnets[desired.SubnetKey{VRF: port.VRF, ID: address.Subnet}]
		if !known {
			continue
		}
		if address.Prefix.Addr().Is4() {
			f.add4(s, address, port)
			continue
		}
		f.addSubnet6(a, s, address)
	}
	if len(a.Prefixes) > 0 && rows.Disabled(port) == "" {
		f.Advertise = a
	}
	return f
}

func searchOf(domain string) []string {
	if domain == "" {
		return nil
	}
	return []string{domain}
}

// serversOf are the DNS servers of a subnet: its own, or its gateway.
func serversOf(s desired.Subnet) []netip.Addr {
	if len(s.DNSServers) > 0 {
		return s.DNSServers
	}
	if s.Gateway.IsValid() {
		return []netip.Addr{s.Gateway}
	}
	return nil
}

func (f *Facts) add4(s desired.Subnet, address desired.Address, port desired.Port) {
	if !s.DHCP {
		return
	}
	lease := dhcp4.Lease{
		Prefix: address.Prefix, Gateway: s.Gateway, DNS: serversOf(s), Search: s.SearchDomains, Time: time.Duration(s.LeaseSeconds) * time.Second,
	}
	for _, r := range s.HostRoutes {
		lease.Routes = append(lease.Routes, dhcp4.Route{Destination: r.Destination, NextHop: r.NextHop})
	}
	for _, o := range slices.Concat(port.Options, s.Options) {
		if !o.Six {
			lease.Options = append(lease.Options, dhcp4.Option{Code: uint8(o.Code), Value: o.Value, Architectures: o.Architectures, UserClass: o.UserClass})
		}
	}
	f.DHCP4.Leases = append(f.DHCP4.Leases, lease)
}

func (f *Facts) add6(o desired.Option) {
	if o.Six {
		f.DHCP6.Options = append(f.DHCP6.Options, dhcp6.Option{Code: uint16(o.Code), Value: o.Value, Architectures: o.Architectures, UserClass: o.UserClass})
	}
}

// addSubnet6 adds what DHCPv6 and advertisements say of a subnet. Where one
// subnet's mode asks for DHCPv6 the workload uses it for all.
func (f *Facts) addSubnet6(a *advertise.Facts, s desired.Subnet, address desired.Address) {
	if s.Mode == api.ModeNone || s.Mode == "" {
		return
	}
	lease := time.Duration(s.LeaseSeconds) * time.Second
	self := s.Mode == api.ModeSLAAC || s.Mode == api.ModeStateless
	prefix := advertise.Prefix{Range: s.Prefix, Autonomous: self, Time: lease}
	if !slices.Contains(a.Prefixes, prefix) {
		a.Prefixes = append(a.Prefixes, prefix)
	}
	a.Router = a.Router || s.Gateway.IsValid()
	a.Managed = a.Managed || s.Mode == api.ModeStateful
	a.Other = a.Other || s.Mode == api.ModeStateless
	f.DHCP6.Prefixes = append(f.DHCP6.Prefixes, s.Prefix)
	if s.Mode == api.ModeStateful {
		f.DHCP6.Addresses = append(f.DHCP6.Addresses, address.Prefix.Addr())
	}
	if f.DHCP6.Time == 0 || lease < f.DHCP6.Time {
		f.DHCP6.Time = lease
	}
	for _, server := range serversOf(s) {
		if !slices.Contains(a.DNS, server) {
			a.DNS = append(a.DNS, server)
		}
	}
	for _, domain := range s.SearchDomains {
		if !slices.Contains(a.Search, domain) {
			a.Search = append(a.Search, domain)
		}
	}
	f.DHCP6.DNS, f.DHCP6.Search = a.DNS, a.Search
	for _, o := range s.Options {
		f.add6(o)
	}
}

// reachLocal tells workloads of subnets without gateway the way to what their
// host offers at link-local addresses: straight out of the interface. Networks of
// frames only are offered nothing there, and a workload that was told a way would
// wait for an answer instead of going on without.
func (f *Facts) reachLocal(v desired.VRF, local datapath.Local) {
	if v.Frames() {
		return
	}
	var at []netip.Addr
	if local.Metadata != 0 {
		at = append(at, datapath.MetadataAddresses[0])
	}
	for _, s := range v.Services {
		if local.Fabric[datapath.Fabric{Name: s.Name, UDP: s.UDP}] != 0 && s.At.Addr().Is4() && !slices.Contains(at, s.At.Addr()) {
			at = append(at, s.At.Addr())
		}
	}
	for i := range f.DHCP4.Leases {
		lease := &f.DHCP4.Leases[i]
		if lease.Gateway.IsValid() {
			continue
		}
		for _, a := range at {
			lease.Routes = append(lease.Routes, dhcp4.Route{Destination: netip.PrefixFrom(a, 32), NextHop: netip.IPv4Unspecified()})
		}
	}
}

// Table is the facts of all plugged ports by interface. It never changes.
type Table map[int]Facts

// knowledge is what is known at one moment. It never changes.
type knowledge struct {
	ports   Table
	aliases map[uint32]int // interfaces
}

func knowledgeOf(t Table) *knowledge {
	k := &knowledge{ports: t, aliases: make(map[uint32]int, len(t))}
	for ifindex, f := range t {
		if f.Alias != 0 {
			k.aliases[f.Alias] = ifindex
		}
	}
	return k
}

// tableOf computes the facts of everything on this host.
func tableOf(c *host.Core) Table {
	table := Table{}
	rows := c.Rows()
	for id, p := range c.Plugs() {
		if port, bound := rows.Ports[id]; bound && p.Failure == "" {
			f := Of(rows, port, p.Attachment, c.Underlay())
			f.Alias = c.Alias(p.Ifindex)
			f.reachLocal(rows.VRFs[port.VRF], c.Local())
			table[p.Ifindex] = f
		}
	}
	return table
}
