// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

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
	// Architectures and UserClass are what a client says of itself that is told
	// the option; none: any client is.
	Architectures []uint16
	UserClass     string
}

// FabricService is a service that the host knows by name, at an address of a network.
type FabricService struct {
	Name string
	At   netip.AddrPort
	UDP  bool // else TCP
}

// fabricServices leaves out what has no address.
func fabricServices(rows []*hoststream.FabricService) (all []FabricService) {
	for _, s := range rows {
		if a, ok := netip.AddrFromSlice(s.Address); ok {
			all = append(all, FabricService{s.Name, netip.AddrPortFrom(a, uint16(s.Port)), s.Udp})
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

func (r *Rows) noteName(k NameKey) {
	if r.named != nil {
		r.named[k] = struct{}{}
	}
}

// TakeNames returns the names that changed or went since it was asked last, the
// first time all that there are.
func (t *Table) TakeNames() []NameKey {
	changed := t.named
	if changed == nil {
		t.named = map[NameKey]struct{}{}
		return slices.Collect(maps.Keys(t.Names))
	}
	if len(changed) > 0 {
		t.named = map[NameKey]struct{}{}
	}
	return slices.Collect(maps.Keys(changed))
}

// addresses leaves out what is none.
func addresses(raw [][]byte) (all []netip.Addr) {
	for _, b := range raw {
		if a, ok := netip.AddrFromSlice(b); ok {
			all = append(all, a)
		}
	}
	return all
}

// SubnetKey names a subnet of a VRF.
type SubnetKey struct {
	VRF uint32
	ID  string // UUID
}

// SubnetRow is the key of a subnet's row.
func SubnetRow(k SubnetKey) string { return fmt.Sprintf("subnet/%d/%s", k.VRF, k.ID) }

func (r *Rows) insertSubnet(key string, m *hoststream.Subnet) (string, error) {
	s, err := subnet(m)
	if err != nil {
		return "", err
	}
	id := SubnetKey{m.Vrf, s.ID}
	k := SubnetRow(id)
	if k == key {
		r.Subnets[id] = s
	}
	return k, nil
}

func (r *Rows) insertName(key string, m *hoststream.Name) string {
	id := NameKey{m.Project, m.Port}
	k := NameRow(id)
	if k == key {
		r.Names[id] = Name{m.Name, addresses(m.Addresses)}
		r.noteName(id)
	}
	return k
}

func subnet(m *hoststream.Subnet) (Subnet, error) {
	s := Subnet{
		ID: m.Subnet, Name: m.SubnetName, DHCP: m.Dhcp, Mode: api.AddressMode(m.AddressMode),
		SearchDomains: m.SearchDomains, LeaseSeconds: int(m.LeaseSeconds), Options: dhcpOptions(m.ConditionalOptions, m.Options),
	}
	var ok bool
	if s.Prefix, ok = prefix(m.PrefixAddress, m.PrefixLength); !ok {
		return s, fmt.Errorf("subnet %s: %d bytes with prefix length %d are not a prefix", m.SubnetName, len(m.PrefixAddress), m.PrefixLength)
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
		destination, is := prefix(r.PrefixAddress, r.PrefixLength)
		hop, ok := netip.AddrFromSlice(r.NextHop)
		if !is || !ok {
			return s, fmt.Errorf("subnet %s: route of %d bytes through %d bytes", m.SubnetName, len(r.PrefixAddress), len(r.NextHop))
		}
		s.HostRoutes = append(s.HostRoutes, HostRoute{destination, hop})
	}
	return s, nil
}

// dhcpOptions lists options, those with a condition first: of two with one code
// that a client may be told, the first counts.
func dhcpOptions(conditional []*hoststream.ConditionalOption, rows []*hoststream.DhcpOption) (options []Option) {
	for _, c := range conditional {
		o := c.GetOption()
		option := Option{Six: o.GetSix(), Code: int(o.GetCode()), Value: o.GetValue(), UserClass: c.UserClass}
		for _, n := range c.Architectures {
			option.Architectures = append(option.Architectures, uint16(n))
		}
		options = append(options, option)
	}
	for _, o := range rows {
		options = append(options, Option{Six: o.Six, Code: int(o.Code), Value: o.Value})
	}
	return options
}
