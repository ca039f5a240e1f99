// SPDX-License-Identifier: Apache-2.0

// Package routing derives, from all objects at one revision, the routes of
// every network: a pure function, equal inputs give equal outputs.
package routing

import (
	"net/netip"

	"github.com/weft-network/weft/api"
)

// Derived is what follows from the objects of one snapshot. It never changes
// after Derive returned it; readers share it.
type Derived struct {
	Revision  int64
	Networks  []*Network // by fully qualified name
	Hosts     []*Host    // by fully qualified name
	Ports     []*Port    // with an active binding, by fully qualified name
	Conflicts []Conflict // by network, then by prefix

	networks map[string]*Network // by UUID
	hosts    map[string]*Host    // by UUID
	ports    map[string]*Port    // by UUID
}

// Network returns a network by its UUID, or nil if it has no VRF.
func (d *Derived) Network(uuid string) *Network { return d.networks[uuid] }

// Host returns a host by its UUID, or nil.
func (d *Derived) Host(uuid string) *Host { return d.hosts[uuid] }

// Port returns a port with an active binding by its UUID, or nil.
func (d *Derived) Port(uuid string) *Port { return d.ports[uuid] }

// Host is a machine and the ports whose active binding it is.
type Host struct {
	Ref             api.Ref
	TunnelAddresses []netip.Addr
	Ports           []*Port // by fully qualified name
}

// Network is a network with its VRF.
type Network struct {
	Ref      api.Ref
	VRF      uint32 // id of the VRF: the network's VNI
	MTU      int    // 0: follows from the underlay
	Domain   string // of the names of ports, without a dot at the end
	Subnets  []Subnet
	Services []api.NetworkService // never modified
	// Own are the routes made in this network, the only ones it lends out.
	Own []Route
	// Imports are the networks whose routes are leaked into this one, in the
	// order in which they win against each other.
	Imports []Import
	// Senders are the hosts whose workloads may send into this network: those
	// with a binding, active or not, of a port in it or in a network that imports
	// it. By fully qualified name.
	Senders []api.Ref
	// Routes is the VRF: own and leaked routes by prefix, one for each prefix.
	Routes []Route
	// ConflictCount counts conflicts, also those that Derived.Conflicts has no
	// room for.
	ConflictCount int
}

// Subnet is a range of a network.
type Subnet struct {
	Ref      api.Ref
	CIDR     netip.Prefix
	Gateway  netip.Addr
	Services *api.SubnetServices // never modified
}

// Import says that a policy joined this network with another.
type Import struct {
	Network api.Ref
	Policy  api.Ref
}

// Route is one route of a VRF. It is comparable.
type Route struct {
	Prefix netip.Prefix
	// Gateway marks an address that the vRouter answers for; it has no port.
	Gateway bool
	Port    api.Ref
	Host    api.Ref // of the port's active binding
	MAC     api.MAC
	MTU     int // of the network the port is in; 0: follows from the underlay
	// Origin is the object that made the route, OriginNetwork where it was
	// made, OriginVRF that network's VRF.
	OriginKind    api.Kind
	Origin        api.Ref
	OriginNetwork api.Ref
	OriginVRF     uint32
	// LeakedBy is the network-policy that brought the route here, zero for a
	// route of the network itself.
	LeakedBy api.Ref
}

// Leaked tells whether the route was made in another network.
func (r *Route) Leaked() bool { return !r.LeakedBy.IsZero() }

// Port is a port with an active binding.
type Port struct {
	Ref             api.Ref
	Network         *Network
	MAC             api.MAC
	Host            api.Ref
	Binding         api.Ref
	BindingRevision int64
	Addresses       []PortAddress // by address
	// HostName is what DHCP and DNS call the workload, Domain the rest of that name.
	HostName string
	Domain   string
	Options  []api.DHCPOption
	Project  string // UUID
	Machine  string // UUID of the virtual-machine, may be empty
}

// PortAddress is an address a port answers for.
type PortAddress struct {
	Ref api.Ref
	IP  netip.Addr
	// PrefixLength is that of the subnet; the whole address where there is none.
	PrefixLength int
	Gateway      netip.Addr // invalid where there is no subnet
	Subnet       string     // UUID; empty where there is none
}

// ConflictReason says what kind of conflict it is.
type ConflictReason string

// The reasons.
const (
	// SamePrefix: two routes for one prefix; the loser is not in the VRF.
	SamePrefix ConflictReason = "same-prefix"
	// OverlappingSubnets: a joined network has a subnet that overlaps one of
	// this network. Workloads take each other's addresses for neighbours and
	// do not send them to the gateway, so the leaked routes cannot be used.
	OverlappingSubnets ConflictReason = "overlapping-subnets"
)

// Conflict is a place where joined networks do not fit together. It is data:
// the outcome is deterministic all the same.
type Conflict struct {
	Network api.Ref
	Reason  ConflictReason
	Prefix  netip.Prefix // of the loser
	Winner  Claimant
	Loser   Claimant
}

// Claimant is one side of a conflict.
type Claimant struct {
	Origin  api.Ref // object that made the route, or the subnet
	Network api.Ref // in which it was made
	Policy  api.Ref // that leaked it; zero for an own route
}
