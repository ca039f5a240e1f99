// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"slices"
	"testing"
)

// floating is what a generator keeps of floating addresses, in an order that a seed repeats.
type floating struct {
	floats []floater
}

// floater is a floating address that leads to a port of this host.
type floater struct {
	vrf      uint32
	external netip.Addr
	number   uint64
	ifindex  int
	internal netip.Addr
}

// floated is the nth floating address of a VRF.
func floated(six bool, vrf uint32, n int) netip.Addr { return poolAddress(six, 160+3*int(vrf)+n) }

// outside is where no VRF but this one leads.
func outside(six bool, vrf uint32) netip.Addr { return poolAddress(six, 180+int(vrf)) }

// floatingAddresses gives each VRF floating addresses, some of which another one imports.
func (g *generator) floatingAddresses() {
	g.o.Floats = map[FloatKey]Float{}
	for _, six := range []bool{false, true} {
		for vrf := uint32(1); vrf <= 3; vrf++ {
			for n := range 3 {
				g.floatingAddress(vrf, floated(six, vrf, n))
			}
			to := g.somewhere(vrf)
			if at := g.portThat(func(_ int, p Port) bool { return p.VRF == vrf }); g.chance(30) && g.o.Ports[at].VRF == vrf {
				to = g.nextHop(NextHop{Kind: NextHopPort, Ifindex: at})
				g.o.PortAddresses[PortAddress{at, outside(six, vrf)}] = struct{}{}
			}
			g.o.Routes[RouteKey{vrf, host(outside(six, vrf))}] = Route{NextHop: to, MAC: MAC{2, 4, 0, 0, 0, byte(vrf)}, Routed: g.chance(60), MTU: g.mtu()}
		}
	}
}

func (g *generator) floatingAddress(vrf uint32, a netip.Addr) {
	route := Route{Proxied: g.chance(80), MAC: GatewayMAC, NextHop: g.somewhere(vrf)}
	if g.chance(85) {
		f := floater{vrf: vrf, external: a, ifindex: 1 + g.IntN(testPorts)}
		f.internal = g.own(f.ifindex, a.Is6())
		if len(g.floats) > 0 && g.chance(30) { // one more of a port that has one
			other := g.floats[g.IntN(len(g.floats))]
			if other.external.Is6() == a.Is6() {
				f.ifindex, f.internal = other.ifindex, other.internal
			}
		}
		alias := g.chance(20)
		if alias {
			f.internal = a
			g.o.PortAddresses[PortAddress{f.ifindex, a}] = struct{}{}
		}
		g.number++
		f.number = g.number
		g.mapFloat(f, alias)
		route.NextHop, route.MAC = g.nextHop(NextHop{Kind: NextHopMapped, Mapping: f.number}), portMAC(f.ifindex)
	}
	g.o.Routes[RouteKey{vrf, host(a)}] = route
	if g.chance(40) {
		route.Routed = true
		g.o.Routes[RouteKey{vrf%3 + 1, host(a)}] = route
	}
}

// mapFloat lets a port have a floating address.
func (g *generator) mapFloat(f floater, alias bool) {
	g.floats = append(g.floats, f)
	if g.chance(97) {
		g.o.Mappings[f.number] = Mapping{Ifindex: f.ifindex, VRF: f.vrf, External: netip.AddrPortFrom(f.external, 0), Internal: netip.AddrPortFrom(f.internal, 0)}
	}
	if g.chance(5) {
		return // its host does not know it yet
	}
	key := FloatKey{f.ifindex, f.internal}
	of := g.o.Floats[key]
	of.Mappings[slices.Index(of.Mappings[:], 0)] = f.number // as they come: by VRF and address
	if alias && of.Alias == 0 {
		of.Alias = f.number
		p := g.o.Ports[f.ifindex]
		p.Aliases = true
		g.o.Ports[f.ifindex] = p
	}
	g.o.Floats[key] = of
}

// toFloating is about floating addresses.
func (g *generator) toFloating() sent {
	f := g.floats[g.IntN(len(g.floats))]
	six := f.external.Is6()
	out := sent{ifindex: testTunnelDevice, key: &TunnelKey{VNI: 1000 + f.vrf, Remote: testSources[0]}}
	source, to, mac := g.far(six), f.external, MAC{2, 8}
	switch g.IntN(10) {
	case 0, 1, 2:
		if g.chance(4) {
			source = hairpinRemote(source)
		}
	case 3, 4: // from a port that has a route to it, perhaps
		out = sent{ifindex: g.portThat(func(_ int, p Port) bool { return p.VRF == f.vrf || p.VRF == f.vrf%3+1 })}
		source, mac = g.own(out.ifindex, six), portMAC(out.ifindex)
	case 5, 6, 7: // outward
		out, source, mac = sent{ifindex: f.ifindex}, f.internal, portMAC(f.ifindex)
		to = outside(six, uint32(1+g.IntN(3)))
	case 8: // between two that both have one
		other := g.floats[g.IntN(len(g.floats))]
		out, source, mac = sent{ifindex: f.ifindex}, f.internal, portMAC(f.ifindex)
		if to = outside(six, f.vrf); other.external.Is6() == six {
			to = other.external
		}
	case 9: // hairpin
		out, source, mac = sent{ifindex: f.ifindex}, f.internal, portMAC(f.ifindex)
		if g.chance(20) {
			source = g.own(f.ifindex, six)
		}
	}
	if out.key == nil && g.chance(2) {
		mac = prefixMAC(out.ifindex)
	}
	return g.aboutFloating(out, source, to, mac)
}

// aboutFloating is a frame of any protocol.
func (g *generator) aboutFloating(out sent, source, to netip.Addr, mac MAC) sent {
	protocol := pick(g, uint8(6), 6, 6, 17, 17, 132, 1, 1, 50, 33, 136)
	s := g.aimed(protocol, netip.AddrPortFrom(source, g.clientPort()), netip.AddrPortFrom(to, pick(g, uint16(80), 53, 4000, 4001)))
	if protocol == 1 {
		s.payload = icmp4(pick(g, byte(8), 8, 8, 8, 0, 13), 0, []byte{1, byte(g.IntN(3)), 0, 3, 5, 6})
		if source.Is6() {
			s.protocol, s.payload = 58, icmp6(source, to, pick(g, byte(128), 128, 128, 128, 129, 127), 0, []byte{1, byte(g.IntN(3)), 0, 3, 5, 6})
		}
	}
	if g.chance(8) { // an error about what may have been sent the other way
		about := packet(MAC{}, MAC{}, pick(g, uint8(6), 17, 17), netip.AddrPortFrom(to, pick(g, uint16(80), 53)), netip.AddrPortFrom(source, g.clientPort()), 0x10)
		out.frame = quoting(mac, GatewayMAC, source, to, about)
		return out
	}
	destination := GatewayMAC
	if g.chance(3) {
		destination = MAC{2, 7}
	}
	out.frame = ethernetFrame(destination, mac, s.ethertype(), s.build())
	if out = g.flags(out); g.chance(6) {
		return g.cut(out)
	}
	return out
}

// churnFloating changes who has a floating address.
func (g *generator) churnFloating(t testing.TB, d *Datapath) {
	t.Helper()
	f := g.floats[g.IntN(len(g.floats))]
	key := RouteKey{f.vrf, host(f.external)}
	route := g.o.Routes[key]
	switch g.IntN(3) {
	case 0: // it goes to another host
		route.NextHop, route.MAC = g.somewhere(f.vrf), MAC{2, 5, 0, 0, 0, byte(g.IntN(256))}
		delete(g.o.Mappings, f.number)
		check(t, d.Mappings.Delete(f.number))
	case 1: // the port loses all that it has by the address
		delete(g.o.Floats, FloatKey{f.ifindex, f.internal})
		check(t, d.Floats.Delete(FloatKey{f.ifindex, f.internal}))
	default: // it goes to another port
		now := floater{vrf: f.vrf, external: f.external, ifindex: 1 + g.IntN(testPorts)}
		now.internal = g.own(now.ifindex, f.external.Is6())
		g.number++
		now.number = g.number
		delete(g.o.Mappings, f.number)
		check(t, d.Mappings.Delete(f.number))
		floats := FloatKey{now.ifindex, now.internal}
		if of := g.o.Floats[floats]; of.Mappings[MaxFloats-1] == 0 {
			g.mapFloat(now, false)
		}
		if m, there := g.o.Mappings[now.number]; there {
			check(t, d.Mappings.Put(now.number, m))
		}
		if of, there := g.o.Floats[floats]; there {
			check(t, d.Floats.Put(floats, of))
		}
		route.NextHop, route.MAC = g.nextHop(NextHop{Kind: NextHopMapped, Mapping: now.number}), portMAC(now.ifindex)
	}
	g.installHop(t, d, route.NextHop)
	g.o.Routes[key] = route
	check(t, d.Routes.Put(key, route))
	for vrf := uint32(1); vrf <= 3; vrf++ {
		check(t, d.RenewVRF(vrf))
	}
}
