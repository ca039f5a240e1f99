// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
)

// generator makes random worlds, small enough that things meet, and random
// frames of which a good part is right.
type generator struct {
	*rand.Rand
	o       *Oracle
	gateway map[uint32][]netip.Addr
	nextID  uint32
	lastID  uint32 // of the next hops that the tables have from the beginning
	balancing
	floating
}

const (
	testTunnelDevice = 50
	testPorts        = 6 // interfaces 1 to 6; others are no ports
	poolSize         = 24
)

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

// poolAddress is the nth address of a pool all VRFs use.
func poolAddress(six bool, n int) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(n)})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
}

// inOrder are the keys of a map in an order that a seed repeats.
func inOrder[K comparable, V any](m map[K]V) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

func portMAC(ifindex int) MAC { return MAC{2, 0, 0, 0, 0, byte(ifindex)} }

func newGenerator(r *rand.Rand) *generator {
	g := &generator{Rand: r, gateway: map[uint32][]netip.Addr{}}
	g.o = &Oracle{
		Ports: map[int]Port{}, SubPorts: map[SubPort]int{}, PortAddresses: map[PortAddress]struct{}{}, PortPrefixes: map[PortPrefix]Permission{}, Routes: map[RouteKey]Route{}, Groups: map[uint32]Group{},
		NextHops: map[uint32]NextHop{}, VNIs: map[uint32]VNI{}, TunnelSources: map[TunnelSource]struct{}{}, Exhausted: map[int]bool{}, Silenced: map[int]bool{}, Stilled: map[int]bool{}, Served: map[int]bool{},
	}
	if !g.chance(12) {
		g.o.Config.TunnelDevice = testTunnelDevice
	}
	if g.chance(70) {
		g.o.Config.Local4 = netip.MustParseAddr("192.0.2.250")
	}
	if g.chance(70) {
		g.o.Config.Local6 = netip.MustParseAddr("2001:db8:100::250")
	}
	for ifindex := 1; ifindex <= testPorts; ifindex++ {
		port := Port{
			VRF: uint32(1 + g.IntN(2)), ID: g.Uint32(), MAC: portMAC(ifindex),
			MTU: pick(g, 0, 0, 0, 1500, 1500, 120), RedirectPeer: g.chance(50),
			DHCP4: g.chance(70), DHCP6: g.chance(70), Advertise: g.chance(70), Disabled: g.chance(3),
		}
		if g.chance(80) {
			port.Gateway4 = poolAddress(false, 1)
		}
		if g.chance(80) {
			port.Gateway6 = poolAddress(true, 1)
		}
		if g.chance(20) {
			g.o.Exhausted[ifindex] = true
		}
		if g.chance(20) {
			g.o.Silenced[ifindex] = true
		}
		if g.chance(15) {
			g.o.Stilled[ifindex] = true
		}
		if g.chance(15) {
			g.o.Served[ifindex] = true
		}
		g.o.Ports[ifindex] = port
	}
	g.subPorts()
	for vrf := uint32(1); vrf <= 3; vrf++ { // 3 has no port, only routes
		g.o.VNIs[1000+vrf] = VNI{VRF: vrf, CheckSources: g.chance(75)}
		g.sources(1000 + vrf)
		g.network(vrf)
	}
	g.hostPath()
	g.labels()
	for vrf := uint32(1); vrf <= 3; vrf++ {
		g.leak(vrf, vrf%3+1)
	}
	for ifindex := 1; ifindex <= testPorts; ifindex++ {
		g.prefixes(ifindex)
	}
	for vrf := uint32(1); vrf <= 3; vrf++ {
		g.groups(vrf)
	}
	g.placeBorders()
	g.bridging()
	g.underlay()
	g.balancers()
	g.floatingAddresses()
	g.reachable()
	g.gaps()
	g.policy()
	g.lastID = g.nextID
	return g
}

// testSources are underlay addresses of other hosts; the last may never send.
var testSources = []netip.Addr{
	netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:100::1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3"),
}

// sources lets some hosts send into a VNI.
func (g *generator) sources(vni uint32) {
	for _, a := range testSources[:len(testSources)-1] {
		if g.chance(90) {
			g.o.TunnelSources[TunnelSource{vni, a}] = struct{}{}
		}
	}
}

// tunnelKey is what a frame comes with: most often of a VNI that is known
// from a host that may send.
func (g *generator) tunnelKey(ifindex int) *TunnelKey {
	if g.chance(2) {
		return nil
	}
	own := g.o.Ports[ifindex].VRF
	key := &TunnelKey{VNI: 1000 + pick(g, uint32(1), 2, own, own, own, own, own, own, 3, 9), Remote: testSources[g.IntN(len(testSources))]}
	if g.chance(85) {
		key.Remote = testSources[0]
	}
	if g.chance(3) { // the bytes of an IPv4 source, as an IPv6 address
		four := testSources[0].As4()
		key.Remote = netip.AddrFrom16([16]byte{four[0], four[1], four[2], four[3]})
	}
	return key
}

func (g *generator) nextHop(n NextHop) uint32 {
	g.nextID++
	g.o.NextHops[g.nextID] = n
	return g.nextID
}

func (g *generator) network(vrf uint32) {
	for _, six := range []bool{false, true} {
		gateway := poolAddress(six, 1)
		g.gateway[vrf] = append(g.gateway[vrf], gateway)
		gatewayHop := g.nextHop(NextHop{Kind: NextHopGateway})
		g.o.Routes[RouteKey{vrf, host(gateway)}] = Route{NextHop: gatewayHop}
		if six {
			g.o.Routes[RouteKey{vrf, netip.MustParsePrefix("fe80::1/128")}] = Route{NextHop: gatewayHop}
			g.o.Routes[RouteKey{vrf, netip.MustParsePrefix("fe80::2/128")}] = Route{NextHop: g.somewhere(vrf), MAC: portMAC(2)}
		}
		for n := 2; n < poolSize; n++ {
			g.placeAddress(vrf, poolAddress(six, n))
		}
		if g.chance(50) {
			subnet := netip.PrefixFrom(gateway, gateway.BitLen()-pick(g, 4, 8, 12)).Masked()
			g.o.Routes[RouteKey{vrf, subnet}] = Route{NextHop: g.nextHop(NextHop{Kind: NextHopDiscard})}
		}
	}
}

// placeAddress gives an address to a port of the VRF, to another host, or to nobody.
func (g *generator) placeAddress(vrf uint32, a netip.Addr) {
	key := RouteKey{vrf, host(a)}
	ifindex := 1 + g.IntN(testPorts)
	if shared := 1 + g.IntN(testPorts); g.chance(10) { // a service address that another port has now
		g.o.PortAddresses[PortAddress{shared, a}] = struct{}{}
	}
	if g.o.Ports[ifindex].VRF == vrf && g.chance(80) {
		g.o.PortAddresses[PortAddress{ifindex, a}] = struct{}{}
		g.o.Routes[key] = Route{NextHop: g.nextHop(NextHop{Kind: NextHopPort, Ifindex: ifindex}), MAC: portMAC(ifindex)}
		return
	}
	if g.chance(70) {
		g.o.Routes[key] = Route{NextHop: g.somewhere(vrf), MAC: MAC{2, 1, 0, 0, byte(vrf), byte(g.IntN(256))}, MTU: g.mtu()}
	}
}

// somewhere is a next hop of any kind, most often another host.
func (g *generator) somewhere(vrf uint32) uint32 {
	switch g.IntN(16) {
	case 0:
		return g.nextHop(NextHop{Kind: NextHopNone})
	case 1:
		return 1 << 20 // absent
	case 2:
		return g.nextHop(NextHop{Kind: NextHopPort, Ifindex: 99}) // not a port
	case 3:
		return g.nextHop(NextHop{Kind: NextHopPort, Ifindex: 1 + g.IntN(testPorts)})
	case 4:
		return g.nextHop(NextHop{Kind: NextHopDiscard})
	case 5:
		return g.fabricHop()
	}
	remote := netip.AddrFrom4([4]byte{192, 0, 2, byte(g.IntN(256))})
	if g.chance(50) {
		remote = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 1, 15: byte(g.IntN(256))})
	}
	return g.nextHop(g.tunnel(vrf, remote))
}

// mtu is none, one that no frame here exceeds, or one that some do.
func (g *generator) mtu() int { return pick(g, 0, 0, 0, 0, 1400, 1400, 1400, 1400, 1400, 100, 160) }

// leak brings routes of one VRF into another, under addresses of their own
// and sometimes as a default.
func (g *generator) leak(into, from uint32) {
	for _, six := range []bool{false, true} {
		for n := range 16 {
			a := poolAddress(six, 100+n)
			route := Route{NextHop: g.somewhere(from), MAC: MAC{2, 2, 0, 0, byte(from), byte(n)}, Routed: true, MTU: g.mtu()}
			if ifindex := 1 + g.IntN(testPorts); g.o.Ports[ifindex].VRF == from {
				route = Route{NextHop: g.nextHop(NextHop{Kind: NextHopPort, Ifindex: ifindex}), MAC: portMAC(ifindex), Routed: true}
			}
			g.o.Routes[RouteKey{into, host(a)}] = route
		}
		if g.chance(30) {
			everything := netip.PrefixFrom(poolAddress(six, 0), 0).Masked()
			g.o.Routes[RouteKey{into, everything}] = Route{NextHop: g.somewhere(from), MAC: MAC{2, 2, 0, 0, 0, 1}, Routed: true}
		}
	}
}

// frame returns a frame as the port might send it, and what kind it is meant to be.
func (g *generator) frame(ifindex int) (kind string, frame []byte) {
	six := g.chance(50)
	switch n := g.IntN(100); {
	case n < 5:
		kind, frame = "dhcp", g.dhcp(ifindex, six)
	case n < 11:
		kind, frame = "service", g.toHost(ifindex, six)
	case n < 60:
		kind, frame = "data", g.data(ifindex, six)
	case n < 66:
		kind, frame = "edge", g.edge(ifindex, six)
	case n < 72:
		kind, frame = "arp", g.arp(ifindex)
	case n < 76:
		kind, frame = "bridged", g.bridged(ifindex)
	case n < 83:
		kind, frame = "icmpv6", g.control6(ifindex)
	case n < 90:
		kind, frame = "echo", g.echo(ifindex, six)
	case n < 92:
		kind, frame = "vlan", g.tagged(g.data(ifindex, six))
	case n < 94:
		kind = "garbage"
		frame = make([]byte, 15+g.IntN(200))
		for i := range frame {
			frame[i] = byte(g.Uint32())
		}
	case n < 97:
		kind, frame = "truncated", g.any(ifindex, six)
		frame = frame[:min(len(frame), 15+g.IntN(len(frame)-14))]
	case n < 98:
		kind, frame = "lying", g.lie(ifindex, six)
	default:
		kind, frame = "flipped", g.any(ifindex, six)
		for range 1 + g.IntN(3) {
			frame[g.IntN(min(len(frame), 90))] ^= byte(1 << g.IntN(8))
		}
	}
	if g.chance(10) {
		frame = append(frame, make([]byte, g.IntN(20))...) // padding
	} else if kind == "dhcp" && g.chance(5) {
		frame = append(frame, make([]byte, pick(g, 1900, 2000, 2100))...)
	}
	return kind, frame
}

// lie returns a frame with one of its length fields a little off.
func (g *generator) lie(ifindex int, six bool) []byte {
	frame := g.any(ifindex, six)
	off := pick(g, -9, -8, -1, 1, 2, 8)
	switch {
	case frame[12] == 0x08 && frame[13] == 0 && g.chance(50): // total length
		binary.BigEndian.PutUint16(frame[16:], uint16(int(binary.BigEndian.Uint16(frame[16:]))+off))
	case frame[12] == 0x08 && frame[13] == 0: // header length
		frame[14] = 0x40 | byte(g.IntN(16))
	case frame[12] == 0x86 && (g.chance(50) || len(frame) < 56): // payload length
		binary.BigEndian.PutUint16(frame[18:], uint16(int(binary.BigEndian.Uint16(frame[18:]))+off))
	case frame[12] == 0x86: // only an extension header, just beyond the end
		frame[20] = pick(g, byte(0), 43, 51, 60)
		frame[54], frame[55] = pick(g, byte(17), 58), byte((len(frame)-54)/8)
	}
	return frame
}

func (g *generator) any(ifindex int, six bool) []byte {
	switch g.IntN(4) {
	case 0:
		return g.arp(ifindex)
	case 1:
		return g.control6(ifindex)
	case 2:
		return g.echo(ifindex, six)
	}
	return g.data(ifindex, six)
}

// source is an address of the port, or of its prefixes, or now and then a stranger's.
func (g *generator) source(ifindex int, six bool) netip.Addr {
	if g.chance(15) {
		if a, ok := g.prefixSource(ifindex, six); ok {
			return a
		}
	}
	for n := range poolSize {
		a := poolAddress(six, (n+int(g.Uint32()%poolSize))%poolSize)
		if g.o.owns(ifindex, a) && g.chance(97) {
			return a
		}
	}
	if six {
		return pick(g, poolAddress(true, g.IntN(poolSize)), netip.MustParseAddr("fe80::5"), netip.IPv6Unspecified())
	}
	return pick(g, poolAddress(false, g.IntN(poolSize)), netip.IPv4Unspecified())
}

// destination is most often an address that something answers for.
func (g *generator) destination(vrf uint32, six bool) netip.Addr {
	if g.chance(4) {
		return underlayAddress(six, g.IntN(8))
	}
	if g.chance(3) {
		if a, ok := g.inGap(vrf, six); ok {
			return a
		}
	}
	if g.chance(90) {
		for range 8 {
			a := poolAddress(six, pick(g, 1+g.IntN(poolSize), 100+g.IntN(16)))
			route := g.o.Routes[RouteKey{vrf, host(a)}]
			if next := g.o.NextHops[route.NextHop]; next.Kind == NextHopPort || next.Kind == NextHopTunnel || next.Kind == NextHopGroup {
				return a
			}
		}
	}
	switch n := g.IntN(100); {
	case n < 60:
		return poolAddress(six, 1+g.IntN(poolSize))
	case n < 90:
		return poolAddress(six, 100+g.IntN(16))
	case n < 94:
		return poolAddress(six, g.IntN(256))
	case six:
		return pick(g, netip.MustParseAddr("ff02::5"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2"), netip.IPv6Unspecified())
	}
	return pick(g, netip.MustParseAddr("224.0.0.5"), broadcast4, netip.MustParseAddr("203.0.113.7"))
}

// macs returns destination and source MAC, most often right ones.
func (g *generator) macs(ifindex int, to netip.Addr) (destination, source MAC) {
	destination, source = GatewayMAC, portMAC(ifindex)
	if route, ok := g.o.lookup(g.o.Ports[ifindex].VRF, to); ok && g.chance(40) && (!route.Routed || g.chance(10)) {
		destination = route.MAC
	}
	switch g.IntN(40) {
	case 0:
		destination = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case 1:
		destination = MAC{0x33, 0x33, 0, 0, 0, 1}
	case 2:
		destination = MAC{2, 9, 9, 9, 9, 9}
	case 3:
		source = portMAC(ifindex + 1)
	case 4:
		source = prefixMAC(ifindex)
	}
	return destination, source
}

func (g *generator) ip(ifindex int, six bool, protocol byte, payload func(from, to netip.Addr) []byte) []byte {
	s := ipSpec{source: g.source(ifindex, six), destination: g.destination(g.o.Ports[ifindex].VRF, six), protocol: protocol}
	s.hops = pick(g, byte(0), 1, 2, 3, 64, 64, 64, 64, 64, 64, 255)
	if six && g.chance(20) {
		for range pick(g, 1, 1, 2, 3, 6, 7) {
			s.extensions = append(s.extensions, pick(g, byte(0), 43, 44, 51, 60, 135, 139, 140))
		}
	}
	if !six && g.chance(20) {
		s.options = make([]byte, 4*(1+g.IntN(10)))
	}
	if g.chance(10) {
		s.fragment = pick(g, uint16(0x2000), 0x4000, 0x0010, 0x0001, 0x0008)
	}
	s.payload = payload(s.source, s.destination)
	destination, source := g.macs(ifindex, s.destination)
	if _, _, other := g.o.prefixOf(ifindex, prefixMAC(ifindex), s.source); other && g.chance(50) {
		source = prefixMAC(ifindex)
	}
	return ethernetFrame(destination, source, s.ethertype(), s.build())
}

func (g *generator) data(ifindex int, six bool) []byte {
	protocol := pick(g, byte(6), 17, 17, 132, 1, 58, 59, 50)
	return g.ip(ifindex, six, protocol, func(netip.Addr, netip.Addr) []byte {
		payload := make([]byte, g.IntN(120))
		for i := range payload {
			payload[i] = byte(g.Uint32())
		}
		return payload
	})
}

func (g *generator) echo(ifindex int, six bool) []byte {
	id := []byte{0x12, byte(g.Uint32()), 0, byte(g.Uint32()), 1, 2, 3}
	code := pick(g, byte(0), 0, 0, 0, 1)
	frame := g.ip(ifindex, six, map[bool]byte{false: 1, true: 58}[six], func(from, to netip.Addr) []byte {
		if six {
			return icmp6(from, to, pick(g, byte(128), 128, 128, 129, 127, 3), code, id)
		}
		return icmp4(pick(g, byte(8), 8, 8, 8, 8, 0, 3, 4, 5, 11, 12, 13), code, id)
	})
	if g.chance(60) { // to the gateway
		to := poolAddress(six, 1).AsSlice()
		if six {
			copy(frame[38:], to)
		} else {
			copy(frame[30:], to)
		}
		copy(frame, GatewayMAC[:])
	}
	return frame
}

func (g *generator) arp(ifindex int) []byte {
	sender := g.source(ifindex, false)
	if g.chance(20) {
		sender = netip.IPv4Unspecified()
	}
	target := poolAddress(false, pick(g, 1, g.IntN(poolSize), g.IntN(poolSize), 100+g.IntN(16), 200))
	switch g.IntN(8) {
	case 0:
		target = sender
	case 1:
		target = g.source(ifindex, false)
	}
	destination, source := g.macs(ifindex, target)
	inner := source
	if g.chance(3) {
		inner = portMAC(ifindex + 1)
	} else if g.chance(10) {
		inner = prefixMAC(ifindex)
	}
	operation := pick(g, uint16(1), 1, 1, 1, 1, 1, 2, 3)
	return ethernetFrame(destination, source, 0x0806, arpMessage(operation, inner, sender, MAC{}, target))
}

// control6 is neighbour discovery or multicast listener, and what is wrong with it.
func (g *generator) control6(ifindex int) []byte {
	source := pick(g, g.source(ifindex, true), netip.MustParseAddr("fe80::5"), netip.IPv6Unspecified())
	target := poolAddress(true, pick(g, 1, g.IntN(poolSize), g.IntN(poolSize), 100+g.IntN(16), 200))
	switch g.IntN(10) {
	case 0:
		target = g.source(ifindex, true)
	case 1:
		target = netip.MustParseAddr("fe80::1")
	case 2:
		target = netip.MustParseAddr("ff02::1")
	}
	s := solicitation(source, target, portMAC(ifindex))
	if g.chance(35) {
		kind := pick(g, byte(130), 131, 132, 143, 133, 134, 136, 137)
		s.payload = icmp6(s.source, s.destination, kind, 0, s.payload[4:])
	}
	switch g.IntN(20) {
	case 0:
		s.hops = 254
	case 1:
		s.payload = s.payload[:8+g.IntN(len(s.payload)-8)]
	case 2:
		s.payload[1] = 1
	case 3, 4:
		s.extensions = []byte{0}
	case 5:
		s.extensions, s.fragment = []byte{44}, 1
	}
	_, mac := g.macs(ifindex, target)
	return ethernetFrame(MAC{0x33, 0x33, 0xff, 0, 0, 1}, mac, 0x86dd, s.build())
}
