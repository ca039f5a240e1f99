// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

// reachable brings virtual addresses of the first two VRFs into the underlay, or most
// of them, and this host's own addresses into these VRFs.
func (g *generator) reachable() {
	for _, key := range g.listeners {
		at := RouteKey{UnderlayVRF, host(key.Address)}
		if _, there := g.o.Routes[at]; !there && key.VRF <= 2 && g.chance(90) {
			g.o.Routes[at] = Route{NextHop: g.nextHop(NextHop{Kind: NextHopBalancer, VNI: key.VRF}), MAC: GatewayMAC, Fabric: key.VRF == 1 || g.chance(10)}
		}
	}
	for vrf := uint32(1); vrf <= 2; vrf++ {
		for _, own := range testLocals {
			hop := NextHop{Kind: NextHopFabric, Ifindex: pick(g, 0, 0, 0, 0, testUplink), MTU: g.mtu()}
			g.o.Routes[RouteKey{vrf, host(own)}] = Route{NextHop: g.nextHop(hop), Routed: true, MAC: GatewayMAC}
		}
	}
}

// toReachable is from some machine, or the host, to a virtual address.
func (g *generator) toReachable(six bool, to, from MAC) []byte {
	vrf := pick(g, uint32(1), 1, 2)
	w := wellKnown[g.IntN(len(wellKnown))]
	client := netip.AddrPortFrom(underlayAddress(six, g.IntN(8)), g.clientPort())
	if g.chance(4) {
		client = netip.AddrPortFrom(pick(g, g.far(six), hairpinRemote(client.Addr()), g.beside(six)), client.Port())
	}
	serves := netip.AddrPortFrom(virtual(six, vrf, g.IntN(2)), w.port)
	if g.chance(10) { // about what the client was sent
		about := packet(MAC{}, MAC{}, w.protocol, serves, client, 0x10)
		return quoting(from, to, client.Addr(), serves.Addr(), about)
	}
	s := g.aimed(w.protocol, client, serves)
	if g.chance(4) {
		s.protocol = pick(g, byte(1), 58, 50, 136)
	}
	out := g.flags(sent{ifindex: testUplink, frame: ethernetFrame(to, from, s.ethertype(), s.build())})
	if g.chance(8) {
		out = g.cut(out)
	}
	return out.frame
}

// toOwn is what a member on another host answers this host, or nearly so.
func (g *generator) toOwn() sent {
	six := g.chance(50)
	vrf := pick(g, uint32(1), 1, 2)
	w := wellKnown[g.IntN(len(wellKnown))]
	serves := netip.AddrPortFrom(virtual(six, vrf, g.IntN(2)), w.port)
	if g.chance(15) {
		serves = netip.AddrPortFrom(pick(g, g.far(six), virtual(six, 3-vrf, 0), underlayAddress(six, 1)), w.port)
	}
	own := testLocal(six)
	if g.chance(10) {
		own = pick(g, underlayAddress(six, 3), map[bool]netip.Addr{false: testLocals[2], true: testLocals[1]}[six])
	}
	s := g.aimed(w.protocol, serves, netip.AddrPortFrom(own, g.clientPort()))
	frame := ethernetFrame(GatewayMAC, GatewayMAC, s.ethertype(), s.build())
	return g.flags(sent{ifindex: testTunnelDevice, key: &TunnelKey{VNI: 1000 + vrf, Remote: testSources[0]}, frame: frame})
}
