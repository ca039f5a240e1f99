// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/vrouter"
)

// plain is a table whose rows need no translation.
type plain[K comparable, V any] struct{ table Table[K, V] }

func (p plain[K, V]) Update(_ context.Context, key K, value V) error { return p.table.Put(key, value) }
func (p plain[K, V]) Delete(_ context.Context, key K) error          { return p.table.Delete(key) }
func (p plain[K, V]) Owned(context.Context) (map[K]V, error)         { return p.table.All() }

// ports forgets the counts of an interface with its port, so that the next
// port on an interface of that number starts from zero.
type ports struct {
	plain[int, vrouter.Port]
	forget func(ifindex int) error
}

func (p ports) Delete(ctx context.Context, ifindex int) error {
	return errors.Join(p.plain.Delete(ctx, ifindex), p.forget(ifindex))
}

// addressSets treats all addresses under one number (an interface, a VNI) as
// one row: the row is done only when those that are not wanted are gone as
// well. What another row waits for, is then all of them or none too many.
type addressSets[N int | uint32, K comparable] struct {
	table Table[K, struct{}]
	key   func(N, netip.Addr) K
	keyOf func(K) (N, netip.Addr)
	there map[N]map[netip.Addr]bool // what may be in the kernel; true: is
}

func (a *addressSets[N, K]) Owned(context.Context) (map[N][]netip.Addr, error) {
	all, err := a.table.All()
	if err != nil {
		return nil, err
	}
	a.there = map[N]map[netip.Addr]bool{}
	rows := map[N][]netip.Addr{}
	for k := range all {
		n, address := a.keyOf(k)
		a.note(n, address, true)
		rows[n] = append(rows[n], address)
	}
	for _, list := range rows {
		slices.SortFunc(list, netip.Addr.Compare)
	}
	return rows, nil
}

func (a *addressSets[N, K]) note(n N, address netip.Addr, sure bool) {
	if a.there[n] == nil {
		a.there[n] = map[netip.Addr]bool{}
	}
	a.there[n][address] = sure
}

func (a *addressSets[N, K]) Update(_ context.Context, n N, want []netip.Addr) error {
	var failed error
	for _, x := range want {
		if a.there[n][x] {
			continue
		}
		a.note(n, x, false)
		if err := a.table.Put(a.key(n, x), struct{}{}); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		a.note(n, x, true)
	}
	for x := range a.there[n] {
		if _, wanted := slices.BinarySearchFunc(want, x, netip.Addr.Compare); !wanted {
			failed = errors.Join(failed, a.drop(n, x))
		}
	}
	return failed
}

func (a *addressSets[N, K]) drop(n N, address netip.Addr) error {
	a.note(n, address, false)
	err := a.table.Delete(a.key(n, address))
	if err == nil {
		delete(a.there[n], address)
	}
	return err
}

func (a *addressSets[N, K]) Delete(ctx context.Context, n N) error {
	err := a.Update(ctx, n, nil)
	if err == nil {
		delete(a.there, n)
	}
	return err
}

func portAddresses(table Table[vrouter.PortAddress, struct{}]) *addressSets[int, vrouter.PortAddress] {
	return &addressSets[int, vrouter.PortAddress]{
		table: table,
		key: func(ifindex int, a netip.Addr) vrouter.PortAddress {
			return vrouter.PortAddress{Ifindex: ifindex, Address: a}
		},
		keyOf: func(k vrouter.PortAddress) (int, netip.Addr) { return k.Ifindex, k.Address },
		there: map[int]map[netip.Addr]bool{},
	}
}

func tunnelSources(table Table[vrouter.TunnelSource, struct{}]) *addressSets[uint32, vrouter.TunnelSource] {
	return &addressSets[uint32, vrouter.TunnelSource]{
		table: table,
		key:   func(vni uint32, a netip.Addr) vrouter.TunnelSource { return vrouter.TunnelSource{VNI: vni, Address: a} },
		keyOf: func(k vrouter.TunnelSource) (uint32, netip.Addr) { return k.VNI, k.Address },
		there: map[uint32]map[netip.Addr]bool{},
	}
}

// routes translates next hops to ids and knows which next hops the kernel's
// routes may refer to.
type routes struct {
	table Table[vrouter.RouteKey, vrouter.Route]
	hopUses[vrouter.RouteKey]
	placed func(vrouter.RouteKey) // is told of each route that is put
}

// Owned must run after nextHops.Owned.
func (r *routes) Owned(context.Context) (map[vrouter.RouteKey]Route, error) {
	all, err := r.table.All()
	if err != nil {
		return nil, err
	}
	r.settleAll()
	rows := make(map[vrouter.RouteKey]Route, len(all))
	for k, v := range all {
		hop := r.hop(v.NextHop)
		r.use(k, hop)
		rows[k] = Route{hop, v.MAC, v.Routed, v.MTU, v.Fabric, v.Proxied, v.Identity}
	}
	return rows, nil
}

// unknownHop is the kind of a next hop that is read from a route and is not in
// the table; it equals nothing that is wanted.
const unknownHop = vrouter.NextHopKind(1 << 31)

func (r *routes) Update(_ context.Context, key vrouter.RouteKey, want Route) error {
	id, err := r.id(want.NextHop)
	if err != nil {
		return err
	}
	r.use(key, want.NextHop)
	if err := r.table.Put(key, vrouter.Route{NextHop: id, MAC: want.MAC, Routed: want.Routed, MTU: want.MTU, Fabric: want.Fabric, Proxied: want.Proxied, Identity: want.Who}); err != nil {
		return err
	}
	r.settle(key, want.NextHop)
	r.placed(key)
	return nil
}

func (r *routes) Delete(_ context.Context, key vrouter.RouteKey) error {
	if err := r.table.Delete(key); err != nil {
		return err
	}
	r.settle(key)
	return nil
}
