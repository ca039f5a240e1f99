// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

// transportSizes are what a packet of a protocol must hold, from the RFCs.
var transportSizes = map[byte]int{6: 20, 17: 8, 136: 8, 132: 12, 33: 12, 1: 8, 58: 8}

// edge returns frames at both sides of the borders that doc/packet-path.md
// names; chance alone meets them seldom. Mutants that moved a border by one
// survived without.
func (g *generator) edge(ifindex int, six bool) []byte {
	mac := portMAC(ifindex)
	s := ipSpec{source: g.own(ifindex, six), destination: g.destination(g.o.Ports[ifindex].VRF, six), protocol: 17, hops: 64, payload: make([]byte, 40)}
	switch g.IntN(8) {
	case 0, 1: // the shortest transport header, or a byte less
		s.protocol = pick(g, byte(6), 17, 136, 132, 33, 1, 58)
		s.payload = make([]byte, transportSizes[s.protocol]-g.IntN(2))
		if six && g.chance(30) {
			s.extensions = []byte{pick(g, byte(0), 43, 44, 51, 60)}
		}
		if !six && g.chance(30) {
			s.options = make([]byte, 4*(1+g.IntN(10)))
		}
	case 2: // as large as a limit, or a byte more
		s.payload = make([]byte, pick(g, 100, 120, 160)-map[bool]int{false: 20, true: 40}[six]+g.IntN(2))
	case 3: // a source that no port has
		return g.excepted(ifindex, six)
	case 4: // first and last addresses of the special prefixes, and those beside
		s.destination = g.beside(six)
		s.source = s.destination
		if g.chance(60) {
			s.source = g.own(ifindex, six)
		} else if g.chance(50) {
			s.source, s.destination = s.destination, poolAddress(six, 2)
		}
	case 5: // one byte of ARP
		frame := ethernetFrame(GatewayMAC, mac, 0x0806, arpMessage(1, mac, g.own(ifindex, false), MAC{}, poolAddress(false, 1)))
		frame[14+g.IntN(8)] += byte(1 + g.IntN(2))
		return frame
	case 7: // two fragment headers, of which one says nothing
		if six {
			s.extensions, s.fragment = []byte{44, 44}, pick(g, uint16(1), 0x10)
			frame := ethernetFrame(GatewayMAC, mac, 0x86dd, s.build())
			quiet := 54 + 8*g.IntN(2)
			frame[quiet+2], frame[quiet+3] = 0, 0
			return frame
		}
	case 6: // one bit of the destination's MAC
		frame := ethernetFrame(GatewayMAC, mac, s.ethertype(), s.build())
		frame[g.IntN(6)] ^= 1 << g.IntN(8)
		return frame
	}
	return ethernetFrame(GatewayMAC, mac, s.ethertype(), s.build())
}

// excepted is from an address that is right only with this destination or kind.
func (g *generator) excepted(ifindex int, six bool) []byte {
	mac := portMAC(ifindex)
	if !six {
		s := ipSpec{source: netip.IPv4Unspecified(), destination: pick(g, broadcast4, broadcast4, poolAddress(false, 1)), protocol: 17, hops: 64, payload: make([]byte, 300)}
		return ethernetFrame(pick(g, MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, GatewayMAC), mac, 0x0800, s.build())
	}
	s := ipSpec{source: pick(g, netip.IPv6Unspecified(), netip.MustParseAddr("fe80::5"), netip.MustParseAddr("febf::5"), netip.MustParseAddr("fec0::5")), hops: 255}
	s.destination, s.protocol = netip.MustParseAddr("ff02::1"), pick(g, byte(58), 58, 58, 17)
	s.payload = icmp6(s.source, s.destination, pick(g, byte(1), 128, 129, 130, 132, 133, 134, 137, 138, 142, 143, 144), 0, make([]byte, 20))
	return ethernetFrame(MAC{0x33, 0x33, 0, 0, 0, 1}, mac, 0x86dd, s.build())
}

// borders are addresses next to the border of a prefix that means something.
var borders = map[bool][]string{
	false: {"0.0.0.0", "0.0.0.1", "223.255.255.255", "224.0.0.0", "239.255.255.255", "240.0.0.1", "255.255.255.254", "255.255.255.255"},
	true:  {"::", "::1", "fe7f::1", "fe80::", "febf:ffff::1", "fec0::1", "feff::1", "ff00::", "ffff::1"},
}

func (g *generator) beside(six bool) netip.Addr { return netip.MustParseAddr(pick(g, borders[six]...)) }

// placeBorders lets ports have such addresses and routes lead to them, so that
// nothing else refuses their frames.
func (g *generator) placeBorders() {
	for _, six := range []bool{false, true} {
		for _, text := range borders[six] {
			a := netip.MustParseAddr(text)
			for ifindex := 1; ifindex <= testPorts; ifindex++ {
				if g.chance(40) {
					g.o.PortAddresses[PortAddress{ifindex, a}] = struct{}{}
				}
			}
			for vrf := uint32(1); vrf <= 2; vrf++ {
				if g.chance(60) {
					g.o.Routes[RouteKey{vrf, host(a)}] = Route{NextHop: g.somewhere(vrf), MAC: portMAC(2), Routed: g.chance(30)}
				}
			}
		}
	}
}
