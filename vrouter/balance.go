// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"

	"github.com/weft-network/weft/vrouter/rules"
)

// ListenerKey names a transport port of a virtual address.
type ListenerKey struct {
	VRF      uint32 // of the address's network
	Address  netip.Addr
	Protocol uint8
	Port     uint16
}

// Listener says who serves it.
type Listener struct {
	Choice   uint32 // number in the choices; 0: nobody
	Buckets  int    // that the choice has; the model looks there
	BySource bool   // the client's address alone chooses
	Ticks    uint32 // how long a silent client keeps its member; 0: it is not remembered
}

// Choice is who new conversations go to. It must not be changed once a listener
// has its number.
type Choice struct {
	Buckets []uint16 // numbers in Members; maglev.None is none
	Members []MAC
}

// PoolMemberKey names a member as a frame does.
type PoolMemberKey struct {
	ListenerKey
	MAC MAC
}

// PoolMember is where a member is, and who.
type PoolMember struct {
	NextHop  uint32 // id in NextHops
	MTU      int    // as in a Route
	Internal netip.AddrPort
	Identity rules.Identity
	Chosen   bool   // it is in the listener's choice
	Mapping  uint64 // number; 0: its port is not on this host
}

// Mapping joins what a workload has with what the network sees. That of a floating
// address is of all protocols and ports, which are 0 then.
type Mapping struct {
	Ifindex            int // of the workload's port
	VRF                uint32
	Protocol           uint8
	External, Internal netip.AddrPort
}

// FloatKey is an address of a port that has floating addresses.
type FloatKey struct {
	Ifindex  int
	Internal netip.Addr
}

// MaxFloats is how many mappings one address of a port can have.
const MaxFloats = int(layoutFloatBoundFLOATS)

// Float is their numbers, by external VRF and external address; 0: no more.
type Float struct {
	Mappings [MaxFloats]uint64
	Alias    uint64 // the one whose external address is the internal one, 0: none
}

// AffinityKey names a client of a listener.
type AffinityKey struct {
	VRF      uint32 // of the client
	Listener ListenerKey
	Client   netip.Addr
}

// Affinity is the member that it keeps.
type Affinity struct {
	MAC  MAC
	Tick uint32 // when it was last used
}

// memberMAC begins the MACs that name members.
const memberMAC = byte(layoutMemberMacMEMBER_MAC)

// The remotes that a workload sees which calls itself.
var (
	HairpinRemote4 = netip.MustParseAddr("169.254.64.1")
	HairpinRemote6 = netip.MustParseAddr("fd77:6566:7400::1")
)
