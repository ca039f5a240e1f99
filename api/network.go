// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"slices"
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
	// IPAM is the address space that the network shares with others.
	IPAM Ref `json:"ipam,omitzero" doc:"Address space that the network shares with others; fixed. Without one it has its own."`
	// MTU of the workloads' interfaces in bytes; 0 means the underlay's less
	// the cost of the tunnel.
	MTU int `json:"mtu,omitempty" doc:"MTU of workload interfaces, bytes; 0 means the underlay's less the tunnel's cost."`
	// HostReserve is how many workloads each host may start by itself while no
	// controller can be reached.
	HostReserve int `json:"hostReserve,omitempty" doc:"How many addresses of each family are claimed beforehand for every host, with which it starts new workloads while no controller can be reached; 0 to 256."`
	NetworkFeatures
}

// NetworkStatus is what the system reports of a network.
type NetworkStatus struct {
	MTU        int         `json:"mtu,omitempty" doc:"Largest packet that all workloads of the network may send to all others, bytes; absent while no host has a port of it."`
	MTUReason  string      `json:"mtuReason,omitempty" doc:"What it follows from."`
	Conditions []Condition `json:"conditions,omitempty"`
}

func (n *Network) Refs() []FieldRef {
	return append([]FieldRef{{"spec.ipam", KindIPAM, &n.Spec.IPAM, VerbAttach}}, n.Spec.NetworkFeatures.refs()...)
}

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
	if r := n.Spec.HostReserve; r < 0 || r > MaxHostReserve {
		p.Addf("spec.hostReserve", "%d is not between 0 and %d", r, MaxHostReserve)
	}
	n.Spec.NetworkFeatures.check(&p)
	return p
}

func (n *Network) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.vni", old.(*Network).Spec.VNI, n.Spec.VNI)
	immutable(&p, "spec.ipam", old.(*Network).Spec.IPAM, n.Spec.IPAM)
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

// AsksForUnderlay tells whether hosts are to route the network's addresses in
// their own tables: its workloads travel in the underlay, or hosts see them.
func (n *Network) AsksForUnderlay() bool {
	return n.Spec.HostVisible || len(n.Spec.Encapsulation) > 0 && n.Spec.Encapsulation[0] == EncapsulationNone
}

// AllocateFrom is the end of a subnet at which allocation begins.
type AllocateFrom string

// The ends.
const (
	FromBottom AllocateFrom = "bottom"
	FromTop    AllocateFrom = "top"
)

const (
	// MaxRanges bounds the pools, and the reserved ranges, of a subnet.
	// Allocation looks at each of them.
	MaxRanges = 64
	// DefaultQuarantineSeconds is how long a freed address rests. It covers
	// what others usually still know of its former holder: names resolved
	// (30 s is a common TTL in clusters), endpoints and open connections.
	DefaultQuarantineSeconds = 30
	// MaxQuarantineSeconds is a week; who needs longer keeps the address.
	MaxQuarantineSeconds = 7 * 24 * 3600
)

// SubnetSpec is what may be said about a subnet. Range and gateway are fixed;
// what concerns allocation may change, and leaves alone what was given out.
type SubnetSpec struct {
	CIDR netip.Prefix `json:"cidr,omitzero" doc:"The range, e.g. 10.0.1.0/24 or 2001:db8::/64; without host bits. Allocated from the subnet-pool when absent."`
	// SubnetPool is where the range comes from.
	SubnetPool   Ref `json:"subnetPool,omitzero" doc:"Subnet-pool that the range is from; fixed."`
	PrefixLength int `json:"prefixLength,omitempty" doc:"Prefix length of the range to allocate; the pool's when absent. Fixed."`
	// Gateway is the address the vRouter answers for. It defaults to the first
	// address of the range.
	Gateway netip.Addr `json:"gateway,omitzero" doc:"Address of the gateway; defaults to the first of the range."`
	// Pools are where addresses are allocated; none means the whole range.
	Pools []AddressRange `json:"pools,omitempty" doc:"Ranges to allocate from, e.g. 10.0.1.10-10.0.1.99; the whole subnet when absent. An ip that is asked for may lie outside."`
	// Reserved are never allocated, but given to who asks for one by ip.
	Reserved []AddressRange `json:"reserved,omitempty" doc:"Ranges that are never allocated; an ip in them is given to who asks for it."`
	// AllocateFrom defaults to bottom.
	AllocateFrom AllocateFrom `json:"allocateFrom,omitempty" enum:"bottom,top" doc:"Whether the lowest or the highest free address is allocated; bottom when absent."`
	// QuarantineSeconds is how long a freed address rests.
	QuarantineSeconds *int `json:"quarantineSeconds,omitempty" doc:"How long a freed address rests before it is given out again, 0 to 604800; 30 when absent. Its former owner may have it back at once by ip."`
	// SharedSpace is the UUID of the network's ipam, if it has one.
	SharedSpace string `json:"sharedSpace,omitempty" doc:"UUID of the network's ipam, if it has one. Read-only." readOnly:"true"`
	SubnetServices
}

// SubnetStatus is what the system reports of a subnet. Counts are of
// addresses, written some seconds late, and at most 9007199254740991.
type SubnetStatus struct {
	// Assignable is the size of the pools without what is reserved, the
	// gateway, and the network and broadcast address.
	Assignable uint64      `json:"assignable" doc:"Addresses that allocation has in all: the pools without what is reserved and the gateway."`
	Used       uint64      `json:"used" doc:"Addresses given out, also those outside the pools."`
	Reserved   uint64      `json:"reserved" doc:"Size of the reserved ranges."`
	Resting    uint64      `json:"resting" doc:"Addresses freed and in quarantine."`
	Free       uint64      `json:"free" doc:"Addresses that allocation can give out now."`
	Conditions []Condition `json:"conditions,omitempty"`
}

// Default fills in what follows from the spec itself.
func (s *Subnet) Default() {
	if !s.Spec.Gateway.IsValid() && s.Spec.CIDR.IsValid() {
		s.Spec.Gateway = s.Spec.CIDR.Masked().Addr().Next()
	}
	if s.Spec.AllocateFrom == "" {
		s.Spec.AllocateFrom = FromBottom
	}
	if s.Spec.QuarantineSeconds == nil {
		seconds := DefaultQuarantineSeconds
		s.Spec.QuarantineSeconds = &seconds
	}
}

// Quarantine is how many seconds a freed address rests.
func (s *Subnet) Quarantine() int {
	if s.Spec.QuarantineSeconds == nil {
		return DefaultQuarantineSeconds
	}
	return *s.Spec.QuarantineSeconds
}

// AddressSpace is the UUID of the space in which the subnet's addresses are unique.
func (s *Subnet) AddressSpace() string { return spaceOf(s.Meta.Parent, s.Spec.SharedSpace) }

// Allocatable returns the ranges that allocation may take from, ascending and
// disjoint: the pools less what is reserved, the gateway, and the addresses
// that cannot be assigned.
func (s *Subnet) Allocatable() []AddressRange {
	c := s.Spec.CIDR
	whole := AddressRange{c.Masked().Addr(), LastAddr(c)}
	ranges := slices.Clone(s.Spec.Pools)
	if len(ranges) == 0 {
		ranges = []AddressRange{whole}
	}
	slices.SortFunc(ranges, func(a, b AddressRange) int { return a.First.Compare(b.First) })
	cuts := append([]AddressRange{{whole.First, whole.First}, {s.Spec.Gateway, s.Spec.Gateway}}, s.Spec.Reserved...)
	if whole.Last.Is4() {
		cuts = append(cuts, AddressRange{whole.Last, whole.Last})
	}
	for _, cut := range cuts {
		ranges = withoutRange(ranges, cut)
	}
	return ranges
}

func (s *Subnet) Refs() []FieldRef {
	return []FieldRef{{"spec.subnetPool", KindSubnetPool, &s.Spec.SubnetPool, VerbAttach}}
}

// Claims holds the gateway as an address of the network. In a shared address
// space other networks may have the same one; there the store keeps addresses
// and gateways apart by a rule.
func (s *Subnet) Claims() []Claim {
	if s.Spec.SharedSpace != "" {
		return nil
	}
	return []Claim{addressClaim(s.Meta.Parent, s.Spec.Gateway, "spec.gateway")}
}

func (s *Subnet) Guards() []string {
	guards := []string{"subnets/" + s.Meta.Parent.UUID}
	if s.Spec.SharedSpace != "" {
		guards = append(guards, "subnets/"+s.Spec.SharedSpace)
	}
	if !s.Spec.SubnetPool.IsZero() {
		guards = append(guards, "subnet-pool/"+s.Spec.SubnetPool.UUID)
	}
	return guards
}

func (s *Subnet) Validate() Problems {
	var p Problems
	c := s.Spec.CIDR
	if s.Spec.PrefixLength != 0 && (s.Spec.SubnetPool.IsZero() || c.IsValid() && c.Bits() != s.Spec.PrefixLength) {
		p.Addf("spec.prefixLength", "is of a range to be allocated from a subnet-pool, and this is %v", c)
	}
	switch {
	case !c.IsValid() && !s.Spec.SubnetPool.IsZero() && s.unranged():
		return p // it gets one
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
	validateRanges(&p, "spec.pools", c, s.Spec.Pools)
	validateRanges(&p, "spec.reserved", c, s.Spec.Reserved)
	if f := s.Spec.AllocateFrom; f != "" && f != FromBottom && f != FromTop {
		p.Addf("spec.allocateFrom", "%q is neither %s nor %s", f, FromBottom, FromTop)
	}
	if q := s.Quarantine(); q < 0 || q > MaxQuarantineSeconds {
		p.Addf("spec.quarantineSeconds", "%d is not between 0 and %d (a week)", q, MaxQuarantineSeconds)
	}
	s.Spec.SubnetServices.check(&p, c)
	return p
}

// unranged tells whether nothing in the spec asks for a range that is known.
func (s *Subnet) unranged() bool {
	return !s.Spec.Gateway.IsValid() && len(s.Spec.Pools) == 0 && len(s.Spec.Reserved) == 0
}

func (s *Subnet) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*Subnet)
	immutable(&p, "spec.cidr", was.Spec.CIDR, s.Spec.CIDR)
	immutable(&p, "spec.gateway", was.Spec.Gateway, s.Spec.Gateway)
	immutable(&p, "spec.subnetPool", was.Spec.SubnetPool, s.Spec.SubnetPool)
	immutable(&p, "spec.prefixLength", was.Spec.PrefixLength, s.Spec.PrefixLength)
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
	// Reservation is for a host, instead of a port.
	Reservation *AddressReservation `json:"reservation,omitempty" doc:"Host that may give the address to a workload while no controller can be reached; not with port. Made and deleted by Weft as hostReserve of the network says."`
	// Project lets a tenant reserve addresses in a network of somebody else's
	// project, that are its own to see and to give up.
	Project Ref `json:"project,omitzero" doc:"Project that a reserved address counts to: the network's when absent at creation, or the only project of narrowed credentials. With a port, the port's counts. Kept when absent later."`
	// SharedSpace is the UUID of the network's ipam, if it has one.
	SharedSpace string `json:"sharedSpace,omitempty" doc:"UUID of the network's ipam, if it has one. Read-only." readOnly:"true"`
}

// AddressStatus is what the system reports of an address.
type AddressStatus struct {
	Taken      *TakenAddress `json:"taken,omitempty" doc:"Where the host put the address while it had no controller. The network's owner makes a port of that UUID and MAC, bound to the host, and moves the address to it in the same transaction."`
	Conditions []Condition   `json:"conditions,omitempty"`
}

func (a *Address) Refs() []FieldRef {
	refs := []FieldRef{
		{"spec.subnet", KindSubnet, &a.Spec.Subnet, ""}, // of the parent network, whose share covers it
		{"spec.port", KindPort, &a.Spec.Port, VerbEdit},
		{"spec.project", KindProject, &a.Spec.Project, VerbAttach},
	}
	if r := a.Spec.Reservation; r != nil {
		refs = append(refs, FieldRef{"spec.reservation.host", KindHost, &r.Host, ""})
	}
	return refs
}

// AddressSpace is the UUID of the space in which the address is unique.
func (a *Address) AddressSpace() string { return spaceOf(a.Meta.Parent, a.Spec.SharedSpace) }

// Claims holds the address in its address space.
func (a *Address) Claims() []Claim {
	space := a.Meta.Parent
	if a.Spec.SharedSpace != "" {
		space = Ref{UUID: a.Spec.SharedSpace, Name: "ipam " + a.Spec.SharedSpace}
	}
	return []Claim{addressClaim(space, a.Spec.IP, "spec.ip")}
}

func (a *Address) Guards() []string { return nil }

func (a *Address) Validate() Problems {
	var p Problems
	if ip := a.Spec.IP; ip.IsValid() && (ip.Zone() != "" || ip.Is4In6()) {
		p.Addf("spec.ip", "%v: write the address without zone, and IPv4 as IPv4", ip)
	}
	a.Spec.Reservation.check(a, &p)
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
