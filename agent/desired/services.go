// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// Subnet is what workloads are told about a subnet.
type Subnet struct {
	ID, Name      string
	Prefix        netip.Prefix
	Gateway       netip.Addr // may be invalid: none
	DHCP          bool       // IPv4
	Mode          api.AddressMode
	DNSServers    []netip.Addr // none: the gateway
	SearchDomains []string
	HostRoutes    []HostRoute
	LeaseSeconds  int
	Options       []Option
}

// HostRoute is a route that a workload is told.
type HostRoute struct {
	Destination netip.Prefix
	NextHop     netip.Addr
}

// Option is a further option of DHCP, or of DHCPv6.
type Option struct {
	Six   bool
	Code  int
	Value []byte
}

// FabricService is a service that the host knows by name, at an address of a network.
type FabricService struct {
	Name string
	At   netip.AddrPort
}

// fabricServices leaves out what has no address.
func fabricServices(rows []*hoststream.FabricService) (all []FabricService) {
	for _, s := range rows {
		if a, ok := netip.AddrFromSlice(s.Address); ok {
			all = append(all, FabricService{s.Name, netip.AddrPortFrom(a, uint16(s.Port))})
		}
	}
	return all
}

// NameKey names the port of a project that has a name.
type NameKey struct{ Project, Port string } // UUIDs

// Name is what a workload is called.
type Name struct {
	Name      string // with its domain, lower case, without a dot at the end
	Addresses []netip.Addr
}

// NameRow is the key of a name's row.
func NameRow(k NameKey) string { return "name/" + k.Project + "/" + k.Port }

// addresses leaves out what is none.
func addresses(raw [][]byte) (all []netip.Addr) {
	for _, b := range raw {
		if a, ok := netip.AddrFromSlice(b); ok {
			all = append(all, a)
		}
	}
	return all
}

// SubnetRow is the key of a subnet's row.
func SubnetRow(subnet string) string { return "subnet/" + subnet }

func subnet(m *hoststream.Subnet) (Subnet, error) {
	s := Subnet{
		ID: m.Subnet, Name: m.SubnetName, DHCP: m.Dhcp, Mode: api.AddressMode(m.AddressMode),
		SearchDomains: m.SearchDomains, LeaseSeconds: int(m.LeaseSeconds), Options: dhcpOptions(m.Options),
	}
	var err error
	if s.Prefix, err = prefix(m.PrefixAddress, m.PrefixLength); err != nil {
		return s, fmt.Errorf("subnet %s: %w", m.SubnetName, err)
	}
	s.Gateway, _ = netip.AddrFromSlice(m.Gateway) // none is allowed
	for _, raw := range m.DnsServers {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return s, fmt.Errorf("subnet %s: DNS server of %d bytes", m.SubnetName, len(raw))
		}
		s.DNSServers = append(s.DNSServers, a)
	}
	for _, r := range m.HostRoutes {
		destination, err := prefix(r.PrefixAddress, r.PrefixLength)
		hop, ok := netip.AddrFromSlice(r.NextHop)
		if err != nil || !ok {
			return s, fmt.Errorf("subnet %s: route of %d bytes through %d bytes", m.SubnetName, len(r.PrefixAddress), len(r.NextHop))
		}
		s.HostRoutes = append(s.HostRoutes, HostRoute{destination, hop})
	}
	return s, nil
}

func prefix(address []byte, length uint32) (netip.Prefix, error) {
	a, ok := netip.AddrFromSlice(address)
	p := netip.PrefixFrom(a, int(length))
	if !ok || !p.IsValid() || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%d bytes with prefix length %d are not a prefix", len(address), length)
	}
	return p, nil
}

func dhcpOptions(rows []*hoststream.DhcpOption) (options []Option) {
	for _, o := range rows {
		options = append(options, Option{o.Six, int(o.Code), o.Value})
	}
	return options
}
