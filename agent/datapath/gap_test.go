// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/vrouter"
)

// withRoutes are tables with these routes, of VRF 7 where a text has no other.
func withRoutes(t *testing.T, texts ...string) datapath.Tables {
	t.Helper()
	hop := vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: 5}
	tables := datapath.Tables{NextHops: map[vrouter.NextHop]struct{}{hop: {}}, Routes: map[vrouter.RouteKey]datapath.Route{}}
	for _, text := range texts {
		vrf, rest := uint32(7), text
		if n, _ := fmt.Sscanf(text, "%d:%s", &vrf, &rest); n != 2 || vrf > 99 {
			vrf, rest = 7, text
		}
		tables.Routes[vrouter.RouteKey{VRF: vrf, Prefix: netip.MustParsePrefix(rest)}] = datapath.Route{NextHop: hop}
	}
	return tables
}

// program writes the tables into a kernel that refuses routes as if it were full.
func program(t *testing.T, m *datapath.MemoryKernel, tables datapath.Tables) *datapath.Programmer {
	t.Helper()
	return programInto(t, m.Kernel(), tables)
}

func programInto(t *testing.T, k datapath.Kernel, tables datapath.Tables) *datapath.Programmer {
	t.Helper()
	p := datapath.NewProgrammer(k)
	if err := p.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.Want(tables)
	p.Sweep()
	for p.Round(context.Background(), time.Unix(0, 0)) {
	}
	return p
}

func gapsIn(m *datapath.MemoryKernel) (all []string) {
	for key := range m.Gaps.Rows {
		all = append(all, fmt.Sprintf("%d:%v", key.VRF, key.Prefix))
	}
	slices.Sort(all)
	return all
}

// Where routes are left out, gaps are around them: as close as one prefix in
// each half of the route around them can be, and never that of a route.
func TestGapsAreAroundWhatIsLeftOut(t *testing.T) {
	for what, c := range map[string]struct {
		room   int // the first by VRF and prefix find it
		routes []string
		want   []string
	}{
		"nothing":                         {9, []string{"0.0.0.0/0", "10.0.0.1/32"}, nil},
		"one":                             {1, []string{"0.0.0.0/0", "10.0.0.1/32"}, []string{"7:10.0.0.1/32"}},
		"neighbours":                      {1, []string{"0.0.0.0/0", "10.0.0.8/32", "10.0.0.9/32", "10.0.0.14/32"}, []string{"7:10.0.0.8/29"}},
		"in both halves":                  {1, []string{"10.0.0.0/24", "10.0.0.3/32", "10.0.0.4/32", "10.0.0.200/32"}, []string{"7:10.0.0.0/29", "7:10.0.0.200/32"}},
		"under no route":                  {1, []string{"10.0.0.1/32", "10.0.0.2/32", "10.0.9.1/32"}, []string{"7:10.0.0.0/20"}},
		"everything":                      {0, []string{"0.0.0.0/0", "10.0.0.1/32", "192.0.2.0/24"}, []string{"7:0.0.0.0/0"}},
		"a route in a gap":                {2, []string{"10.0.0.0/8", "10.0.0.2/32", "10.0.0.3/32", "10.0.0.9/32"}, []string{"7:10.0.0.0/28"}},
		"under two routes":                {2, []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.0.1/32", "10.2.0.1/32"}, []string{"7:10.1.0.1/32", "7:10.2.0.1/32"}},
		"a route and what is within":      {1, []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.1/32"}, []string{"7:10.0.0.0/8"}},
		"two VRFs":                        {2, []string{"6:0.0.0.0/0", "6:10.0.0.1/32", "8:10.0.0.1/32", "8:10.0.0.2/32"}, []string{"8:10.0.0.0/30"}},
		"two families":                    {2, []string{"10.0.0.0/31", "10.0.0.1/32", "fd00::/64", "fd00::1/128"}, []string{"7:fd00::/64"}},
		"the last before a whole address": {1, []string{"fd00::/127", "fd00::1/128"}, []string{"7:fd00::1/128"}},
	} {
		m := datapath.NewMemoryKernel(nil)
		m.Routes.Size = c.room
		if c.room == 0 {
			m.NextHops.Size, m.NextHops.Rows[77] = 1, vrouter.NextHop{Kind: vrouter.NextHopDiscard} // a next hop that finds no room is the same
		}
		program(t, m, withRoutes(t, c.routes...))
		if got := gapsIn(m); !slices.Equal(got, c.want) {
			t.Errorf("%s: gaps %v, want %v", what, got, c.want)
		}
	}
}

// trie has routes and gaps as the kernel's tries have: a route comes in place of a
// gap, and a gap not in place of a route. Now and then it takes no route and no change of one.
type trie struct {
	*datapath.Memory[vrouter.RouteKey, vrouter.Route]
	gaps   *datapath.Memory[vrouter.RouteKey, struct{}]
	faults *rand.Rand
	put    *func() // called before each route, if there is one
}

var errFault = errors.New("injected")

func (r trie) Put(key vrouter.RouteKey, route vrouter.Route) error {
	if *r.put != nil {
		(*r.put)()
	}
	if r.faults != nil && r.faults.IntN(5) == 0 {
		return errFault
	}
	err := r.Memory.Put(key, route)
	if err == nil && !key.Prefix.IsSingleIP() {
		delete(r.gaps.Rows, key)
	}
	return err
}

// gapTable is the gaps of a trie.
type gapTable struct {
	*datapath.Memory[vrouter.RouteKey, struct{}]
	t      *testing.T
	routes trie
}

func (g gapTable) Put(key vrouter.RouteKey, none struct{}) error {
	if _, taken := g.routes.Rows[key]; taken && !key.Prefix.IsSingleIP() {
		g.t.Errorf("%v is to be a gap, and there is a route", key)
		return errFault
	}
	return g.Memory.Put(key, none)
}

// withTries is a kernel whose routes and gaps share tries.
func withTries(t *testing.T, m *datapath.MemoryKernel, faults *rand.Rand, put *func()) datapath.Kernel {
	k, routes := m.Kernel(), trie{m.Routes, m.Gaps, faults, put}
	k.Routes, k.Gaps = routes, gapTable{m.Gaps, t, routes}
	return k
}

// crowded is random routes in few prefixes, so that many are within others.
func crowded(r *rand.Rand, t *testing.T) datapath.Tables {
	t.Helper()
	var texts []string
	for range 1 + r.IntN(40) {
		vrf := 1 + r.IntN(2)
		if r.IntN(2) == 0 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(2)), byte(r.IntN(16))})
			p := netip.PrefixFrom(a, []int{0, 8, 24, 28, 30, 32, 32, 32}[r.IntN(8)]).Masked()
			texts = append(texts, fmt.Sprintf("%d:%v", vrf, p))
			continue
		}
		a := netip.AddrFrom16([16]byte{0xfd, 14: byte(r.IntN(2)), 15: byte(r.IntN(16))})
		p := netip.PrefixFrom(a, []int{0, 64, 124, 127, 128, 128, 128}[r.IntN(7)]).Masked()
		texts = append(texts, fmt.Sprintf("%d:%v", vrf, p))
	}
	tables := withRoutes(t, texts...)
	for key, route := range tables.Routes { // some change
		route.MAC = vrouter.MAC{2, 0, 0, 0, 0, byte(r.IntN(2))}
		tables.Routes[key] = route
	}
	return tables
}

// longest is the longest prefix of a table around an address.
func longest[V any](all map[vrouter.RouteKey]V, vrf uint32, a netip.Addr) (found netip.Prefix, ok bool) {
	for key := range all {
		if key.VRF == vrf && key.Prefix.Contains(a) && (!ok || key.Prefix.Bits() > found.Bits()) {
			found, ok = key.Prefix, true
		}
	}
	return found, ok
}

// checkGaps compares where packets go with where they should, for every address
// of the crowded prefixes.
func checkGaps(t *testing.T, m *datapath.MemoryKernel, want datapath.Tables) {
	t.Helper()
	for key := range m.Gaps.Rows {
		if _, taken := m.Routes.Rows[key]; taken {
			t.Fatalf("%v is a gap and a route", key)
		}
	}
	if len(m.Routes.Rows) == len(want.Routes) && len(m.Gaps.Rows) > 0 {
		t.Fatalf("gaps %v, and no route is left out", gapsIn(m))
	}
	for n := range 2 * 2 * 2 * 16 {
		vrf := uint32(1 + n%2)
		a := netip.AddrFrom4([4]byte{10, 0, byte(n / 2 % 2), byte(n / 4 % 16)})
		if n >= 2*2*16 {
			a = netip.AddrFrom16([16]byte{0xfd, 14: byte(n / 2 % 2), 15: byte(n / 4 % 16)})
		}
		wanted, any := longest(want.Routes, vrf, a)
		route, _ := longest(m.Routes.Rows, vrf, a)
		gap, inGap := longest(m.Gaps.Rows, vrf, a)
		ends := inGap && (!route.IsValid() || gap.Bits() > route.Bits())
		_, there := m.Routes.Rows[vrouter.RouteKey{VRF: vrf, Prefix: wanted}]
		switch {
		case any && !there && !ends:
			t.Fatalf("VRF %d: the route %v to %v is left out, and packets follow %v; gaps %v", vrf, wanted, a, route, gapsIn(m))
		case any && there && !ends && route != wanted:
			t.Fatalf("VRF %d: packets to %v follow %v and not %v", vrf, a, route, wanted)
		case any && there && ends && wanted == netip.PrefixFrom(a, a.BitLen()):
			t.Fatalf("VRF %d: packets to %v end in gap %v, and it has a route", vrf, a, gap)
		}
	}
}

// A route that comes in place of a gap and goes before gaps are found anew leaves
// nothing in that place, and the gap is wanted again.
func TestGapAfterARouteInItsPlace(t *testing.T) {
	m := datapath.NewMemoryKernel(nil)
	var put func()
	k := withTries(t, m, nil, &put)
	left := withRoutes(t, "0.0.0.0/0", "10.0.0.1/32", "10.0.0.2/32")
	m.Routes.Size = 1
	p := programInto(t, k, left)
	want := []string{"7:10.0.0.0/30"}
	if got := gapsIn(m); !slices.Equal(got, want) {
		t.Fatalf("gaps %v, want %v", got, want)
	}
	m.Routes.Size = 2
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	put = cancel // the round ends when the first route is there
	p.Want(withRoutes(t, "0.0.0.0/0", "10.0.0.0/30", "10.0.0.1/32", "10.0.0.2/32"))
	p.Round(ctx, time.Unix(0, 0))
	if got := gapsIn(m); len(got) > 0 {
		t.Fatalf("gaps %v, and a route came in their place", got)
	}
	put, m.Routes.Size = nil, 1
	p.Want(left)
	for n := range 5 {
		for p.Round(context.Background(), time.Unix(int64(n)*3600, 0)) {
		}
	}
	if got := gapsIn(m); !slices.Equal(got, want) {
		t.Errorf("when the route has gone, gaps are %v, want %v", got, want)
	}
}

// Whatever is left out, nothing follows a shorter route instead, and what has a
// route of its own goes on; also when there is room again, when other routes are
// wanted, when routes and changes of them fail, and when another agent goes on.
func TestNothingFollowsAShorterRoute(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		m, now := datapath.NewMemoryKernel(nil), time.Unix(0, 0)
		m.Routes.Size = 1 + r.IntN(20)
		var put func()
		want, k := crowded(r, t), withTries(t, m, r, &put)
		p := programInto(t, k, want)
		checkGaps(t, m, want)
		for range 4 {
			switch r.IntN(4) {
			case 3: // other routes are wanted before those of now are all there
				p.Want(crowded(r, t))
				ctx, cancel := context.WithCancel(context.Background())
				left := r.IntN(8)
				put = func() {
					if left--; left < 0 {
						cancel()
					}
				}
				p.Round(ctx, now)
				cancel()
				put = nil
				p.Want(want)
			case 0:
				m.Routes.Size += r.IntN(10)
			case 1:
				want = crowded(r, t)
				p.Want(want)
			case 2:
				removed := map[vrouter.RouteKey]bool{}
				m.Gaps.Check = func(key vrouter.RouteKey, _ struct{}, deleted bool) { removed[key] = removed[key] || deleted }
				p = programInto(t, k, want)
				m.Gaps.Check = nil
				for key := range removed { // a route may have found room meanwhile
					if _, still := m.Gaps.Rows[key]; removed[key] && still {
						t.Errorf("the next agent removes gap %v and makes it again", key)
					}
				}
			}
			now = now.Add(time.Hour) // what failed is tried again
			for p.Round(context.Background(), now) {
			}
			checkGaps(t, m, want)
		}
	}
}
