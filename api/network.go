// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"strconv"
)

// MaxVNI is the largest VXLAN network identifier (24 bits, RFC 7348). It is
// also the upper end of VRF ids: a network's VRF has the number of its VNI.
const MaxVNI = 1<<24 - 1

// Network is one virtual network: one VRF, one VNI.
type Network struct {
	Header
	Spec   NetworkSpec   `json:"spec"`
	Status NetworkStatus `json:"status,omitzero"`
}

// NetworkSpec is what may be said about a network.
type NetworkSpec struct {
	// VNI is allocated when 0, and fixed from then on.
	VNI uint32 `json:"vni,omitempty" doc:"VXLAN network identifier, 1 to 16777215; allocated when absent, then fixed."`
	// MTU of the workloads' interfaces in bytes; 0 means the underlay's less
	// the cost of the tunnel.
	MTU int `json:"mtu,omitempty" doc:"MTU of workload interfaces, bytes; 0 means the underlay's less the tunnel's cost."`
	NetworkFeatures
}

// NetworkStatus is what the system reports of a network.
type NetworkStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (n *Network) Refs() []FieldRef { return n.Spec.NetworkFeatures.refs() }

func (n *Network) Claims() []Claim {
	vni := strconv.FormatUint(uint64(n.Spec.VNI), 10)
	return append(n.Spec.NetworkFeatures.claims(), Claim{"vni/" + vni, "spec.vni", "VNI " + vni})
}

func (n *Network) Guards() []string { return nil }

func (n *Network) Validate() Problems {
	var p Problems
	if n.Spec.VNI > MaxVNI {
		p.Addf("spec.vni", "%d is not between 1 and %d", n.Spec.VNI, MaxVNI)
	}
	if m := n.Spec.MTU; m != 0 && (m < 1280 || m > 65535) {
		p.Addf("spec.mtu", "%d is not between 1280 (IPv6's minimum, RFC 8200) and 65535", m)
	}
	n.Spec.NetworkFeatures.check(&p)
	return p
}

func (n *Network) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.vni", old.(*Network).Spec.VNI, n.Spec.VNI)
	return p
}

func (n *Network) StatusBody() any { return &n.Status }

// Subnet is a range of addresses of a network. Subnets of one network do not
// overlap; subnets of different networks may.
type Subnet struct {
	Header
	Spec   SubnetSpec   `json:"spec"`
	Status SubnetStatus `json:"status,omitzero"`
}

// SubnetSpec is fixed at creation.
type SubnetSpec struct {
	CIDR netip.Prefix `json:"cidr" doc:"The range, e.g. 10.0.1.0/24 or 2001:db8::/64; without host bits."`
	// Gateway is the address the vRouter answers for. It defaults to the first
	// address of the range.
	Gateway netip.Addr `json:"gateway,omitzero" doc:"Address of the gateway; defaults to the first of the range."`
}

// SubnetStatus is what the system reports of a subnet.
type SubnetStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

// Default fills in what follows from the spec itself.
func (s *Subnet) Default() {
	if !s.Spec.Gateway.IsValid() && s.Spec.CIDR.IsValid() {
		s.Spec.Gateway = s.Spec.CIDR.Masked().Addr().Next()
	}
}

func (s *Subnet) Refs() []FieldRef { return nil }

// Claims holds the gateway as an address of the network.
func (s *Subnet) Claims() []Claim {
	return []Claim{addressClaim(s.Meta.Parent, s.Spec.Gateway, "spec.gateway")}
}

func (s *Subnet) Guards() []string { return []string{"subnets/" + s.Meta.Parent.UUID} }

func (s *Subnet) Validate() Problems {
	var p Problems
	c := s.Spec.CIDR
	switch {
	case !c.IsValid():
		p.Addf("spec.cidr", "is required, e.g. 10.0.1.0/24")
		return p
	case c != c.Masked():
		p.Addf("spec.cidr", "%v has host bits set: did you mean %v?", c, c.Masked())
		return p
	case c.Addr().Is4In6():
		p.Addf("spec.cidr", "%v is IPv4 in IPv6 form: write it as IPv4", c)
		return p
	case c.Bits() < 8 || c.Bits() > c.Addr().BitLen()-2:
		p.Addf("spec.cidr", "%v must have a prefix length from 8 to %d", c, c.Addr().BitLen()-2)
		return p
	}
	if a := c.Addr(); a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() {
		p.Addf("spec.cidr", "%v is not a range for workloads", c)
	}
	if g := s.Spec.Gateway; g.IsValid() && (!c.Contains(g) || g.Zone() != "" || !Assignable(c, g)) {
		p.Addf("spec.gateway", "%v is not an assignable address of %v", g, c)
	}
	return p
}

func (s *Subnet) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*Subnet)
	immutable(&p, "spec.cidr", was.Spec.CIDR, s.Spec.CIDR)
	immutable(&p, "spec.gateway", was.Spec.Gateway, s.Spec.Gateway)
	return p
}

func (s *Subnet) StatusBody() any { return &s.Status }

// Assignable tells whether an address of a range may be given to a port or
// gateway: not the network address (in IPv6 the subnet-router anycast address,
// RFC 4291 section 2.6.1) and not the IPv4 broadcast address.
func Assignable(c netip.Prefix, a netip.Addr) bool {
	if !c.Contains(a) || a == c.Masked().Addr() {
		return false
	}
	return !a.Is4() || a != LastAddr(c)
}

// LastAddr returns the highest address of a range.
func LastAddr(c netip.Prefix) netip.Addr {
	bytes := c.Masked().Addr().AsSlice()
	for bit := c.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

// Address is one IP address of a network. With a port, the port answers for
// it; without, it is reserved.
type Address struct {
	Header
	Spec   AddressSpec   `json:"spec"`
	Status AddressStatus `json:"status,omitzero"`
}

// AddressSpec says which address of which subnet is held by which port.
type AddressSpec struct {
	Subnet Ref `json:"subnet,omitzero" doc:"Subnet of the address. Without one, and without an ip, the network must have exactly one."`
	// IP is allocated from the subnet when absent, and fixed from then on.
	IP   netip.Addr `json:"ip,omitzero" doc:"The address; allocated when absent, then fixed."`
	Port Ref        `json:"port,omitzero" doc:"Port that answers for the address; none means reserved."`
}

// AddressStatus is what the system reports of an address.
type AddressStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (a *Address) Refs() []FieldRef {
	return []FieldRef{
		{"spec.subnet", KindSubnet, &a.Spec.Subnet, VerbAttach},
		{"spec.port", KindPort, &a.Spec.Port, VerbEdit},
	}
}

// Claims holds the address in its address space, which is the network.
func (a *Address) Claims() []Claim {
	return []Claim{addressClaim(a.Meta.Parent, a.Spec.IP, "spec.ip")}
}

func (a *Address) Guards() []string { return nil }

func (a *Address) Validate() Problems {
	var p Problems
	if ip := a.Spec.IP; ip.IsValid() && (ip.Zone() != "" || ip.Is4In6()) {
		p.Addf("spec.ip", "%v: write the address without zone, and IPv4 as IPv4", ip)
	}
	return p
}

func (a *Address) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*Address)
	immutable(&p, "spec.subnet", was.Spec.Subnet, a.Spec.Subnet)
	immutable(&p, "spec.ip", was.Spec.IP, a.Spec.IP)
	return p
}

func (a *Address) StatusBody() any { return &a.Status }

// addressClaim is how an IP address is held within an address space. The
// space is part of the key: equal addresses of different networks never meet.
func addressClaim(space Ref, ip netip.Addr, field string) Claim {
	return Claim{
		Key:   AddressClaimPrefix(space.UUID) + addrKey(ip),
		Field: field,
		What:  "address " + addrKey(ip) + " in " + space.String(),
	}
}

// AddressClaimPrefix is the path under which the addresses of a space are claimed.
func AddressClaimPrefix(space string) string { return "address/" + space + "/" }
