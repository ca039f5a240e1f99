// SPDX-License-Identifier: Apache-2.0

// Package routing derives, from all objects at one revision, the routes of
// every network: a pure function, equal inputs give equal outputs.
package routing

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// Derived is what follows from the objects of one snapshot. It never changes
// after Derive returned it; readers share it.
type Derived struct {
	Revision  int64
	Snapshot  api.Snapshot // the objects themselves
	Networks  []*Network   // by fully qualified name
	Hosts     []*Host      // by fully qualified name
	Conflicts []Conflict   // by network, then by prefix

	networks  map[string]*Network // by UUID
	hosts     map[string]*Host    // by UUID
	ports     portTable           // with an active binding
	importers map[string][]string // networks that import from one, all by UUID
	projects  map[string]*Project // by UUID
	made      *computation        // that last made anything of this other
}

// computation is one that made something.
type computation struct{ _ byte }

// Same tells that all is what it was in another outcome, but for the snapshot.
func (d *Derived) Same(e *Derived) bool { return d.made != nil && d.made == e.made }

// Network returns a network by its UUID, or nil if it has no VRF.
func (d *Derived) Network(uuid string) *Network { return d.networks[uuid] }

// Importers are the UUIDs of the networks that import from one, in no order. The
// slice is shared.
func (d *Derived) Importers(uuid string) []string { return d.importers[uuid] }

// Host returns a host by its UUID, or nil.
func (d *Derived) Host(uuid string) *Host { return d.hosts[uuid] }

// Port returns a port with an active binding by its UUID, or nil.
func (d *Derived) Port(uuid string) *Port { return d.ports.get(uuid) }

// Projects yields the projects that have a port with an active binding, in no order.
func (d *Derived) Projects(yield func(*Project) bool) {
	for _, p := range d.projects {
		if !yield(p) {
			return
		}
	}
}

// Ports returns the ports with an active binding, by fully qualified name.
func (d *Derived) Ports() []*Port {
	var all []*Port
	for _, n := range d.Networks {
		all = append(all, n.ports...)
	}
	slices.SortFunc(all, comparePorts)
	return all
}

// Host is a machine and the ports whose active binding it is.
type Host struct {
	Ref             api.Ref
	TunnelAddresses []netip.Addr
	UnderlayMTU     int      // largest IP packet, bytes; 0: not known
	Encapsulations  []string // what it can do; none: vxlan
	Ports           []*Port  // by fully qualified name
	// Reserved are the addresses it may give away by itself, by fully qualified name.
	Reserved []*Reservation
	// Floating are the floating addresses that lead to its ports, by association.
	Floating []*Floating
	// Externals are the networks with whose addresses its workloads go out, by name.
	Externals []*Identity
	// Physical are the physical networks that it has, Connects the external
	// networks that it connects, by fully qualified name.
	Physical []api.PhysicalNetwork
	Connects []*Identity
}

// Identity is which network it is, and what of it holds for all its ports.
type Identity struct {
	Ref api.Ref
	VRF uint32 // id of the VRF: the network's VNI
	MTU int    // 0: follows from the underlay
	// Fabric: its workloads ask to be routed in the underlay. Visible: hosts are
	// to see them. What becomes of it says Network.Underlay.
	Fabric, Visible bool
	created         int64
	// Domain is that of the names of its ports, without a dot at the end.
	Domain string
	// Disabled says that its adminState is down: nothing passes its ports.
	Disabled bool
	// ECMPFields are what equal next hops are chosen by, in words; empty: everything.
	ECMPFields string
	// Forwarding is what it does with frames and packets, Flooding whether it
	// floods, Unchecked that ports which say nothing have portSecurity off.
	Forwarding          string
	Flooding, Unchecked bool
	// Encapsulations are the ways to travel to its ports, the best first, with
	// spaces between them; empty: vxlan. Those that its VNI cannot be used with
	// are left out.
	Encapsulations string
	// Segment is where an external network is in the physical network.
	Segment Segment
}

// Frames says that the network has neither gateway nor routes.
func (i *Identity) Frames() bool { return i.Forwarding == api.ForwardingFrames }

// Network is a network with its VRF.
type Network struct {
	*Identity
	Subnets  []Subnet
	Services []api.NetworkService // of the fabric; never modified
	// Own are the routes made in this network, one for each prefix. They and
	// OwnEqual are the only ones it lends out.
	Own []Route
	// OwnEqual are further next hops of the prefixes in Own that are as good as
	// the one there. By prefix, then as they were chosen.
	OwnEqual []Route
	// Underlay says whether it is in the underlay, and seen by hosts.
	Underlay Underlay
	// Unresolved are static routes that lead nowhere, by prefix.
	Unresolved []Unresolved
	// UnresolvedCount counts them, also those that Unresolved has no room for.
	UnresolvedCount int
	// Imports are the networks whose routes are leaked into this one, in the
	// order in which they win against each other.
	Imports []Import
	// Senders are the hosts whose workloads may send into this network: those
	// with a binding, active or not, of a port in it or in a network that imports
	// it, or with a reserved address there. By fully qualified name.
	Senders []api.Ref
	// Routes is the VRF: own and leaked routes by prefix, one for each prefix.
	Routes []Route
	// Equal are further next hops of the prefixes in Routes, by prefix; each
	// connection takes one of all.
	Equal []Route
	// ConflictCount counts conflicts, also those that Derived.Conflicts has no
	// room for.
	ConflictCount int

	ports     []*Port        // of the network, with an active binding, by fully qualified name
	members   []api.Ref      // hosts with a binding, active or not, of a port in it; by fully qualified name
	reserved  []*Reservation // addresses that hosts may give away, by name
	floating  []*Floating    // associations of floating addresses, by name
	nats      []*SourceNAT   // addresses with which other networks go out, by source-nat and address
	connected []api.Ref      // hosts that connect an external network, by name
	conflicts []Conflict     // as far as Derived.Conflicts has room for them
	lost      []Conflict     // between its own routes

	tablesOf map[string][]api.Ref // route-tables by port, while local is at work
}

// Ports are the network's ports with an active binding, by fully qualified
// name. The slice is shared.
func (n *Network) Ports() []*Port { return n.ports }

// Reserved are the addresses that hosts may give away, by name. The slice is shared.
func (n *Network) Reserved() []*Reservation { return n.reserved }

// Places yields the hosts that have a port here, or one with a floating address
// of the network or that goes out with an address of it, or an address to give
// away, by UUID; some more than once.
func (n *Network) Places(yield func(string) bool) {
	for _, p := range n.ports {
		if !yield(p.Host.UUID) {
			return
		}
	}
	for _, r := range n.reserved {
		if !yield(r.Host.UUID) {
			return
		}
	}
	for _, f := range n.floating {
		if !f.Host.IsZero() && !yield(f.Host.UUID) {
			return
		}
	}
	for _, s := range n.nats {
		for _, host := range s.Hosts {
			if !yield(host.UUID) {
				return
			}
		}
	}
	for _, h := range n.connected {
		if !yield(h.UUID) {
			return
		}
	}
}

// Underlay is a network's place in the one address space of the underlay and
// of the hosts. Only networks that ask for one have it.
type Underlay struct {
	Fabric  bool // workloads are routed in the underlay
	Visible bool // hosts see workloads
	// Refused is what the network's subnets overlap with, instead; empty: nothing.
	Refused string
}

// Subnet is a range of a network.
type Subnet struct {
	Ref      api.Ref
	CIDR     netip.Prefix
	Gateway  netip.Addr
	Services *api.SubnetServices // never modified
}

// Import says that this network takes the routes of another.
type Import struct {
	Network api.Ref
	// By is the network-policy that joins the two, or the route-target that one
	// exports to and the other imports from. Kind says which.
	Kind api.Kind
	By   api.Ref
	// Target is the route-target that joins the two, whatever else does; zero: none.
	Target api.Ref
}

// Route is one route of a VRF. It is comparable.
type Route struct {
	Prefix netip.Prefix
	// Gateway marks an address that the vRouter answers for; it has no port.
	Gateway bool
	// Discard marks a prefix whose packets are dropped on purpose; it has no port.
	Discard bool
	// Outside is a gateway that is no host; it has no port.
	Outside Outside
	// Balancer marks a virtual address of the load-balancer that is the origin; it
	// has no port. The listeners are those of OriginVRF.
	Balancer bool
	// Mapped says that it is a floating address; Port is zero then.
	Mapped Mapped
	// Shared says that it is an address with which workloads of another network go
	// out; it has no port and no host.
	Shared Shared
	// External says that it leads to a router outside.
	External External
	// Encapsulations are those of the network that the port is in.
	Encapsulations string
	// Via is the next hop that a network's static route names, an address of Port.
	Via  netip.Addr
	Port api.Ref
	Host api.Ref // of the port's active binding; without port, the one the address is reserved for
	MAC  api.MAC
	MTU  int // of the network the port is in; 0: follows from the underlay
	// Origin is the object that made the route, OriginNetwork where it was
	// made, OriginVRF that network's VRF.
	OriginKind    api.Kind
	Origin        api.Ref
	OriginNetwork api.Ref
	OriginVRF     uint32
	// ECMPFields are the origin network's; only of a route that may have equals.
	ECMPFields string
	// Proxied says that whoever has the prefix may change while others talk to
	// it: neighbours are told the gateway's Ethernet address.
	Proxied bool
	// Announced is the number under which the port spoke for the address; 0: it
	// has it otherwise.
	Announced uint64
	// Routed says that packets take a router's hop: the route was leaked, or it
	// is a static one that leads beyond the network's subnets.
	Routed bool
	// LeakedBy is the network-policy or route-target that brought the route
	// here, zero for a route of the network itself; LeakKind says which.
	LeakKind api.Kind
	LeakedBy api.Ref
}

// Outside is a gateway that is no host, at the other end of a tunnel.
type Outside struct {
	Address       netip.Addr // invalid: there is none
	Encapsulation string
	Label         uint32
}

// The local preferences (RFC 4271, section 5.1.5) that routes have towards
// others: what a workload that runs here answers for, and what somebody wrote down.
const (
	PreferenceBound  = 200
	PreferenceStatic = 100
)

// Preference is the route's local preference.
func (r *Route) Preference() int {
	if r.Discard || r.Via.IsValid() || r.Outside.Address.IsValid() {
		return PreferenceStatic
	}
	return PreferenceBound
}

// Leaked tells whether the route was made in another network.
func (r *Route) Leaked() bool { return !r.LeakedBy.IsZero() }

// Port is a port with an active binding, for a sub-port that of the port that
// carries it.
type Port struct {
	Ref             api.Ref
	Network         *Identity
	MAC             api.MAC
	Host            api.Ref
	Binding         api.Ref
	BindingRevision int64
	Addresses       []PortAddress // by address
	// Sources are the prefixes of static routes that lead to the port; the
	// workload may send from addresses in them. Sorted.
	Sources []netip.Prefix
	// HostName is what DHCP and DNS call the workload, Domain the rest of that name.
	HostName string
	Domain   string
	Options  []api.DHCPOption // never modified
	Project  string           // UUID
	Machine  string           // UUID of the virtual-machine, may be empty
	// MACLimit is how many MACs are learned behind it at most; 0: none.
	MACLimit  int
	Unchecked bool // portSecurity is off
	// Pairs are what else it may send from, whatever the routes say. Sorted.
	Pairs []Pair
	// Disabled says that its own adminState is down.
	Disabled bool
	// Withdrawn says that by a health-check no route is to lead through it but
	// to its own addresses.
	Withdrawn bool
	// Trunk is the port that carries this one, if any, and VLAN its tag there.
	Trunk api.Ref
	VLAN  int
	// Announced are addresses of slaac subnets that it asked for and has. Sorted.
	Announced []netip.Addr
	// Limits are those of its qos-policy, or its network's.
	Limits Limits

	spoken []api.AnnouncedAddress // never modified
}

// Pair is a range of source addresses and the MAC that goes with them.
type Pair struct {
	Range netip.Prefix // without host bits
	MAC   api.MAC
	// Standby: an address in it goes to whoever spoke for it last; else all that
	// have the range share it.
	Standby bool
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
	Origin   api.Ref // object that made the route, or the subnet
	Network  api.Ref // in which it was made
	LeakedBy api.Ref // network-policy or route-target; zero for an own route
}
