// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"testing"
)

// gaps leaves some routes out.
func (g *generator) gaps() {
	g.o.Gaps = map[RouteKey]struct{}{}
	for _, key := range sortedRoutes(g.o.Routes) {
		if g.chance(map[bool]int{true: 4, false: 15}[key.Prefix.IsSingleIP()]) {
			delete(g.o.Routes, key)
			g.o.Gaps[g.around(key)] = struct{}{}
		}
	}
}

// around is the gap of a route that is left out: often only its own prefix.
func (g *generator) around(key RouteKey) RouteKey {
	bits := max(0, key.Prefix.Bits()-pick(g, 0, 0, 0, 0, 1, 2, 4))
	wide := RouteKey{key.VRF, netip.PrefixFrom(key.Prefix.Addr(), bits).Masked()}
	if _, taken := g.o.Routes[wide]; taken {
		return key
	}
	return wide
}

// inGap is an address in a gap of a VRF, if it has any.
func (g *generator) inGap(vrf uint32, six bool) (netip.Addr, bool) {
	var all []netip.Prefix
	for _, key := range sortedRoutes(g.o.Gaps) {
		if key.VRF == vrf && key.Prefix.Addr().Is6() == six {
			all = append(all, key.Prefix)
		}
	}
	if len(all) == 0 {
		return netip.Addr{}, false
	}
	prefix := all[g.IntN(len(all))]
	bytes := prefix.Addr().AsSlice()
	bytes[len(bytes)-1] ^= byte(g.IntN(4)) // this one, or one beside
	a, _ := netip.AddrFromSlice(bytes)
	if !prefix.Contains(a) {
		a = prefix.Addr()
	}
	return a, true
}

// churnGap leaves a route out, or brings one in where there was a gap.
func (g *generator) churnGap(t testing.TB, d *Datapath) {
	t.Helper()
	gaps := sortedRoutes(g.o.Gaps)
	if len(gaps) == 0 || g.chance(50) {
		routes := sortedRoutes(g.o.Routes)
		key := routes[g.IntN(len(routes))]
		delete(g.o.Routes, key)
		check(t, d.Routes.Delete(key))
		gap := g.around(key)
		g.o.Gaps[gap] = struct{}{}
		check(t, d.Gaps.Put(gap, struct{}{}))
		return
	}
	key := gaps[g.IntN(len(gaps))]
	if g.chance(50) {
		g.o.Routes[key] = Route{NextHop: g.somewhere(key.VRF), MAC: MAC{2, 3, 0, 0, 1, byte(g.Uint32())}, Identity: g.identity()}
		g.installHop(t, d, g.o.Routes[key].NextHop)
		check(t, d.Routes.Put(key, g.o.Routes[key]))
	}
	delete(g.o.Gaps, key)
	check(t, d.Gaps.Delete(key))
}
