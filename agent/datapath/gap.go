// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"maps"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
)

// gaps are the prefixes that keep what is for a route that found no room from
// following a shorter one.
type gaps struct {
	*reconcile.Sync[vrouter.RouteKey, struct{}]
	now    map[vrouter.RouteKey]struct{}
	stale  bool // routes have changed since they were found
	sweeps bool // those of an earlier run go when it is known which are wanted
}

func newGaps(table Table[vrouter.RouteKey, struct{}]) gaps {
	return gaps{Sync: reconcile.New(plain[vrouter.RouteKey, struct{}]{table}, reconcile.Options[vrouter.RouteKey, struct{}]{
		Name: "gap", Compare: CompareRoutes, Equal: same[struct{}],
	})}
}

// count notes that so many routes have changed.
func (g *gaps) count(changed int) int {
	g.stale = g.stale || changed > 0
	return changed
}

// taken notes that there is a route now in whose place a gap may have been.
func (g *gaps) taken(key vrouter.RouteKey) {
	if key.Prefix.IsSingleIP() {
		return // has no gap
	}
	delete(g.now, key) // so that it counts as another when it is wanted again
	g.Remove(key)
	g.Lost(key)
}

// problem says why a gap of a VRF is not in the kernel; empty if all are.
func (g *gaps) problem(vrf uint32) (why string) {
	g.EachWaiting(func(key vrouter.RouteKey, st reconcile.Status) {
		if text := explain(st, true); key.VRF == vrf && (why == "" || text < why) {
			why = text
		}
	})
	return why
}

// followGaps wants the gaps of the routes that are left out, and tells whether
// they changed. Call it when no more can be done about routes at once.
func (p *Programmer) followGaps() bool {
	g := &p.gaps
	if !g.stale {
		return false
	}
	g.stale = false
	want := map[vrouter.RouteKey]struct{}{}
	if !p.routes.Settled() {
		want = p.findGaps()
	}
	changed := g.sweeps || !maps.Equal(want, g.now)
	g.now = want
	g.Want(want)
	if g.sweeps {
		g.sweeps = false
		g.Sweep()
	}
	return changed
}

// table is a VRF and a family of addresses.
type table struct {
	vrf uint32
	six bool
}

func tableOf(key vrouter.RouteKey) table { return table{key.VRF, key.Prefix.Addr().Is6()} }

// half is one of the two parts of a route that is in the kernel; of no route, all.
type half struct {
	table
	half netip.Prefix
}

// findGaps returns the gaps of the routes that are left out: the longest prefix
// around all of them in each half of a route that is around them. A route whose
// change failed is there as it was.
func (p *Programmer) findGaps() map[vrouter.RouteKey]struct{} {
	lengths := map[table][]int{} // of routes that are not of full length, the longest first
	p.routes.EachHad(func(key vrouter.RouteKey, _ Route) {
		t := tableOf(key)
		if at, known := slices.BinarySearchFunc(lengths[t], key.Prefix.Bits(), func(a, b int) int { return cmp.Compare(b, a) }); !known && !key.Prefix.IsSingleIP() {
			lengths[t] = slices.Insert(lengths[t], at, key.Prefix.Bits())
		}
	})
	around := map[half]netip.Prefix{}
	p.routes.EachWaiting(func(key vrouter.RouteKey, _ reconcile.Status) {
		if p.routes.Had(key) {
			return
		}
		in := p.halfAround(key, lengths[tableOf(key)])
		if other, some := around[in]; some {
			around[in] = common(other, key.Prefix)
		} else {
			around[in] = key.Prefix
		}
	})
	found := map[vrouter.RouteKey]struct{}{}
	for in, prefix := range around {
		found[vrouter.RouteKey{VRF: in.vrf, Prefix: prefix}] = struct{}{}
	}
	return found
}

// halfAround is the half, with the route, of the longest route that is in the
// kernel and shorter than this one.
func (p *Programmer) halfAround(key vrouter.RouteKey, lengths []int) half {
	for _, length := range lengths {
		if length >= key.Prefix.Bits() {
			continue
		}
		if p.routes.Had(vrouter.RouteKey{VRF: key.VRF, Prefix: netip.PrefixFrom(key.Prefix.Addr(), length).Masked()}) {
			return half{tableOf(key), netip.PrefixFrom(key.Prefix.Addr(), length+1).Masked()}
		}
	}
	return half{table: tableOf(key)}
}

// common is the longest prefix around two of a family.
func common(a, b netip.Prefix) netip.Prefix {
	x, y := a.Addr().AsSlice(), b.Addr().AsSlice()
	same := 0
	for same < len(x) && x[same] == y[same] {
		same++
	}
	length := 8 * same
	if same < len(x) {
		length += bits.LeadingZeros8(x[same] ^ y[same])
	}
	return netip.PrefixFrom(a.Addr(), min(length, a.Bits(), b.Bits())).Masked()
}
