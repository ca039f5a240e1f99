// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

const testUplink = 60

// underlayAddress is that of some machine in the underlay.
func underlayAddress(six bool, n int) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0xfa, 15: byte(n)})
	}
	return netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})
}

func (g *generator) fabricHop() uint32 {
	return g.nextHop(NextHop{Kind: NextHopFabric, Ifindex: pick(g, testUplink, testUplink, testUplink, testUplink+1, 0), MTU: g.mtu()})
}

// underlay puts the ports of the first VRF into the underlay, or most of them,
// and lets the host see some of the second.
func (g *generator) underlay() {
	for _, six := range []bool{false, true} {
		for vrf := uint32(1); vrf <= 2; vrf++ {
			where := netip.PrefixFrom(underlayAddress(six, 0), map[bool]int{false: 28, true: 124}[six]) // the host's machines
			g.o.Routes[RouteKey{vrf, where.Masked()}] = Route{NextHop: g.fabricHop(), Routed: g.chance(80), MAC: GatewayMAC, MTU: g.mtu()}
			if g.chance(40) {
				everything := netip.PrefixFrom(underlayAddress(six, 0), 0).Masked()
				g.o.Routes[RouteKey{vrf, everything}] = Route{NextHop: g.fabricHop(), Routed: true, MAC: GatewayMAC}
			}
			g.o.Routes[RouteKey{vrf, host(underlayAddress(six, 7))}] = Route{NextHop: g.somewhere(3), Routed: true} // a joined network's
		}
		for n := 2; n < poolSize; n++ {
			g.enterable(poolAddress(six, n))
		}
	}
}

// enterable gives an address its place in the underlay, if a port has it.
func (g *generator) enterable(a netip.Addr) {
	for vrf := uint32(1); vrf <= 2; vrf++ {
		route, known := g.o.Routes[RouteKey{vrf, host(a)}]
		if known && g.o.NextHops[route.NextHop].Kind == NextHopPort && g.chance(90) {
			route.Fabric, route.Routed = vrf == 1 || g.chance(10), g.chance(50)
			g.o.Routes[RouteKey{UnderlayVRF, host(a)}] = route
			return
		}
	}
	if g.chance(20) {
		g.o.Routes[RouteKey{UnderlayVRF, host(a)}] = Route{NextHop: g.somewhere(1), MAC: portMAC(1), Fabric: true}
	}
}

// fromFabric is what an uplink receives, most often for a workload.
func (g *generator) fromFabric() []byte {
	ifindex, six := 1+g.IntN(testPorts), g.chance(50)
	if g.chance(30) {
		return g.toReachable(six, MAC{2, 9, 9, 9, 9, 9}, MAC{2, 8, 8, 8, 8, 8})
	}
	if g.chance(10) {
		_, frame := g.frame(ifindex)
		return frame
	}
	s := ipSpec{source: underlayAddress(six, g.IntN(9)), destination: poolAddress(six, 2+g.IntN(poolSize-2)), protocol: pick(g, byte(6), 17, 17, 132, 1), hops: pick(g, byte(0), 1, 2, 64, 64, 64, 64, 255)}
	for range 8 { // most often one that is here
		if g.o.Routes[RouteKey{UnderlayVRF, host(s.destination)}].Fabric {
			break
		}
		s.destination = poolAddress(six, 2+g.IntN(poolSize-2))
	}
	switch g.IntN(14) {
	case 0:
		s.source = g.source(ifindex, six)
	case 1:
		s.source = g.beside(six)
	case 2:
		s.source = netip.MustParseAddr(pick(g, fabricBorders[six]...))
	}
	s.payload = g.transportTo(s.protocol, s.source, s.destination, uint16(1000+g.IntN(3)), uint16(2000+g.IntN(3)))
	if g.chance(15) {
		s.payload = append(s.payload, make([]byte, pick(g, 60, 120, 1400))...)
	}
	if g.chance(10) {
		s.fragment = 0x2000
		if six {
			s.extensions, s.fragment = []byte{44}, 1
		}
	}
	frame := ethernetFrame(MAC{2, 9, 9, 9, 9, 9}, MAC{2, 8, 8, 8, 8, byte(g.IntN(3))}, s.ethertype(), s.build())
	switch g.IntN(30) {
	case 0:
		frame = frame[:15+g.IntN(len(frame)-14)]
	case 1:
		frame[14+g.IntN(8)] ^= byte(1 << g.IntN(8))
	}
	return frame
}

// transit is a frame of another host's for somewhere in the underlay.
func (g *generator) transit(ifindex int, six bool) sent {
	s := ipSpec{source: g.source(ifindex, six), destination: underlayAddress(six, g.IntN(8)), protocol: 17, hops: 64, payload: make([]byte, 8+g.IntN(40))}
	frame := ethernetFrame(GatewayMAC, portMAC(ifindex), s.ethertype(), s.build())
	return sent{ifindex: testTunnelDevice, key: &TunnelKey{VNI: 1000 + g.o.Ports[ifindex].VRF, Remote: testSources[0]}, frame: frame}
}

// fabricBorders are next to sources that nobody in the underlay has.
var fabricBorders = map[bool][]string{
	false: {"0.255.255.255", "1.0.0.0", "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", "223.255.255.255", "224.0.0.0"},
	true:  {"::", "::1", "::2", "fe7f::1", "fe80::1", "febf::1", "fec0::1", "fe00::1", "ff00::1"},
}
