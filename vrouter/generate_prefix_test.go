// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"testing"
)

// prefixMAC is the MAC of a workload behind a port, or of an address it shares.
func prefixMAC(ifindex int) MAC { return MAC{2, 7, 0, 0, 0, byte(ifindex)} }

// poolPrefix is some range in or around the pool.
func (g *generator) poolPrefix(six bool) netip.Prefix {
	a := poolAddress(six, g.IntN(256))
	return netip.PrefixFrom(a, a.BitLen()-pick(g, 0, 1, 2, 3, 4, 5, 8, 8, a.BitLen())).Masked()
}

// prefixes gives a port some, now and then with a route that leads them there.
func (g *generator) prefixes(ifindex int) {
	for range g.IntN(6) {
		g.addPrefix(ifindex)
	}
}

func (g *generator) addPrefix(ifindex int) (PortPrefix, Permission) {
	key := PortPrefix{ifindex, portMAC(ifindex), g.poolPrefix(g.chance(50))}
	value := pick(g, Permission{Behind: true}, Permission{Behind: true}, Permission{}, Permission{Standby: true}, Permission{Standby: true}, Permission{Asked: true})
	if g.chance(20) {
		key.MAC = prefixMAC(ifindex)
	}
	g.o.PortPrefixes[key] = value
	route := RouteKey{g.o.Ports[ifindex].VRF, key.Prefix}
	if _, taken := g.o.Routes[route]; !taken && g.chance(60) {
		g.o.Routes[route] = Route{NextHop: g.nextHop(NextHop{Kind: NextHopPort, Ifindex: ifindex}), MAC: key.MAC, Routed: g.chance(50)}
	}
	return key, value
}

// prefixSource is an address in one of the port's prefixes.
func (g *generator) prefixSource(ifindex int, six bool) (netip.Addr, bool) {
	for range 8 {
		a := poolAddress(six, g.IntN(256))
		_, _, own := g.o.prefixOf(ifindex, portMAC(ifindex), a)
		if _, _, other := g.o.prefixOf(ifindex, prefixMAC(ifindex), a); own || other {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// churnPrefix takes a prefix from a port or gives it one, and the route if it
// comes with one.
func (g *generator) churnPrefix(t testing.TB, d *Datapath) {
	t.Helper()
	if keys := inOrder(g.o.PortPrefixes); len(keys) > 0 && g.chance(50) {
		key := keys[g.IntN(len(keys))]
		delete(g.o.PortPrefixes, key)
		check(t, d.PortPrefixes.Delete(key))
		return
	}
	ifindex := 1 + g.IntN(testPorts)
	key, value := g.addPrefix(ifindex)
	check(t, d.PortPrefixes.Put(key, value))
	to := RouteKey{g.o.Ports[ifindex].VRF, key.Prefix}
	if route, ok := g.o.Routes[to]; ok {
		g.installHop(t, d, route.NextHop)
		check(t, d.Routes.Put(to, route))
		if !to.Prefix.IsSingleIP() { // it came in place of a gap
			delete(g.o.Gaps, to)
		}
	}
}
