// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"maps"
	"net/netip"
	"slices"
)

// strayMAC is a MAC of a workload behind a port or another host; few, so that
// they are learned, heard again and move.
func strayMAC(vrf uint32, n int) MAC { return MAC{2, 5, 0, 0, byte(vrf), byte(n)} }

const (
	strays      = 12
	learnedRoom = 40 // entries of the table in tests
)

// bridging decides what the networks do with frames, and fills their tables.
func (g *generator) bridging() {
	now, err := ticksNow()
	if err != nil {
		panic(err)
	}
	o := g.o
	o.MACs, o.Floods, o.Receivers = map[MACKey]uint32{}, map[uint32]Flood{}, map[Receiver]uint32{}
	o.Learned, o.MACCounts, o.LearnedRoom, o.Tick = map[MACKey]LearnedMAC{}, map[MACCount]uint32{}, learnedRoom, now
	o.Config.TunnelMTU4, o.Config.TunnelMTU6 = pick(g, 0, 100, 1400), pick(g, 0, 120, 1400)
	for vrf := uint32(1); vrf <= 3; vrf++ {
		mode := g.IntN(10) // 0 to 3: packets only
		vni := o.VNIs[1000+vrf]
		vni.Bridge, vni.Frames = mode > 3, mode > 8
		o.VNIs[1000+vrf] = vni
		for _, ifindex := range slices.Sorted(maps.Keys(o.Ports)) {
			if port := o.Ports[ifindex]; port.VRF == vrf {
				port.Bridge, port.Frames = vni.Bridge, vni.Frames
				port.MACLimit, port.Unchecked = pick(g, 0, 0, 0, 1, 3, 64), g.chance(15)
				o.Ports[ifindex] = port
			}
		}
		g.knownMACs(vrf)
		if vni.Bridge && g.chance(45) {
			g.flood(vrf)
		}
		for n := range strays {
			if g.chance(30) {
				g.learned(vrf, n)
			}
		}
	}
	room := pick(g, learnedRoom, learnedRoom, learnedRoom, 1+g.IntN(6), 1+g.IntN(6), 0)
	for n := 0; learnedRoom-len(o.Learned) > room; n++ { // somebody else fills the table
		o.Learned[MACKey{9, strayMAC(9, n)}] = LearnedMAC{VNI: 1009, Remote: testSources[2], Seen: now, Moved: now}
	}
	o.MACCounts[freeMACs] = uint32(learnedRoom - len(o.Learned))
	for k, v := range o.Learned {
		o.MACCounts[o.behind(k.VRF, v)]++
		o.MACCounts[MACCount{k.VRF, allMACs}]++
	}
}

// knownMACs are those of the ports here, of neighbours elsewhere, and of
// workloads that are not plugged.
func (g *generator) knownMACs(vrf uint32) {
	for _, ifindex := range slices.Sorted(maps.Keys(g.o.Ports)) {
		if port := g.o.Ports[ifindex]; port.VRF == vrf || g.chance(5) {
			g.o.MACs[MACKey{vrf, port.MAC}] = g.nextHop(NextHop{Kind: NextHopPort, Ifindex: ifindex})
		}
	}
	for _, key := range inOrder(g.o.Routes) {
		route := g.o.Routes[key]
		if key.VRF == vrf && !route.Routed && route.MAC[1] == 1 && g.chance(70) {
			g.o.MACs[MACKey{vrf, route.MAC}] = route.NextHop
		}
	}
}

func (g *generator) flood(vrf uint32) {
	list := Flood{LeftOut: pick(g, 0, 0, 0, 0, 7)}
	for _, ifindex := range slices.Sorted(maps.Keys(g.o.Ports)) {
		if g.o.Ports[ifindex].VRF == vrf || g.chance(10) {
			g.o.Receivers[Receiver{vrf, list.Places}] = g.nextHop(NextHop{Kind: NextHopPort, Ifindex: ifindex})
		}
		list.Places++
	}
	for range g.IntN(4) {
		g.o.Receivers[Receiver{vrf, list.Places}] = g.somewhere(vrf)
		list.Places++
	}
	g.o.Floods[vrf] = list
}

// learned puts a stray somewhere; now and then it has moved before.
func (g *generator) learned(vrf uint32, n int) {
	v := LearnedMAC{VNI: 1000 + vrf, Remote: testSources[g.IntN(3)], Seen: g.o.Tick, Moved: g.o.Tick - moveTicks}
	if ifindex := 1 + g.IntN(testPorts); g.chance(50) {
		v = LearnedMAC{Ifindex: ifindex, Port: g.o.Ports[ifindex].ID, Seen: g.o.Tick, Moved: g.o.Tick - moveTicks}
		if g.chance(10) {
			v.Port++ // of a former port
		}
	}
	if g.chance(60) {
		v.Moved, v.Moves = pick(g, g.o.Tick, g.o.Tick, g.o.Tick, g.o.Tick-1000), pick(g, uint32(1), maxMoves-1, maxMoves, maxMoves, maxMoves)
	}
	g.o.Learned[MACKey{vrf, strayMAC(vrf, n)}] = v
}

// bridgedMACs are those of a frame inside a network.
func (g *generator) bridgedMACs(ifindex int) (destination, source MAC) {
	vrf := g.o.Ports[ifindex].VRF
	source = portMAC(ifindex)
	switch n := g.IntN(20); {
	case n < 6:
		source = strayMAC(vrf, g.IntN(strays))
	case n < 7:
		source = pick(g, GatewayMAC, MAC{}, MAC{3, 1, 1, 1, 1, 1}, portMAC(1+g.IntN(testPorts)), prefixMAC(ifindex))
	}
	switch n := g.IntN(20); {
	case n < 3:
		destination = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case n < 5:
		destination = MAC{0x33, 0x33, 0, 0, 0, 5}
	case n < 9:
		destination = strayMAC(vrf, g.IntN(strays))
	case n < 11:
		destination = pick(g, GatewayMAC, MAC{2, 9, 9, 9, 9, 9}, portMAC(ifindex))
	default:
		destination = portMAC(1 + g.IntN(testPorts))
		var known []MAC
		for k := range g.o.MACs {
			if k.VRF == vrf {
				known = append(known, k.MAC)
			}
		}
		if slices.SortFunc(known, func(a, b MAC) int { return slices.Compare(a[:], b[:]) }); len(known) > 0 {
			destination = known[g.IntN(len(known))]
		}
	}
	return destination, source
}

// bridged is a frame that goes by its MAC if the network does that.
func (g *generator) bridged(ifindex int) []byte {
	destination, source := g.bridgedMACs(ifindex)
	six := g.chance(50)
	s := ipSpec{source: g.own(ifindex, six), destination: poolAddress(six, 200+g.IntN(8)), protocol: 17, hops: 64, payload: make([]byte, 8+g.IntN(140))}
	if g.chance(20) {
		s.source = poolAddress(six, 230)
	} else if six && g.chance(15) {
		s.source = netip.MustParseAddr(pick(g, "fe80::5", "fe80::5", "fe80::1"))
	}
	switch g.IntN(8) {
	case 0, 1, 2:
		return ethernetFrame(destination, source, pick(g, uint16(0x88b5), 0x8137, 0x88cc, 0x05dc), make([]byte, 46+g.IntN(140)))
	case 4:
		operation := pick(g, uint16(1), 2)
		sender := pick(g, g.own(ifindex, false), g.own(ifindex, false), poolAddress(false, 230))
		return ethernetFrame(destination, source, 0x0806, arpMessage(operation, pick(g, source, source, source, portMAC(2)), sender, MAC{}, poolAddress(false, 200)))
	case 5:
		from := pick(g, g.own(ifindex, true), netip.MustParseAddr("fe80::5"), netip.MustParseAddr("fe80::1"))
		s = solicitation(from, pick(g, from, from, poolAddress(true, 200), netip.MustParseAddr("fe80::1")), source)
		s.payload = icmp6(s.source, s.destination, pick(g, byte(133), 134, 135, 136, 136, 143), 0, s.payload[4:])
		if g.chance(10) {
			s.payload = s.payload[:16]
		}
	case 6, 7:
		return g.talk(ifindex, destination, source)
	}
	return ethernetFrame(destination, source, s.ethertype(), s.build())
}

// talk is a packet of a conversation, or an error, with the MACs of a frame
// inside a network.
func (g *generator) talk(ifindex int, destination, source MAC) []byte {
	six := g.chance(50)
	s := ipSpec{source: g.own(ifindex, six), destination: g.destination(g.o.Ports[ifindex].VRF, six), hops: 64, payload: make([]byte, 24)}
	s.protocol = pick(g, byte(6), 6, 17, 132)
	s.payload[0], s.payload[2] = byte(g.IntN(4)), 9
	if g.chance(30) {
		kind := pick(g, byte(8), 0, 3, 13)
		s.protocol, s.payload = 1, icmp4(kind, 0, make([]byte, 20))
		if six {
			s.protocol, s.payload = 58, icmp6(s.source, s.destination, map[byte]byte{8: 128, 0: 129, 3: 1, 13: 127}[kind], 0, make([]byte, 20))
		}
	}
	if g.chance(15) {
		s.fragment = pick(g, uint16(0x2000), 0x2000, 0x0003)
		if six {
			s.extensions, s.fragment = []byte{44}, pick(g, uint16(1), 1, 3<<3)
		}
	}
	return g.flags(sent{frame: ethernetFrame(destination, source, s.ethertype(), s.build())}).frame
}

// bridgedFrom sends such a frame from a port or another host.
func (g *generator) bridgedFrom(ifindex int) sent {
	switch g.IntN(8) {
	case 0, 4:
		if s, ok := g.restless(); ok {
			return s
		}
	case 1: // larger than some take
		ifindex = g.portThat(func(_ int, p Port) bool { return p.Bridge })
		frame := ethernetFrame(g.narrow(ifindex), portMAC(ifindex), 0x88b5, make([]byte, 200))
		return sent{ifindex: ifindex, frame: frame}
	case 3: // one more than a port may have
		ifindex = g.portThat(func(i int, p Port) bool {
			return p.Bridge && p.MACLimit > 0 && int(g.o.MACCounts[MACCount{p.VRF, i}]) >= p.MACLimit
		})
		mac := strayMAC(g.o.Ports[ifindex].VRF, g.IntN(strays))
		return sent{ifindex: ifindex, frame: ethernetFrame(portMAC(1), mac, 0x88b5, make([]byte, 50))}
	case 5, 6: // between two ports, of which one asks
		ifindex = g.portThat(func(_ int, p Port) bool { return p.Bridge && p.Policed })
		other := g.portThat(func(i int, p Port) bool { return p.VRF == g.o.Ports[ifindex].VRF && i != ifindex })
		if g.chance(50) {
			ifindex, other = other, ifindex
		}
		return sent{ifindex: ifindex, frame: g.talk(ifindex, portMAC(other), portMAC(ifindex))}
	case 2:
		ifindex = g.portThat(func(_ int, p Port) bool { return p.Bridge })
		return sent{ifindex: ifindex, frame: ethernetFrame(portMAC(ifindex), portMAC(ifindex), 0x88b5, make([]byte, 50))}
	}
	if g.chance(65) {
		return sent{ifindex: ifindex, frame: g.bridged(ifindex)}
	}
	return sent{ifindex: testTunnelDevice, key: g.tunnelKey(ifindex), frame: g.bridged(ifindex)}
}

// narrow is a MAC of the port's network whose place takes no large frames, if
// there is one.
func (g *generator) narrow(ifindex int) MAC {
	vrf := g.o.Ports[ifindex].VRF
	var all []MAC
	for k, hop := range g.o.MACs {
		next := g.o.NextHops[hop]
		place := next.Kind == NextHopTunnel || next.Kind == NextHopPort && next.Ifindex != ifindex && g.o.Ports[next.Ifindex].VRF == vrf
		if k.VRF == vrf && place && !g.o.takes(next, make([]byte, 214)) {
			all = append(all, k.MAC)
		}
	}
	if len(all) == 0 {
		return MAC{2, 9, 9, 9, 9, 9}
	}
	slices.SortFunc(all, func(a, b MAC) int { return slices.Compare(a[:], b[:]) })
	return all[g.IntN(len(all))]
}

// restless is from a MAC that has moved as often as it may, and moves again.
func (g *generator) restless() (sent, bool) {
	keys := slices.SortedFunc(maps.Keys(g.o.Learned), func(a, b MACKey) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	from := g.IntN(len(keys) + 1)
	for n := range keys {
		k := keys[(from+n)%len(keys)]
		v := g.o.Learned[k]
		if v.Moves < maxMoves || g.o.Tick-v.Moved > 10 || !g.o.VNIs[1000+k.VRF].Bridge {
			continue
		}
		frame := ethernetFrame(MAC{2, 9, 9, 9, 9, 9}, k.MAC, 0x88b5, make([]byte, 50))
		other := g.portThat(func(i int, p Port) bool { return p.VRF == k.VRF && p.MACLimit > 0 && i != v.Ifindex })
		if p := g.o.Ports[other]; p.VRF == k.VRF && p.MACLimit > 0 && g.chance(70) {
			return sent{ifindex: other, frame: frame}, true
		}
		remote := testSources[g.IntN(3)]
		return sent{ifindex: testTunnelDevice, key: &TunnelKey{VNI: 1000 + k.VRF, Remote: remote}, frame: frame}, true
	}
	return sent{}, false
}

// places are where learned MACs are, without when.
func places(learned map[MACKey]LearnedMAC) map[MACKey]LearnedMAC {
	all := maps.Clone(learned)
	for k, v := range all {
		v.Seen, v.Moved = 0, 0
		all[k] = v
	}
	return all
}

// unbridge makes all networks forward packets only.
func (g *generator) unbridge() {
	for ifindex, port := range g.o.Ports {
		port.Bridge, port.Frames = false, false
		g.o.Ports[ifindex] = port
	}
	for vni, v := range g.o.VNIs {
		v.Bridge, v.Frames = false, false
		g.o.VNIs[vni] = v
	}
}
