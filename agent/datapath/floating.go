// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
)

// Floating are the tables of floating addresses whose workloads are plugged here.
type Floating struct {
	Mappings map[uint64]vrouter.Mapping
	Floats   map[vrouter.FloatKey]vrouter.Float // what workloads send through
}

// floatingOf computes them. A network that imports such a route has it, too, and
// the mapping is one: that of the floating address's own network.
func floatingOf(rows desired.Rows, attached map[string]Attachment) Floating {
	f := Floating{map[uint64]vrouter.Mapping{}, map[vrouter.FloatKey]vrouter.Float{}}
	through := map[vrouter.FloatKey][]uint64{}
	for key, r := range rows.Routes {
		a, here := attached[r.Mapped.Port]
		if _, bound := rows.Ports[r.Mapped.Port]; !here || !bound {
			continue
		}
		number := floatingNumber(key.Prefix.Addr(), r.Mapped)
		if _, known := f.Mappings[number]; known {
			continue
		}
		f.Mappings[number] = vrouter.Mapping{
			Ifindex: a.Ifindex, VRF: r.Mapped.VRF, External: netip.AddrPortFrom(key.Prefix.Addr(), 0), Internal: netip.AddrPortFrom(r.Mapped.Internal, 0),
		}
		from := vrouter.FloatKey{Ifindex: a.Ifindex, Internal: r.Mapped.Internal}
		through[from] = append(through[from], number)
	}
	if len(through) == 0 {
		return Floating{}
	}
	for from, numbers := range through {
		f.Floats[from] = f.orderOf(numbers)
	}
	return f
}

// orderOf is what is sent through of several: the first is taken of equals.
func (f *Floating) orderOf(numbers []uint64) (float vrouter.Float) {
	slices.SortFunc(numbers, func(a, b uint64) int {
		m, n := f.Mappings[a], f.Mappings[b]
		return cmp.Or(cmp.Compare(m.VRF, n.VRF), m.External.Addr().Compare(n.External.Addr()), cmp.Compare(a, b))
	})
	used := 0
	for _, number := range numbers {
		switch m := f.Mappings[number]; {
		case m.External == m.Internal:
			float.Alias = cmp.Or(float.Alias, number)
		case used < vrouter.MaxFloats: // control refuses more
			float.Mappings[used] = number
			used++
		}
	}
	return float
}

// aliasesOf are the floating addresses that workloads have themselves, by interface.
func (f *Floating) aliasesOf() map[int][]netip.Addr {
	all := map[int][]netip.Addr{}
	for from, float := range f.Floats {
		if float.Alias != 0 {
			all[from.Ifindex] = append(all[from.Ifindex], from.Internal)
		}
	}
	return all
}

// addFloating adds them. A workload may send from the floating addresses that it has.
func (t *Tables) addFloating(f Floating) {
	t.Floating = f
	for ifindex, addresses := range f.aliasesOf() {
		port, there := t.Ports[ifindex]
		if !there {
			continue
		}
		port.Aliases = true
		t.Ports[ifindex] = port
		all := slices.Concat(t.PortAddresses[ifindex], addresses)
		slices.SortFunc(all, netip.Addr.Compare)
		t.PortAddresses[ifindex] = slices.Compact(all)
	}
}

// floatingNumber is the same on every host and after a restart, for entries of
// connections have it, and another one for whoever gets the address next.
func floatingNumber(address netip.Addr, m desired.Mapped) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "floating/%d/%v/%s/%v", m.VRF, address, m.Port, m.Internal))
	return cmp.Or(binary.BigEndian.Uint64(sum[:]), 1)
}

// floating brings floating addresses into the kernel: routes wait for mappings and
// these go last.
type floating struct {
	floats  *reconcile.Sync[vrouter.FloatKey, vrouter.Float]
	refs    *floats
	mapping map[uint64]vrouter.Mapping // that is wanted
	through map[vrouter.FloatKey]vrouter.Float
}

func (p *Programmer) addFloats(k Kernel) {
	f := &p.service.floating
	f.refs = &floats{plain[vrouter.FloatKey, vrouter.Float]{k.Floats}, newUses[vrouter.FloatKey, int](), newUses[vrouter.FloatKey, uint64]()}
	f.floats = reconcile.New(f.refs, reconcile.Options[vrouter.FloatKey, vrouter.Float]{
		Name: "floating addresses of", Compare: compareFloats, Equal: same[vrouter.Float],
		Ready: func(_ vrouter.FloatKey, v vrouter.Float) error {
			for _, number := range numbersOf(v) {
				if err := p.service.mappingReady(number); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// mappingReady says that a mapping is not in the kernel yet, if so.
func (s *service) mappingReady(number uint64) error {
	st, wanted := s.mappings.Status(number)
	return when(!wanted || st.State != reconcile.Done, "mapping %d is not programmed yet", number)
}

// want sets what the tables should have; mappings of load-balancers are others.
func (f *floating) want(now Floating, mappings *reconcile.Sync[uint64, vrouter.Mapping]) {
	for number := range f.mapping {
		if _, stays := now.Mappings[number]; !stays {
			mappings.Remove(number)
		}
	}
	for number, m := range now.Mappings {
		mappings.Put(number, m)
	}
	f.mapping, f.through = now.Mappings, now.Floats
	f.floats.Want(now.Floats)
}

// floatingProblems notes, at the routes of floating addresses, what is not in the kernel of them and why.
func (s *service) floatingProblems(note func(key, why string)) {
	noteAt := func(number uint64, why string) {
		if m, there := s.floating.mapping[number]; there {
			external := m.External.Addr()
			note(desired.RouteRow(desired.RouteKey{VRF: m.VRF, Prefix: netip.PrefixFrom(external, external.BitLen())}), why)
		}
	}
	s.mappings.EachWaiting(func(number uint64, st reconcile.Status) { noteAt(number, explain(st, true)) })
	s.floating.floats.EachWaiting(func(key vrouter.FloatKey, st reconcile.Status) {
		for _, number := range numbersOf(s.floating.through[key]) {
			noteAt(number, explain(st, true))
		}
	})
}

func compareFloats(a, b vrouter.FloatKey) int {
	return cmp.Or(cmp.Compare(a.Ifindex, b.Ifindex), a.Internal.Compare(b.Internal))
}

func numbersOf(f vrouter.Float) (all []uint64) {
	for _, number := range append(f.Mappings[:], f.Alias) {
		if number != 0 {
			all = append(all, number)
		}
	}
	return all
}

// floats knows which interfaces and mappings its rows may have.
type floats struct {
	plain[vrouter.FloatKey, vrouter.Float]
	at     uses[vrouter.FloatKey, int]
	mapped uses[vrouter.FloatKey, uint64]
}

func (f *floats) Owned(context.Context) (map[vrouter.FloatKey]vrouter.Float, error) {
	all, err := f.table.All()
	if err != nil {
		return nil, err
	}
	f.at.settleAll()
	f.mapped.settleAll()
	for key, row := range all {
		f.note(key, row)
	}
	return all, nil
}

func (f *floats) note(key vrouter.FloatKey, row vrouter.Float) {
	f.at.use(key, key.Ifindex)
	for _, number := range numbersOf(row) {
		f.mapped.use(key, number)
	}
}

func (f *floats) Update(_ context.Context, key vrouter.FloatKey, row vrouter.Float) error {
	f.note(key, row)
	if err := f.table.Put(key, row); err != nil {
		return err
	}
	f.mapped.settle(key, numbersOf(row)...)
	return nil
}

func (f *floats) Delete(_ context.Context, key vrouter.FloatKey) error {
	if err := f.table.Delete(key); err != nil {
		return err
	}
	f.at.settle(key)
	f.mapped.settle(key)
	return nil
}
