// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Service is an address and port of a VRF behind which this host listens.
type Service struct {
	VRF      uint32
	Address  netip.Addr
	Protocol byte // 6 or 17
	Port     uint16
}

// HostFlow names a conversation between a workload and this host.
type HostFlow struct {
	Ifindex      int
	Six          bool
	Protocol     byte
	WorkloadPort uint16 // as the host sees it
	HostPort     uint16
}

// HostFlowState is what the workload sees of a conversation.
type HostFlowState struct {
	Seen         time.Duration // of the monotonic clock, when it was used last
	Workload     netip.Addr    // the workload's own address
	WorkloadPort uint16        // its own port
	Peer         netip.Addr    // who it talks to
	PeerPort     uint16
	FromHost     bool // the host began
}

// Numbers of aliases.
const (
	HostAlias = 1 // the host's own
	MinAlias  = 2
	MaxAlias  = 1<<14 - 2 // the last is the broadcast address of the IPv4 range
)

// AliasRange4 and AliasRange6 are where the addresses are by which a host knows
// its ports. They mean something on the host path only.
var (
	AliasRange4 = netip.MustParsePrefix("169.254.64.0/18")
	AliasRange6 = netip.MustParsePrefix("fe80::7765:6674:0:0/114")
)

// AliasAddress returns the address of a number in a family.
func AliasAddress(number uint32, six bool) netip.Addr {
	if six {
		raw := AliasRange6.Addr().As16()
		binary.BigEndian.PutUint32(raw[12:], number)
		return netip.AddrFrom16(raw)
	}
	raw := AliasRange4.Addr().As4()
	binary.BigEndian.PutUint32(raw[:], binary.BigEndian.Uint32(raw[:])|number)
	return netip.AddrFrom4(raw)
}

// AliasNumber is the reverse; 0 for an address that is no alias.
func AliasNumber(a netip.Addr) uint32 {
	a = a.Unmap().WithZone("")
	raw := a.AsSlice()
	if !AliasRange4.Contains(a) && !AliasRange6.Contains(a) {
		return 0
	}
	return binary.BigEndian.Uint32(raw[len(raw)-4:]) & (1<<14 - 1)
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

func familyOf(six bool) layoutFamily {
	if six {
		return layoutFamilyFAMILY_6
	}
	return layoutFamilyFAMILY_4
}

var serviceCodec = codec[Service, uint16, layoutServiceKey, uint16]{
	key: func(s Service) (layoutServiceKey, error) {
		address, family, err := addressToRaw(s.Address)
		return layoutServiceKey{Vrf: s.VRF, Family: uint8(family), Protocol: s.Protocol, Port: networkOrder(s.Port), Address: address}, err
	},
	keyOf: func(raw layoutServiceKey) Service {
		return Service{VRF: raw.Vrf, Address: addressOf(raw.Address, layoutFamily(raw.Family)), Protocol: raw.Protocol, Port: networkOrder(raw.Port)}
	},
	value:   func(v uint16) (uint16, error) { return networkOrder(v), nil },
	valueOf: networkOrder,
}

var aliasCodec = codec[uint32, int, uint32, uint32]{
	key:     same32,
	keyOf:   identity[uint32],
	value:   func(ifindex int) (uint32, error) { return uint32(ifindex), nil },
	valueOf: func(raw uint32) int { return int(raw) },
}

var hostFlowCodec = codec[HostFlow, HostFlowState, layoutHostFlowKey, layoutHostFlowValue]{
	key: func(f HostFlow) (layoutHostFlowKey, error) {
		return layoutHostFlowKey{
			Ifindex: uint32(f.Ifindex), Family: uint8(familyOf(f.Six)), Protocol: f.Protocol,
			WorkloadPort: networkOrder(f.WorkloadPort), HostPort: networkOrder(f.HostPort),
		}, nil
	},
	keyOf: func(raw layoutHostFlowKey) HostFlow {
		return HostFlow{
			Ifindex: int(raw.Ifindex), Six: layoutFamily(raw.Family) == layoutFamilyFAMILY_6, Protocol: raw.Protocol,
			WorkloadPort: networkOrder(raw.WorkloadPort), HostPort: networkOrder(raw.HostPort),
		}
	},
	value: func(s HostFlowState) (layoutHostFlowValue, error) {
		raw := layoutHostFlowValue{Seen: uint64(s.Seen), PeerPort: networkOrder(s.PeerPort), WorkloadPort: networkOrder(s.WorkloadPort)}
		if s.FromHost {
			raw.FromHost = 1
		}
		var err error
		if raw.Workload, _, err = addressToRaw(s.Workload); err != nil {
			return raw, err
		}
		raw.Peer, _, err = addressToRaw(s.Peer)
		return raw, err
	},
	valueOf: func(raw layoutHostFlowValue) HostFlowState {
		family := layoutFamilyFAMILY_4
		w, p := raw.Workload.Word, raw.Peer.Word
		if w[1]|w[2]|w[3]|p[1]|p[2]|p[3] != 0 { // of no flow have both ends an address of a /96 with nothing after it
			family = layoutFamilyFAMILY_6
		}
		return HostFlowState{
			Seen: time.Duration(raw.Seen), Workload: addressOf(raw.Workload, family), Peer: addressOf(raw.Peer, family),
			PeerPort: networkOrder(raw.PeerPort), FromHost: raw.FromHost != 0, WorkloadPort: networkOrder(raw.WorkloadPort),
		}
	},
}
