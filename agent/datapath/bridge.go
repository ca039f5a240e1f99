// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// Flood is the receivers of a network's floods, sorted, and how many were left
// out of them for want of places.
type Flood struct {
	Hops    []vrouter.NextHop
	LeftOut int
}

func sameFlood(a, b Flood) bool { return a.LeftOut == b.LeftOut && slices.Equal(a.Hops, b.Hops) }

// addBridging says where the MACs of networks that bridge are, and who receives
// what is flooded. The routes must be there.
func (t *Tables) addBridging(in places) {
	rows := in.rows
	receivers := map[uint32]map[vrouter.NextHop]bool{}
	for id, v := range rows.VRFs {
		if v.Flooding && v.Bridges() {
			receivers[id] = map[vrouter.NextHop]bool{}
		}
	}
	receives := func(vrf uint32, hop vrouter.NextHop) {
		list := receivers[vrf]
		if kind := hop.Kind; list != nil && (kind == vrouter.NextHopPort || kind == vrouter.NextHopTunnel) {
			list[hop] = true
		}
	}
	note := func(vrf uint32, mac vrouter.MAC, hop vrouter.NextHop) {
		t.placeMAC(vrouter.MACKey{VRF: vrf, MAC: mac}, hop)
		receives(vrf, hop)
	}
	for id, p := range rows.Ports {
		if rows.VRFs[p.VRF].Bridges() {
			hop, _ := nextHop(desired.Route{Port: id}, in)
			note(p.VRF, p.MAC, hop)
		}
	}
	for key, r := range rows.Routes {
		v := rows.VRFs[key.VRF]
		remote := r.Host != "" && r.VNI == v.VNI
		if !v.Bridges() || r.Routed || r.Leaked != "" || r.Port == "" && !remote {
			continue
		}
		hop := t.Routes[vrouter.RouteKey{VRF: key.VRF, Prefix: key.Prefix}].NextHop
		if r.Proxied { // its MAC may be another's in a moment, and is learned where that is wanted
			receives(key.VRF, hop)
			continue
		}
		note(key.VRF, r.MAC, hop)
	}
	for key, m := range rows.MACs {
		v := rows.VRFs[key.VRF]
		if _, here := rows.Ports[m.Port]; here || !v.Bridges() {
			continue
		}
		hop, problem := nextHop(desired.Route{Host: m.Host, VNI: v.VNI}, in)
		if problem != "" {
			t.Problems[desired.MACRow(key)] = problem
		}
		note(key.VRF, key.MAC, hop)
	}
	for vrf, list := range receivers {
		hops := slices.SortedFunc(maps.Keys(list), compareHops) // ports come first
		most := min(len(hops), vrouter.FloodReceivers)
		t.Floods[vrf] = Flood{Hops: hops[:most], LeftOut: len(hops) - most}
	}
}

// placeMAC says where a MAC is. Of several places, where it may be while a port
// moves or several have it, the first by order has it, and none is the last.
func (t *Tables) placeMAC(key vrouter.MACKey, hop vrouter.NextHop) {
	switch hop.Kind {
	case vrouter.NextHopPort, vrouter.NextHopTunnel, vrouter.NextHopNone:
	default:
		return
	}
	there, taken := t.MACs[key]
	none := vrouter.NextHop{Kind: vrouter.NextHopNone}
	if taken && there != none && (hop == none || compareHops(there, hop) <= 0) {
		return
	}
	t.NextHops[hop] = struct{}{}
	t.MACs[key] = hop
}

// hopUses knows which next hops the entries of a table may refer to. Several
// tables share the sums.
type hopUses[K comparable] struct {
	hops *nextHops
	uses[K, vrouter.NextHop]
}

func newHopUses[K comparable](hops *nextHops, refs map[vrouter.NextHop]int) hopUses[K] {
	return hopUses[K]{hops: hops, uses: uses[K, vrouter.NextHop]{of: map[K][]vrouter.NextHop{}, refs: refs}}
}

// hop is the next hop of an id that an entry has.
func (u *hopUses[K]) hop(id uint32) vrouter.NextHop {
	if hop, ok := u.hops.words[id]; ok {
		return hop
	}
	return vrouter.NextHop{Kind: unknownHop}
}

// id is that of a next hop that is in the kernel.
func (u *hopUses[K]) id(hop vrouter.NextHop) (uint32, error) {
	ids := u.hops.ids[hop]
	if len(ids) == 0 {
		return 0, fmt.Errorf("next hop %+v has no id", hop)
	}
	return ids[0], nil
}

// macs translates the next hops of MACs to ids.
type macs struct {
	table Table[vrouter.MACKey, uint32]
	hopUses[vrouter.MACKey]
}

// Owned must run after nextHops.Owned.
func (m *macs) Owned(context.Context) (map[vrouter.MACKey]vrouter.NextHop, error) {
	all, err := m.table.All()
	if err != nil {
		return nil, err
	}
	m.settleAll()
	rows := make(map[vrouter.MACKey]vrouter.NextHop, len(all))
	for k, id := range all {
		rows[k] = m.hop(id)
		m.use(k, rows[k])
	}
	return rows, nil
}

func (m *macs) Update(_ context.Context, key vrouter.MACKey, want vrouter.NextHop) error {
	id, err := m.id(want)
	if err != nil {
		return err
	}
	m.use(key, want)
	if err := m.table.Put(key, id); err != nil {
		return err
	}
	m.settle(key, want)
	return nil
}

func (m *macs) Delete(_ context.Context, key vrouter.MACKey) error {
	if err := m.table.Delete(key); err != nil {
		return err
	}
	m.settle(key)
	return nil
}

// floods gives receivers places in the lists of their networks. A receiver
// keeps its place, so that a list that changes while a frame goes through it
// has nobody twice.
type floods struct {
	lists     Table[uint32, vrouter.Flood]
	receivers Table[vrouter.Receiver, uint32]
	hopUses[vrouter.Receiver]
	places map[uint32]map[int]place // what may be in the kernel, by VRF
}

// place is what is in a place of a list; not sure after a failed change.
type place struct {
	hop  vrouter.NextHop
	sure bool
}

// Owned must run after nextHops.Owned. A list that an earlier run did not
// finish equals none that is wanted.
func (f *floods) Owned(context.Context) (map[uint32]Flood, error) {
	lists, err := f.lists.All()
	if err != nil {
		return nil, err
	}
	all, err := f.receivers.All()
	if err != nil {
		return nil, err
	}
	f.settleAll()
	f.places = map[uint32]map[int]place{}
	rows := map[uint32]Flood{}
	for vrf, l := range lists {
		rows[vrf] = Flood{LeftOut: l.LeftOut}
	}
	for r, id := range all {
		hop := f.hop(id)
		f.use(r, hop)
		f.note(r, place{hop, true})
		row := rows[r.VRF]
		if l, there := lists[r.VRF]; !there || r.Place >= l.Places {
			row.LeftOut = -1
		}
		row.Hops = append(row.Hops, hop)
		rows[r.VRF] = row
	}
	for _, row := range rows {
		slices.SortFunc(row.Hops, compareHops)
	}
	return rows, nil
}

func (f *floods) note(r vrouter.Receiver, p place) {
	if f.places[r.VRF] == nil {
		f.places[r.VRF] = map[int]place{}
	}
	f.places[r.VRF][r.Place] = p
}

func (f *floods) Update(_ context.Context, vrf uint32, want Flood) error {
	wanted := map[vrouter.NextHop]bool{}
	for _, hop := range want.Hops {
		wanted[hop] = true
	}
	failed := f.vacate(vrf, func(hop vrouter.NextHop) bool { return !wanted[hop] })
	at := map[vrouter.NextHop]int{}
	for n, p := range f.places[vrf] {
		at[p.hop] = n
	}
	last, leftOut := -1, want.LeftOut
	for _, hop := range want.Hops {
		n, has := at[hop]
		if !has {
			n = f.free(vrf)
		}
		if err := f.occupy(vrouter.Receiver{VRF: vrf, Place: n}, hop); err != nil {
			failed = errors.Join(failed, err)
			leftOut++
		}
		last = max(last, n)
	}
	return errors.Join(failed, f.lists.Put(vrf, vrouter.Flood{Places: last + 1, LeftOut: leftOut}))
}

// free is the first place that nobody has.
func (f *floods) free(vrf uint32) int {
	for n := 0; ; n++ {
		if _, taken := f.places[vrf][n]; !taken {
			return n
		}
	}
}

func (f *floods) occupy(r vrouter.Receiver, hop vrouter.NextHop) error {
	if f.places[r.VRF][r.Place] == (place{hop, true}) {
		return nil
	}
	id, err := f.id(hop)
	if err != nil {
		return err
	}
	f.use(r, hop)
	f.note(r, place{hop, false})
	if err := f.receivers.Put(r, id); err != nil {
		return err
	}
	f.note(r, place{hop, true})
	f.settle(r, hop)
	return nil
}

// vacate removes the receivers of which something holds.
func (f *floods) vacate(vrf uint32, holds func(vrouter.NextHop) bool) (failed error) {
	for n, p := range f.places[vrf] {
		if !holds(p.hop) {
			continue
		}
		r := vrouter.Receiver{VRF: vrf, Place: n}
		f.note(r, place{p.hop, false})
		if err := f.receivers.Delete(r); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		f.settle(r)
		delete(f.places[vrf], n)
	}
	return failed
}

func (f *floods) Delete(_ context.Context, vrf uint32) error {
	if err := f.lists.Delete(vrf); err != nil {
		return err
	}
	err := f.vacate(vrf, func(vrouter.NextHop) bool { return true })
	if err == nil {
		delete(f.places, vrf)
	}
	return err
}
