// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"maps"
	"slices"

	"github.com/weft-network/weft/vrouter/rules"
)

// rejecting lets some ports reject whatever one direction brings, for chance
// seldom makes rules that do.
func (g *generator) rejecting() {
	all := rules.Ruleset{Outside: rules.Reject, Identified: rules.Reject}
	id := compiled(all).ID
	g.o.Muted = map[int]bool{}
	g.o.Rulesets[id] = all
	for _, ifindex := range slices.Sorted(maps.Keys(g.o.Ports)) {
		if g.chance(15) {
			g.o.Muted[ifindex] = true
		}
		direction, does := rules.Ingress, g.chance(12)
		if !does {
			direction, does = rules.Egress, g.chance(4)
		}
		if !does {
			continue
		}
		policy := g.o.PortPolicies[ifindex]
		policy.Rulesets[direction][0] = id
		g.o.PortPolicies[ifindex] = policy
		port := g.o.Ports[ifindex]
		port.Policed = true
		g.o.Ports[ifindex] = port
	}
}

func (g *generator) rejects(ifindex int, direction rules.Direction) bool {
	r, known := g.o.Rulesets[g.o.PortPolicies[ifindex].Rulesets[direction][0]]
	return known && g.o.Ports[ifindex].Policed && len(r.Rules) == 0 && r.Outside == rules.Reject && r.Identified == rules.Reject
}

// rejected is a packet to or from a port that rejects, most often TCP.
func (g *generator) rejected() sent {
	six := g.chance(50)
	s := ipSpec{protocol: pick(g, byte(6), 6, 6, 17), hops: 64}
	s.payload = make([]byte, 20+g.IntN(60))
	for i := range s.payload {
		s.payload[i] = byte(g.Uint32())
	}
	if s.protocol == 6 {
		s.payload[12] = byte(pick(g, 5, 5, 5, 5, 5, 5, 6, 10, 4, 15)) << 4
		s.payload[13] = pick(g, byte(0x02), 0x02, 0x02, 0x03, 0x01, 0x10, 0x11, 0x12, 0x18, 0x04, 0x14, 0x00)
	}
	if g.chance(5) {
		s.options, s.extensions = []byte{1, 1, 1, 1}, []byte{60}
	}
	if g.chance(15) {
		sender := g.portThat(func(i int, _ Port) bool { return g.rejects(i, rules.Egress) })
		s.source, s.destination = g.own(sender, six), g.destination(g.o.Ports[sender].VRF, six)
		return sent{ifindex: sender, frame: ethernetFrame(GatewayMAC, portMAC(sender), s.ethertype(), s.build())}
	}
	to := g.routeThat(six, func(_ RouteKey, n NextHop) bool { return n.Kind == NextHopPort && g.rejects(n.Ifindex, rules.Ingress) })
	vrf := to.VRF
	s.destination = to.Prefix.Addr()
	if g.chance(20) {
		receiver := g.o.NextHops[g.o.Routes[to].NextHop].Ifindex
		sender := g.portThat(func(i int, p Port) bool { return i != receiver && p.VRF == vrf })
		s.source = g.own(sender, six)
		return sent{ifindex: sender, frame: ethernetFrame(GatewayMAC, portMAC(sender), s.ethertype(), s.build())}
	}
	s.source = g.routeThat(six, func(k RouteKey, n NextHop) bool { return k.VRF == vrf && n.Kind == NextHopTunnel }).Prefix.Addr()
	key := &TunnelKey{VNI: 1000 + vrf, Remote: testSources[0]}
	return sent{ifindex: testTunnelDevice, key: key, frame: ethernetFrame(GatewayMAC, MAC{2, 8}, s.ethertype(), s.build())}
}

// routeThat is a route of a family of which something holds, or any if it holds of none.
func (g *generator) routeThat(six bool, holds func(RouteKey, NextHop) bool) (any RouteKey) {
	keys := sortedRoutes(g.o.Routes)
	for n, from := 0, g.IntN(len(keys)); n < len(keys); n++ {
		key := keys[(from+n)%len(keys)]
		if key.Prefix.Addr().Is6() != six {
			continue
		}
		if any = key; holds(key, g.o.NextHops[g.o.Routes[key].NextHop]) {
			return key
		}
	}
	return any
}
