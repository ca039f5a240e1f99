// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
)

// mustHaveRoutes compares the routes and gaps of a family, and what is told of the
// room for them, of 2.
func mustHaveRoutes(t *testing.T, d *Datapath, six bool, routes, gaps []RouteKey) {
	t.Helper()
	haveRoutes, err := d.Routes.All()
	check(t, err)
	haveGaps, err := d.Gaps.All()
	check(t, err)
	maps.DeleteFunc(haveRoutes, func(k RouteKey, _ Route) bool { return k.Prefix.Addr().Is6() != six })
	maps.DeleteFunc(haveGaps, func(k RouteKey, _ struct{}) bool { return k.Prefix.Addr().Is6() != six })
	if r, g := sortedRoutes(haveRoutes), sortedRoutes(haveGaps); !slices.Equal(r, routes) || !slices.Equal(g, gaps) {
		t.Fatalf("routes %v, gaps %v, want %v and %v", r, g, routes, gaps)
	}
	usage, err := d.Capacity()
	check(t, err)
	table := map[bool]string{false: "routes4", true: "routes6"}[six]
	for _, u := range usage {
		short := len(slices.DeleteFunc(slices.Clone(routes), func(k RouteKey) bool { return k.Prefix.IsSingleIP() }))
		if u.Table == table && (int(u.Used) != short || u.Size != 2) {
			t.Fatalf("%d of %d routes are in use, want %d of 2", u.Used, u.Size, short)
		}
	}
}

// A trie takes as many routes as were asked for, whatever gaps there are; full of
// them it takes changes and gaps still; and a process that opens it again counts the same.
func TestRoutesAndGapsShareATrie(t *testing.T) {
	sizes := smallSizes
	sizes.Routes4, sizes.Routes6 = 2, 2
	options := Options{PinDir: filepath.Join(mountBPFFS(t), "weft"), Sizes: sizes}
	d, err := Load(options)
	check(t, err)
	defer func() { d.Close() }()
	for _, all := range [][]string{
		{"10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16", "10.2.0.1/32"},
		{"fd00::/8", "fd01::/16", "fd02::/16", "fd02::1/128"},
	} {
		var keys []RouteKey
		for _, p := range all {
			keys = append(keys, RouteKey{1, netip.MustParsePrefix(p)})
		}
		a, b, c, whole := keys[0], keys[1], keys[2], keys[3]
		has := func(routes, gaps []RouteKey) {
			t.Helper()
			mustHaveRoutes(t, d, a.Prefix.Addr().Is6(), routes, gaps)
		}
		refuses := func() {
			t.Helper()
			if err := d.Routes.Put(c, Route{}); !errors.Is(err, ErrFull) {
				t.Fatalf("a third route is refused with %v", err)
			}
		}
		check(t, d.Routes.Put(a, Route{NextHop: 1}))
		check(t, d.Gaps.Put(b, struct{}{}))
		check(t, d.Gaps.Delete(a)) // it is none
		check(t, d.Routes.Delete(b))
		has([]RouteKey{a}, []RouteKey{b})
		check(t, d.Routes.Put(b, Route{NextHop: 2})) // in place of the gap
		check(t, d.Gaps.Delete(b))
		has([]RouteKey{a, b}, nil)
		refuses()
		check(t, d.Gaps.Put(c, struct{}{}))
		check(t, d.Gaps.Put(whole, struct{}{}))
		check(t, d.Routes.Put(a, Route{NextHop: 3})) // a change
		if err := d.Gaps.Put(a, struct{}{}); err == nil {
			t.Fatal("a route was made a gap")
		}
		refuses()
		has([]RouteKey{a, b}, []RouteKey{c, whole})
		prefix, _, found, err := d.LongestRoute(1, whole.Prefix.Addr())
		if check(t, err); found || prefix != whole.Prefix {
			t.Errorf("in gap %v a route is found: %v in %v", whole, found, prefix)
		}
		d.Close()
		d, err = Load(options)
		check(t, err)
		has([]RouteKey{a, b}, []RouteKey{c, whole})
		refuses()
		check(t, d.Routes.Delete(b))
		check(t, d.Routes.Put(c, Route{}))
		check(t, d.Routes.Put(whole, Route{NextHop: 7})) // beside the gap, and before it
		prefix, route, found, err := d.LongestRoute(1, whole.Prefix.Addr())
		if check(t, err); !found || route.NextHop != 7 || prefix != whole.Prefix {
			t.Errorf("a host route in a gap: %v, %v in %v", found, route, prefix)
		}
		check(t, d.Gaps.Delete(c))
		check(t, d.Gaps.Delete(whole))
		has([]RouteKey{a, c, whole}, nil)
	}
}
