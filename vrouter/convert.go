// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-network/weft/vrouter/rules"
)

// The only place where the callers' types and the generated ones meet.

// vrfBits is how much of a route's prefix is its VRF, always matched in full.
const vrfBits = 32

func addressToRaw(a netip.Addr) (layoutAddress, layoutFamily, error) {
	var bytes [16]byte
	var raw layoutAddress
	family := layoutFamilyFAMILY_4
	switch {
	case a.Zone() != "" || a.Is4In6() || !a.IsValid():
		return raw, 0, fmt.Errorf("address %v is not a plain IPv4 or IPv6 address", a)
	case a.Is4():
		b := a.As4()
		copy(bytes[:], b[:])
	default:
		bytes = a.As16()
		family = layoutFamilyFAMILY_6
	}
	for i := range raw.Word {
		raw.Word[i] = binary.NativeEndian.Uint32(bytes[4*i:])
	}
	return raw, family, nil
}

func addressOf(raw layoutAddress, family layoutFamily) netip.Addr {
	var bytes [16]byte
	for i, w := range raw.Word {
		binary.NativeEndian.PutUint32(bytes[4*i:], w)
	}
	switch family {
	case layoutFamilyFAMILY_4:
		return netip.AddrFrom4([4]byte(bytes[:4]))
	case layoutFamilyFAMILY_6:
		return netip.AddrFrom16(bytes)
	}
	return netip.Addr{}
}

func addrPortOf(raw layoutAddress, family uint8, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(addressOf(raw, layoutFamily(family)), wirePort(port))
}

func same32(v uint32) (uint32, error) { return v, nil }

func identity[T any](v T) T { return v }

var portCodec = codec[int, Port, uint32, layoutPortValue]{
	key:   func(ifindex int) (uint32, error) { return uint32(ifindex), nil },
	keyOf: func(raw uint32) int { return int(raw) },
	value: func(p Port) (layoutPortValue, error) {
		raw := layoutPortValue{Vrf: p.VRF, Port: p.ID, Mtu: uint32(p.MTU), Mac: layoutMac{Byte: p.MAC}}
		for flag, set := range map[layoutPortFlag]bool{
			layoutPortFlagPORT_REDIRECT_PEER: p.RedirectPeer, layoutPortFlagPORT_DHCP4: p.DHCP4,
			layoutPortFlagPORT_DHCP6: p.DHCP6, layoutPortFlagPORT_ADVERTISE: p.Advertise, layoutPortFlagPORT_SUB: p.VLAN != 0,
			layoutPortFlagPORT_DISABLED: p.Disabled, layoutPortFlagPORT_POLICED: p.Policed, layoutPortFlagPORT_STATELESS: p.Stateless, layoutPortFlagPORT_ALIASES: p.Aliases,
			layoutPortFlagPORT_BRIDGE: p.Bridge, layoutPortFlagPORT_FRAMES: p.Frames,
		} {
			if set {
				raw.Flags |= flag
			}
		}
		var err4, err6 error
		raw.Gateway4, err4 = optionalToRaw(p.Gateway4, layoutFamilyFAMILY_4)
		raw.Gateway6, err6 = optionalToRaw(p.Gateway6, layoutFamilyFAMILY_6)
		err := errors.Join(err4, err6)
		raw.Alias, raw.MacLimit = p.Alias, uint32(p.MACLimit)
		if p.Unchecked {
			raw.Unchecked = 1
		}
		raw.Device, raw.Vlan = uint32(p.Device), uint32(p.VLAN)
		raw.Address4, err4 = optionalToRaw(p.Address4, layoutFamilyFAMILY_4)
		raw.Address6, err6 = optionalToRaw(p.Address6, layoutFamilyFAMILY_6)
		return raw, errors.Join(err, err4, err6)
	},
	valueOf: func(raw layoutPortValue) Port {
		return Port{
			VRF: raw.Vrf, ID: raw.Port, MTU: int(raw.Mtu), MAC: raw.Mac.Byte,
			RedirectPeer: raw.Flags&layoutPortFlagPORT_REDIRECT_PEER != 0,
			DHCP4:        raw.Flags&layoutPortFlagPORT_DHCP4 != 0,
			DHCP6:        raw.Flags&layoutPortFlagPORT_DHCP6 != 0,
			Advertise:    raw.Flags&layoutPortFlagPORT_ADVERTISE != 0,
			Disabled:     raw.Flags&layoutPortFlagPORT_DISABLED != 0,
			Policed:      raw.Flags&layoutPortFlagPORT_POLICED != 0,
			Aliases:      raw.Flags&layoutPortFlagPORT_ALIASES != 0,
			Stateless:    raw.Flags&layoutPortFlagPORT_STATELESS != 0,
			Bridge:       raw.Flags&layoutPortFlagPORT_BRIDGE != 0,
			Frames:       raw.Flags&layoutPortFlagPORT_FRAMES != 0,
			Alias:        raw.Alias, MACLimit: int(raw.MacLimit), Unchecked: raw.Unchecked != 0,
			Device: int(raw.Device), VLAN: uint16(raw.Vlan),
			Address4: optionalOf(raw.Address4, layoutFamilyFAMILY_4), Address6: optionalOf(raw.Address6, layoutFamilyFAMILY_6),
			Gateway4: optionalOf(raw.Gateway4, layoutFamilyFAMILY_4), Gateway6: optionalOf(raw.Gateway6, layoutFamilyFAMILY_6),
		}
	},
}

var subPortCodec = codec[SubPort, int, layoutSubPortKey, uint32]{
	key: func(s SubPort) (layoutSubPortKey, error) {
		if s.VLAN == 0 || s.VLAN >= VLANs-1 {
			return layoutSubPortKey{}, fmt.Errorf("VLAN %d is not from 1 to %d", s.VLAN, VLANs-2)
		}
		return layoutSubPortKey{Device: uint32(s.Device), Vlan: uint32(s.VLAN)}, nil
	},
	keyOf:   func(raw layoutSubPortKey) SubPort { return SubPort{Device: int(raw.Device), VLAN: uint16(raw.Vlan)} },
	value:   func(ifindex int) (uint32, error) { return uint32(ifindex), nil },
	valueOf: func(raw uint32) int { return int(raw) },
}

var portAddressCodec = codec[PortAddress, struct{}, layoutPortAddressKey, uint8]{
	key: func(p PortAddress) (layoutPortAddressKey, error) {
		address, family, err := addressToRaw(p.Address)
		return layoutPortAddressKey{Ifindex: uint32(p.Ifindex), Family: family, Address: address}, err
	},
	keyOf: func(raw layoutPortAddressKey) PortAddress {
		return PortAddress{Ifindex: int(raw.Ifindex), Address: addressOf(raw.Address, raw.Family)}
	},
	value:   func(struct{}) (uint8, error) { return 1, nil },
	valueOf: func(uint8) struct{} { return struct{}{} },
}

func checkPrefix(p netip.Prefix) error {
	if !p.IsValid() || p != p.Masked() {
		return fmt.Errorf("prefix %v is not a masked prefix", p)
	}
	return nil
}

var route4Codec = codec[RouteKey, Route, layoutRoute4Key, layoutRouteValue]{
	key: func(k RouteKey) (layoutRoute4Key, error) {
		address, _, err := addressToRaw(k.Prefix.Addr())
		if err == nil {
			err = checkPrefix(k.Prefix)
		}
		return layoutRoute4Key{PrefixLength: vrfBits + uint32(k.Prefix.Bits()), Vrf: k.VRF, Address: address.Word[0]}, err
	},
	keyOf: func(raw layoutRoute4Key) RouteKey {
		address := addressOf(layoutAddress{Word: [4]uint32{raw.Address}}, layoutFamilyFAMILY_4)
		return RouteKey{VRF: raw.Vrf, Prefix: netip.PrefixFrom(address, int(raw.PrefixLength-vrfBits))}
	},
	value:   routeToRaw,
	valueOf: routeOf,
}

var route6Codec = codec[RouteKey, Route, layoutRoute6Key, layoutRouteValue]{
	key: func(k RouteKey) (layoutRoute6Key, error) {
		address, _, err := addressToRaw(k.Prefix.Addr())
		if err == nil {
			err = checkPrefix(k.Prefix)
		}
		return layoutRoute6Key{PrefixLength: vrfBits + uint32(k.Prefix.Bits()), Vrf: k.VRF, Address: address}, err
	},
	keyOf: func(raw layoutRoute6Key) RouteKey {
		address := addressOf(raw.Address, layoutFamilyFAMILY_6)
		return RouteKey{VRF: raw.Vrf, Prefix: netip.PrefixFrom(address, int(raw.PrefixLength-vrfBits))}
	},
	value:   routeToRaw,
	valueOf: routeOf,
}

var hostRouteCodec = codec[RouteKey, Route, layoutHostRouteKey, layoutRouteValue]{
	key: func(k RouteKey) (layoutHostRouteKey, error) {
		address, family, err := addressToRaw(k.Prefix.Addr())
		return layoutHostRouteKey{Vrf: k.VRF, Family: family, Address: address}, err
	},
	keyOf: func(raw layoutHostRouteKey) RouteKey {
		address := addressOf(raw.Address, raw.Family)
		return RouteKey{VRF: raw.Vrf, Prefix: netip.PrefixFrom(address, address.BitLen())}
	},
	value:   routeToRaw,
	valueOf: routeOf,
}

func routeToRaw(r Route) (layoutRouteValue, error) {
	raw := layoutRouteValue{NextHop: r.NextHop, Mtu: uint32(r.MTU), Mac: layoutMac{Byte: r.MAC}, Length: r.bits, Identity: uint64(r.Identity)}
	if r.Routed {
		raw.Flags |= layoutRouteFlagROUTE_ROUTED
	}
	if r.Fabric {
		raw.Flags |= layoutRouteFlagROUTE_FABRIC
	}
	if r.Proxied {
		raw.Flags |= layoutRouteFlagROUTE_PROXIED
	}
	if r.gap {
		raw.Flags |= layoutRouteFlagROUTE_GAP
	}
	return raw, nil
}

func routeOf(raw layoutRouteValue) Route {
	return Route{
		NextHop: raw.NextHop, MTU: int(raw.Mtu), MAC: raw.Mac.Byte, Identity: rules.Identity(raw.Identity),
		Routed: raw.Flags&layoutRouteFlagROUTE_ROUTED != 0, Fabric: raw.Flags&layoutRouteFlagROUTE_FABRIC != 0, Proxied: raw.Flags&layoutRouteFlagROUTE_PROXIED != 0,
		gap: raw.Flags&layoutRouteFlagROUTE_GAP != 0,
	}
}

var nextHopCodec = codec[uint32, NextHop, uint32, layoutNextHopValue]{
	key:   same32,
	keyOf: identity[uint32],
	value: func(n NextHop) (layoutNextHopValue, error) {
		raw := layoutNextHopValue{Kind: layoutNextHopKind(n.Kind)}
		var err error
		switch n.Kind {
		case NextHopPort:
			raw.Ifindex = uint32(n.Ifindex)
		case NextHopFabric:
			raw.Ifindex, raw.Mtu = uint32(n.Ifindex), uint32(n.MTU)
		case NextHopBalancer:
			raw.Vni = n.VNI
		case NextHopMapped:
			raw.Vni, raw.Mtu = uint32(n.Mapping), uint32(n.Mapping>>32)
		case NextHopTunnel:
			raw.Vni, raw.Mtu = n.VNI, uint32(n.MTU)
			raw.Encapsulation = layoutEncapsulation(n.Encapsulation)
			raw.Remote, raw.Family, err = addressToRaw(n.Remote)
			if n.Encapsulation == EncapsulationMPLSUDP {
				raw.Ifindex = uint32(n.Ifindex)
			}
			if err == nil {
				raw.Local, err = optionalToRaw(n.Local, raw.Family)
			}
		}
		return raw, err
	},
	valueOf: func(raw layoutNextHopValue) NextHop {
		if kind := NextHopKind(raw.Kind); kind == NextHopMapped {
			return NextHop{Kind: kind, Mapping: uint64(raw.Mtu)<<32 | uint64(raw.Vni)}
		}
		return NextHop{
			Kind: NextHopKind(raw.Kind), Ifindex: int(raw.Ifindex), VNI: raw.Vni,
			Remote: addressOf(raw.Remote, raw.Family), MTU: int(raw.Mtu),
			Encapsulation: Encapsulation(raw.Encapsulation), Local: optionalOf(raw.Local, raw.Family),
		}
	},
}

var vniCodec = codec[uint32, VNI, uint32, layoutVniValue]{
	key:   same32,
	keyOf: identity[uint32],
	value: func(v VNI) (layoutVniValue, error) {
		raw := layoutVniValue{Vrf: v.VRF}
		if v.CheckSources {
			raw.Flags |= layoutVniFlagVNI_CHECK_SOURCES
		}
		if v.Bridge {
			raw.Flags |= layoutVniFlagVNI_BRIDGE
		}
		if v.Frames {
			raw.Flags |= layoutVniFlagVNI_FRAMES
		}
		if v.Label {
			raw.Flags |= layoutVniFlagVNI_LABEL
		}
		return raw, nil
	},
	valueOf: func(raw layoutVniValue) VNI {
		return VNI{
			VRF: raw.Vrf, CheckSources: raw.Flags&layoutVniFlagVNI_CHECK_SOURCES != 0,
			Bridge: raw.Flags&layoutVniFlagVNI_BRIDGE != 0, Frames: raw.Flags&layoutVniFlagVNI_FRAMES != 0,
			Label: raw.Flags&layoutVniFlagVNI_LABEL != 0,
		}
	},
}

var tunnelSourceCodec = codec[TunnelSource, struct{}, layoutTunnelSourceKey, uint8]{
	key: func(s TunnelSource) (layoutTunnelSourceKey, error) {
		address, family, err := addressToRaw(s.Address)
		return layoutTunnelSourceKey{Vni: s.VNI, Family: family, Address: address}, err
	},
	keyOf: func(raw layoutTunnelSourceKey) TunnelSource {
		return TunnelSource{VNI: raw.Vni, Address: addressOf(raw.Address, raw.Family)}
	},
	value:   func(struct{}) (uint8, error) { return 1, nil },
	valueOf: func(uint8) struct{} { return struct{}{} },
}

var tunnelAddressCodec = codec[netip.Addr, struct{}, layoutTunnelAddressKey, uint8]{
	key: func(a netip.Addr) (layoutTunnelAddressKey, error) {
		address, family, err := addressToRaw(a)
		return layoutTunnelAddressKey{Family: family, Address: address}, err
	},
	keyOf:   func(raw layoutTunnelAddressKey) netip.Addr { return addressOf(raw.Address, raw.Family) },
	value:   func(struct{}) (uint8, error) { return 1, nil },
	valueOf: func(uint8) struct{} { return struct{}{} },
}

var configCodec = codec[uint32, Config, uint32, layoutConfigValue]{
	key:   same32,
	keyOf: identity[uint32],
	value: func(c Config) (layoutConfigValue, error) {
		raw := layoutConfigValue{
			TunnelIfindex: uint32(c.TunnelDevice), LabelIfindex: uint32(c.LabelDevice), Gateway: layoutMac{Byte: GatewayMAC},
			ErrorInterval: uint64(c.ErrorInterval), ErrorBurst: uint32(c.ErrorBurst),
			HostIfindex: uint32(c.HostDevice), HostMac: layoutMac{Byte: c.HostMAC},
			RequestInterval: uint64(c.RequestInterval), RequestBurst: uint32(c.RequestBurst),
			FloodInterval: uint64(c.FloodInterval), FloodBurst: uint32(c.FloodBurst),
			ServiceInterval: uint64(c.ServiceInterval), ServiceBurst: uint32(c.ServiceBurst),
			TunnelMtu4: uint32(c.TunnelMTU4), TunnelMtu6: uint32(c.TunnelMTU6),
		}
		var err4, err6 error
		raw.Local4, err4 = optionalToRaw(c.Local4, layoutFamilyFAMILY_4)
		raw.Local6, err6 = optionalToRaw(c.Local6, layoutFamilyFAMILY_6)
		return raw, errors.Join(err4, err6)
	},
	valueOf: func(raw layoutConfigValue) Config {
		return Config{
			TunnelDevice: int(raw.TunnelIfindex), LabelDevice: int(raw.LabelIfindex), ErrorInterval: time.Duration(raw.ErrorInterval), ErrorBurst: int(raw.ErrorBurst),
			HostDevice: int(raw.HostIfindex), HostMAC: raw.HostMac.Byte,
			RequestInterval: time.Duration(raw.RequestInterval), RequestBurst: int(raw.RequestBurst),
			FloodInterval: time.Duration(raw.FloodInterval), FloodBurst: int(raw.FloodBurst),
			ServiceInterval: time.Duration(raw.ServiceInterval), ServiceBurst: int(raw.ServiceBurst),
			TunnelMTU4: int(raw.TunnelMtu4), TunnelMTU6: int(raw.TunnelMtu6),
			Local4: optionalOf(raw.Local4, layoutFamilyFAMILY_4),
			Local6: optionalOf(raw.Local6, layoutFamilyFAMILY_6),
		}
	},
}

// optionalToRaw converts an address that may be absent, which is all zeros below.
func optionalToRaw(a netip.Addr, family layoutFamily) (layoutAddress, error) {
	if !a.IsValid() {
		return layoutAddress{}, nil
	}
	raw, got, err := addressToRaw(a)
	if err == nil && got != family {
		err = fmt.Errorf("address %v is not of family IPv%d", a, family)
	}
	return raw, err
}

func optionalOf(raw layoutAddress, family layoutFamily) netip.Addr {
	if raw == (layoutAddress{}) {
		return netip.Addr{}
	}
	return addressOf(raw, family)
}

var errorTimeCodec = codec[int, uint64, uint32, uint64]{
	key:     func(ifindex int) (uint32, error) { return uint32(ifindex), nil },
	keyOf:   func(raw uint32) int { return int(raw) },
	value:   func(v uint64) (uint64, error) { return v, nil },
	valueOf: identity[uint64],
}
