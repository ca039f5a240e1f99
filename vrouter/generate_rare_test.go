// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

// rare returns frames that chance alone makes seldom, so that each reason gets
// its share of cases. What they carry besides is as random as ever.
func (g *generator) rare() sent {
	ifindex := 1 + g.IntN(testPorts)
	six := g.chance(50)
	switch g.IntN(16) {
	case 0:
		return sent{ifindex: 77, frame: g.any(ifindex, six)} // not a port
	case 1:
		return sent{ifindex: testTunnelDevice, frame: g.any(ifindex, six)} // no tunnel key
	case 2:
		frame := g.data(ifindex, six)
		return sent{ifindex: ifindex, frame: append(append(append([]byte(nil), frame[:12]...), 0x81, 0, 0, 5), frame[12:]...)}
	case 3:
		return sent{ifindex: ifindex, frame: g.extended(ifindex)}
	case 4:
		return sent{ifindex: ifindex, frame: g.linkLocal(ifindex)}
	case 5, 6, 7:
		return sent{ifindex: ifindex, frame: g.rareARP(ifindex)}
	case 8:
		return g.tooFar(ifindex, six)
	case 9:
		_, frame := g.frame(ifindex)
		mac := portMAC(ifindex + 1)
		copy(frame[6:], mac[:])
		return sent{ifindex: ifindex, frame: frame}
	}
	return sent{ifindex: ifindex, frame: g.rareND(ifindex)}
}

// tooFar is from a tunnel to a gateway, or larger than some ports take.
func (g *generator) tooFar(ifindex int, six bool) sent {
	s := ipSpec{source: poolAddress(six, 2), destination: g.own(ifindex, six), protocol: 17, hops: 64, payload: make([]byte, 120)}
	if g.chance(50) {
		s.destination = poolAddress(six, 1)
	}
	key := &TunnelKey{VNI: 1000 + g.o.Ports[ifindex].VRF, Remote: testSources[0]}
	return sent{ifindex: testTunnelDevice, key: key, frame: ethernetFrame(GatewayMAC, MAC{2, 8}, s.ethertype(), s.build())}
}

// own is an address that the port has, if it has one at all.
func (g *generator) own(ifindex int, six bool) netip.Addr {
	for n, from := 0, g.IntN(poolSize); n < poolSize; n++ {
		if a := poolAddress(six, (from+n)%poolSize); g.o.owns(ifindex, a) {
			return a
		}
	}
	return poolAddress(six, 2)
}

func (g *generator) extended(ifindex int) []byte {
	s := ipSpec{source: g.own(ifindex, true), destination: g.destination(g.o.Ports[ifindex].VRF, true), protocol: 17, hops: 64, payload: make([]byte, 8)}
	for range pick(g, 5, 6, 7, 8) {
		s.extensions = append(s.extensions, pick(g, byte(0), 43, 51, 60, 135, 139, 140))
	}
	return ethernetFrame(GatewayMAC, portMAC(ifindex), 0x86dd, s.build())
}

// linkLocal is for an address that has a route and may still not be forwarded to.
func (g *generator) linkLocal(ifindex int) []byte {
	to := netip.MustParseAddr("fe80::2")
	s := ipSpec{source: g.own(ifindex, true), destination: to, protocol: 17, hops: 64, payload: make([]byte, 8)}
	return ethernetFrame(GatewayMAC, portMAC(ifindex), 0x86dd, s.build())
}

func (g *generator) rareARP(ifindex int) []byte {
	sender, target, operation := g.own(ifindex, false), poolAddress(false, 200), uint16(1)
	switch g.IntN(5) {
	case 0: // nobody has it
	case 1:
		sender = netip.IPv4Unspecified()
	case 2:
		target = g.own(ifindex, false)
	case 3:
		target = sender
	case 4:
		operation = 2
	}
	mac := portMAC(ifindex)
	return ethernetFrame(GatewayMAC, mac, 0x0806, arpMessage(operation, mac, sender, MAC{}, target))
}

func (g *generator) rareND(ifindex int) []byte {
	source, target, kind := g.own(ifindex, true), poolAddress(true, 200), byte(135)
	switch g.IntN(6) {
	case 0: // nobody has it
	case 1:
		source = netip.IPv6Unspecified()
	case 2:
		target = g.own(ifindex, true)
	default:
		kind = pick(g, byte(130), 133, 133, 134, 136, 136, 137)
	}
	s := solicitation(source, target, portMAC(ifindex))
	s.payload = icmp6(s.source, s.destination, kind, 0, s.payload[4:])
	if g.chance(15) {
		s.hops = 254
	}
	return ethernetFrame(MAC{0x33, 0x33, 0xff, 0, 0, 1}, portMAC(ifindex), 0x86dd, s.build())
}
