// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// rare returns frames that chance alone makes seldom, so that each reason gets
// its share of cases. What they carry besides is as random as ever.
func (g *generator) rare() sent {
	ifindex := 1 + g.IntN(testPorts)
	six := g.chance(50)
	switch g.IntN(49) {
	case 41, 42, 43, 44, 45, 46, 47, 48:
		return g.rejected()
	case 40:
		return sent{ifindex: ifindex, frame: g.rareARP(ifindex)}
	case 33, 34, 35, 36, 37, 38, 39:
		return g.bridgedFrom(ifindex)
	case 0:
		return sent{ifindex: 77, frame: g.any(ifindex, six)} // not a port
	case 1:
		return sent{ifindex: testTunnelDevice, frame: g.any(ifindex, six)} // no tunnel key
	case 2:
		return sent{ifindex: ifindex, frame: g.tagged(g.any(ifindex, six))}
	case 3:
		return sent{ifindex: ifindex, frame: g.extended(ifindex)}
	case 4:
		return sent{ifindex: ifindex, frame: g.linkLocal(ifindex)}
	case 5, 6, 7:
		return sent{ifindex: ifindex, frame: g.rareARP(ifindex)}
	case 18, 28: // larger than any request, with padding
		ifindex = g.portThat(func(_ int, p Port) bool { return p.DHCP4 && p.DHCP6 })
		return sent{ifindex: ifindex, frame: append(g.dhcp(ifindex, six), make([]byte, 2100)...)}
	case 19, 20, 29, 30:
		ifindex = g.portThat(func(i int, p Port) bool { return g.o.Silenced[i] && (p.DHCP4 || p.DHCP6) })
		return sent{ifindex: ifindex, frame: g.dhcp(ifindex, six)}
	case 21, 22: // from who has had its share of services
		ifindex = g.portThat(func(i int, _ Port) bool { return g.o.Served[i] })
		return sent{ifindex: ifindex, frame: g.toHost(ifindex, six)}
	case 26, 27:
		return sent{ifindex: ifindex, frame: g.toHost(ifindex, six)}
	case 23:
		ifindex = g.portThat(func(i int, _ Port) bool { return g.o.Exhausted[i] })
		frame := g.data(ifindex, six)
		setHops(frame, 1)
		return sent{ifindex: ifindex, frame: frame}
	case 24, 25:
		ifindex = g.portThat(func(_ int, p Port) bool { return !p.Advertise })
		s := solicitation(g.own(ifindex, true), poolAddress(true, 1), portMAC(ifindex))
		s.payload = icmp6(s.source, s.destination, 133, 0, make([]byte, 4))
		return sent{ifindex: ifindex, frame: ethernetFrame(MAC{0x33, 0x33, 0, 0, 0, 2}, portMAC(ifindex), 0x86dd, s.build())}
	case 31, 32:
		return g.transit(ifindex, six)
	case 16, 17:
		return g.firstFragment(ifindex, six)
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

// portThat is a port of which something holds, or any if it holds of none.
func (g *generator) portThat(holds func(int, Port) bool) int {
	from := g.IntN(testPorts)
	for n := range testPorts {
		if i := 1 + (from+n)%testPorts; holds(i, g.o.Ports[i]) {
			return i
		}
	}
	return 1 + from
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
	if a, ok := g.inGap(g.o.Ports[ifindex].VRF, false); ok && g.chance(15) {
		target = a
	}
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
	if a, ok := g.inGap(g.o.Ports[ifindex].VRF, true); ok && g.chance(15) {
		target = a
	}
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

// firstFragment has the ports of a packet whose rest is to follow.
func (g *generator) firstFragment(ifindex int, six bool) sent {
	protocol := pick(g, byte(6), 17, 17, 132, 47)
	payload := make([]byte, 24)
	payload[0], payload[2] = byte(g.IntN(8)), 9
	if g.chance(30) { // an echo
		protocol, payload = 1, icmp4(8, 0, make([]byte, 20))
		if six {
			protocol, payload[0] = 58, 128
		}
	}
	s := ipSpec{source: g.own(ifindex, six), destination: g.destination(g.o.Ports[ifindex].VRF, six), protocol: protocol, hops: 64, payload: payload}
	s.fragment = 0x2000
	if six {
		s.extensions, s.fragment = pick(g, []byte{44}, []byte{60, 44}), 1
	}
	return sent{ifindex: ifindex, frame: ethernetFrame(GatewayMAC, portMAC(ifindex), s.ethertype(), s.build())}
}

// rest turns a first fragment into a later one of the same packet, or now and
// then of another between the same two.
func (g *generator) rest(s sent) (sent, bool) {
	f := parse(s.frame)
	if f.refused != "" || !f.fragment || f.later {
		return sent{}, false
	}
	s.frame = slices.Clone(s.frame)
	other := pick(g, uint16(0), 0, 0, 0, 77)
	if f.source.Is4() {
		id := binary.BigEndian.Uint16(s.frame[18:])
		binary.BigEndian.PutUint16(s.frame[18:], id^other)
		adjust(s.frame[24:], id, id^other)
		before := binary.BigEndian.Uint16(s.frame[20:])
		binary.BigEndian.PutUint16(s.frame[20:], 3)
		adjust(s.frame[24:], before, 3)
		return s, true
	}
	at, next := 54, s.frame[20]
	for next != 44 {
		size := 8 + 8*int(s.frame[at+1])
		if next == 51 {
			size = 8 + 4*int(s.frame[at+1])
		}
		at, next = at+size, s.frame[at]
	}
	binary.BigEndian.PutUint16(s.frame[at+2:], 3<<3)
	binary.BigEndian.PutUint16(s.frame[at+6:], other)
	return s, true
}
