// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
)

// Routes is one table to the caller; below, routes of full length are in a
// hash and the others in a trie for each family, with the gaps.
type Routes struct {
	hosts, four, six *Table[RouteKey, Route]
}

func (r *Routes) of(key RouteKey) *Table[RouteKey, Route] {
	switch {
	case key.Prefix.IsSingleIP():
		return r.hosts
	case key.Prefix.Addr().Is4():
		return r.four
	}
	return r.six
}

// Put writes a route, new or not, also where there is a gap.
func (r *Routes) Put(key RouteKey, route Route) error {
	route.bits = uint8(key.Prefix.Bits())
	return r.of(key).Put(key, route)
}

// Delete removes a route; absence is success.
func (r *Routes) Delete(key RouteKey) error { return r.of(key).Delete(key) }

// All returns the routes of all VRFs and both families.
func (r *Routes) All() (map[RouteKey]Route, error) {
	all, err := r.four.All()
	if err != nil {
		return nil, err
	}
	for _, t := range []*Table[RouteKey, Route]{r.six, r.hosts} {
		if err := t.scan(func(k RouteKey, v Route) { all[k] = v }); err != nil {
			return nil, fmt.Errorf("list table %s: %w", t.name, err)
		}
	}
	return all, nil
}

// Gaps are prefixes in which routes found no room. What goes there and has no
// longer route ends, and follows no shorter one.
type Gaps struct {
	four, six *Table[RouteKey, Route]
}

func (g *Gaps) of(key RouteKey) *Table[RouteKey, Route] {
	if key.Prefix.Addr().Is4() {
		return g.four
	}
	return g.six
}

// Put makes a prefix a gap. It must not be that of a route that is shorter than an address.
func (g *Gaps) Put(key RouteKey, _ struct{}) error {
	return g.of(key).Put(key, Route{gap: true, bits: uint8(key.Prefix.Bits())})
}

// Delete removes a gap; absence is success, and so is that a route came in its place.
func (g *Gaps) Delete(key RouteKey) error { return g.of(key).Delete(key) }

// All returns the gaps of all VRFs and both families.
func (g *Gaps) All() (map[RouteKey]struct{}, error) {
	all := map[RouteKey]struct{}{}
	for _, t := range []*Table[RouteKey, Route]{g.four, g.six} {
		if err := t.scan(func(k RouteKey, _ Route) { all[k] = struct{}{} }); err != nil {
			return nil, fmt.Errorf("list gaps in table %s: %w", t.name, err)
		}
	}
	return all, nil
}

// routeTrie is a trie of routes and gaps. The kernel lets it have as many gaps
// as there can be beside as many routes as were asked for, so the routes are
// counted here.
type routeTrie struct {
	entries *ebpf.Map
	mutex   sync.Mutex
	size    uint32
	routes  uint32
}

// trieSize is the room for gaps beside so many routes: two under each of them,
// and two of each network that no route is around.
func trieSize(routes, networks uint32) uint32 { return 3*routes + 2*(networks+1) }

// makeRoutes gives the tables of routes their types.
func (d *Datapath) makeRoutes() error {
	renew := func(k RouteKey) error { return d.generations.renewVRF(k.VRF) }
	d.Routes = &Routes{hosts: newTable("host_routes", d.maps["host_routes"], hostRouteCodec).then(renew)}
	d.Gaps = &Gaps{}
	var err error
	if d.Routes.four, d.Gaps.four, err = tablesOf(d.tries["routes4"], "routes4", route4Codec); err != nil {
		return err
	}
	if d.Routes.six, d.Gaps.six, err = tablesOf(d.tries["routes6"], "routes6", route6Codec); err != nil {
		return err
	}
	for _, t := range []*Table[RouteKey, Route]{d.Routes.four, d.Routes.six, d.Gaps.four, d.Gaps.six} {
		t.then(renew)
	}
	return nil
}

// tablesOf returns the two tables that a trie is.
func tablesOf[RawK any](t *routeTrie, name string, c codec[RouteKey, Route, RawK, layoutRouteValue]) (routes, gaps *Table[RouteKey, Route], err error) {
	at := func(key RouteKey) (is entry, err error) { return exactEntry(t.entries, c, key) }
	routes, gaps = newTable(name, t.entries, c), newTable(name, t.entries, c)
	putRoute, deleteRoute, putGap, deleteGap := routes.put, routes.del, gaps.put, gaps.del
	routes.put = func(k RouteKey, v Route) error {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		was, err := at(k)
		if err != nil {
			return err
		}
		if was != entryRoute && t.routes >= t.size {
			return full(t.size)
		}
		if err := putRoute(k, v); err != nil {
			return err
		}
		if was != entryRoute {
			t.routes++
		}
		return nil
	}
	routes.del = func(k RouteKey) error {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		if was, err := at(k); err != nil || was != entryRoute {
			return err
		}
		if err := deleteRoute(k); err != nil {
			return err
		}
		t.routes--
		return nil
	}
	gaps.put = func(k RouteKey, v Route) error {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		switch was, err := at(k); {
		case err != nil:
			return err
		case was == entryRoute:
			return errors.New("there is a route")
		}
		return putGap(k, v)
	}
	gaps.del = func(k RouteKey) error {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		if was, err := at(k); err != nil || was != entryGap {
			return err
		}
		return deleteGap(k)
	}
	routes.scan, gaps.scan = only(routes.scan, false), only(gaps.scan, true)
	return routes, gaps, routes.scan(func(RouteKey, Route) { t.routes++ })
}

// only yields the gaps of a trie, or the others.
func only(scan func(func(RouteKey, Route)) error, gaps bool) func(func(RouteKey, Route)) error {
	return func(yield func(RouteKey, Route)) error {
		return scan(func(k RouteKey, v Route) {
			if v.gap == gaps {
				v.gap = false
				yield(k, v)
			}
		})
	}
}

// entry is what is in a trie under a prefix.
type entry int

const (
	entryNone entry = iota
	entryRoute
	entryGap
)

func exactEntry[RawK any](m *ebpf.Map, c codec[RouteKey, Route, RawK, layoutRouteValue], key RouteKey) (entry, error) {
	raw, found, err := lookUp(m, c, key)
	switch {
	case err != nil || !found || int(raw.Length) != key.Prefix.Bits():
		return entryNone, err
	case raw.Flags&layoutRouteFlagROUTE_GAP != 0:
		return entryGap, nil
	}
	return entryRoute, nil
}
