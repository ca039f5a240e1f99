// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
)

// service brings virtual addresses into the kernel: who serves first, then who is
// chosen, then the listeners, and away in the other order.
type service struct {
	mappings  *reconcile.Sync[uint64, vrouter.Mapping]
	members   *reconcile.Sync[vrouter.PoolMemberKey, PoolMember]
	choices   *reconcile.Sync[string, *Choice]
	listeners *reconcile.Sync[vrouter.ListenerKey, Listener]
	floating  floating

	maps     func(ifindex int) bool // whether a mapping may lead to an interface
	rooms    vrouter.BalanceSizes
	balanced Balanced                   // that is wanted
	chosen   map[string]int             // how many load-balancers have each choice
	seers    map[uint32]map[uint32]bool // VRFs that have routes to virtual addresses, by the VRF of these
}

func (p *Programmer) addService(k Kernel, hops *nextHops, refs map[vrouter.NextHop]int) {
	s := &p.service
	s.chosen, s.rooms = map[string]int{}, k.Rooms
	members := &poolMembers{
		table: k.PoolMembers, hopUses: newHopUses[vrouter.PoolMemberKey](hops, refs), mapped: newUses[vrouter.PoolMemberKey, uint64](),
		renew: func(vrf uint32) error { return s.renew(k.RenewVRF, vrf) },
	}
	mappings := &mappings{plain[uint64, vrouter.Mapping]{k.Mappings}, newUses[uint64, int]()}
	s.maps = func(ifindex int) bool { return mappings.refs[ifindex] > 0 || s.floating.refs.at.refs[ifindex] > 0 }
	s.mappings = reconcile.New(mappings, reconcile.Options[uint64, vrouter.Mapping]{
		Name: "mapping", Compare: cmp.Compare[uint64], Equal: same[vrouter.Mapping],
		Free: func(number uint64) error {
			led := p.hops.MayHave(vrouter.NextHop{Kind: vrouter.NextHopMapped, Mapping: number})
			return when(led || members.mapped.refs[number]+s.floating.refs.mapped.refs[number] > 0, "mapping %d still has a member, a route or somebody who sends through it", number)
		},
	})
	s.members = reconcile.New(members, reconcile.Options[vrouter.PoolMemberKey, PoolMember]{
		Name: "member", Compare: comparePoolMembers, Equal: same[PoolMember],
		Ready: func(_ vrouter.PoolMemberKey, m PoolMember) error {
			if err := p.hopReady(m.NextHop); err != nil || m.Mapping == 0 {
				return err
			}
			return s.mappingReady(m.Mapping)
		},
	})
	members.there = func(key vrouter.PoolMemberKey) (m PoolMember, known, may bool) {
		m, known = s.members.Applied(key)
		return m, known, s.members.MayHave(key)
	}
	choices := &choices{table: k.Choices, numbers: map[string]uint32{}, names: map[uint32]string{}}
	listeners := &listeners{table: k.Listeners, choices: choices, uses: newUses[vrouter.ListenerKey, string]()}
	s.choices = reconcile.New(choices, reconcile.Options[string, *Choice]{
		Name: "choice of members", Compare: strings.Compare, Equal: func(a, b *Choice) bool { return a != nil && b != nil }, // the name says it all
		Free: func(name string) error {
			return when(listeners.refs[name] > 0, "a listener still has its members")
		},
	})
	s.listeners = reconcile.New(listeners, reconcile.Options[vrouter.ListenerKey, Listener]{
		Name: "listener", Compare: compareListeners, Equal: same[Listener],
		Ready: func(_ vrouter.ListenerKey, l Listener) error {
			st, wanted := s.choices.Status(l.Choice)
			return when(l.Choice != "" && (!wanted || st.State != reconcile.Done), "members of a listener are not programmed yet")
		},
	})
}

// renew makes the connections look anew that go to virtual addresses of a VRF.
func (s *service) renew(renew func(uint32) error, vrf uint32) error {
	failed := renew(vrf)
	for other := range s.seers[vrf] {
		failed = errors.Join(failed, renew(other))
	}
	return failed
}

func compareListeners(a, b vrouter.ListenerKey) int {
	return cmp.Or(cmp.Compare(a.VRF, b.VRF), a.Address.Compare(b.Address), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

func comparePoolMembers(a, b vrouter.PoolMemberKey) int {
	return cmp.Or(compareListeners(a.ListenerKey, b.ListenerKey), bytes.Compare(a.MAC[:], b.MAC[:]))
}

// serve sets what the tables should have. What is the same as before costs nothing.
func (s *service) serve(t Tables) {
	s.seers = map[uint32]map[uint32]bool{}
	if len(t.Balanced.Of) > 0 {
		for key, r := range t.Routes {
			if r.NextHop.Kind == vrouter.NextHopBalancer && r.NextHop.VNI != key.VRF && key.VRF != vrouter.UnderlayVRF {
				if s.seers[r.NextHop.VNI] == nil {
					s.seers[r.NextHop.VNI] = map[uint32]bool{}
				}
				s.seers[r.NextHop.VNI][key.VRF] = true
			}
		}
	}
	was, now := s.balanced.Of, t.Balanced.Of
	for key, of := range was { // before what comes: another one may have the address now
		if now[key] != of {
			s.remove(of, now[key])
		}
	}
	for key, of := range now {
		if was[key] != of {
			s.add(of, t.Balanced.told)
		}
	}
	for _, moved := range []map[vrouter.PoolMemberKey]placeMove{s.balanced.between, t.Balanced.between} {
		for key, m := range moved {
			if row, wanted := t.Balanced.member(m.of, key); wanted {
				s.members.Put(key, t.Balanced.told(key, row))
			}
		}
	}
	s.balanced = t.Balanced
	s.floating.want(t.Floating, s.mappings)
}

func (s *service) add(of *BalancerTables, told func(vrouter.PoolMemberKey, PoolMember) PoolMember) {
	for number, m := range of.Mappings {
		s.mappings.Put(number, m)
	}
	for key, m := range of.Members {
		s.members.Put(key, told(key, m))
	}
	for name, c := range of.Choices {
		s.chosen[name]++
		s.choices.Put(name, &c)
	}
	for key, l := range of.Listeners {
		s.listeners.Put(key, l)
	}
}

// remove takes away what a load-balancer has no more.
func (s *service) remove(of, now *BalancerTables) {
	if now == nil {
		now = &BalancerTables{}
	}
	for number := range of.Mappings {
		if _, stays := now.Mappings[number]; !stays {
			s.mappings.Remove(number)
		}
	}
	for key := range of.Members {
		if _, stays := now.Members[key]; !stays {
			s.members.Remove(key)
		}
	}
	for name := range of.Choices {
		if s.chosen[name]--; s.chosen[name] == 0 {
			delete(s.chosen, name)
			s.choices.Remove(name)
		}
	}
	for key := range of.Listeners {
		if _, stays := now.Listeners[key]; !stays {
			s.listeners.Remove(key)
		}
	}
}

// load reads what an earlier run left; next hops must have been read.
func (s *service) load(ctx context.Context) error {
	return errors.Join(s.mappings.Load(ctx), s.members.Load(ctx), s.choices.Load(ctx), s.listeners.Load(ctx), s.floating.floats.Load(ctx))
}

func (s *service) sweep() {
	s.mappings.Sweep()
	s.members.Sweep()
	s.choices.Sweep()
	s.listeners.Sweep()
	s.floating.floats.Sweep()
}

// sendUpdates come before ports, so that nothing is sent from an alias without its mapping.
func (s *service) sendUpdates(ctx context.Context, now time.Time) int {
	return s.mappings.Updates(ctx, now) + s.floating.floats.Updates(ctx, now)
}

func (s *service) updates(ctx context.Context, now time.Time) int {
	return s.members.Updates(ctx, now) + s.choices.Updates(ctx, now) + s.listeners.Updates(ctx, now)
}

func (s *service) deletes(ctx context.Context, now time.Time) int {
	return s.listeners.Deletes(ctx, now) + s.choices.Deletes(ctx, now) + s.members.Deletes(ctx, now) + s.floating.floats.Deletes(ctx, now) + s.mappings.Deletes(ctx, now)
}

func (s *service) settled() bool {
	return s.mappings.Settled() && s.members.Settled() && s.choices.Settled() && s.listeners.Settled() && s.floating.floats.Settled()
}

func (s *service) attempts() []func() (time.Time, bool) {
	return []func() (time.Time, bool){s.mappings.NextAttempt, s.members.NextAttempt, s.choices.NextAttempt, s.listeners.NextAttempt, s.floating.floats.NextAttempt}
}

// problems notes, by row, what of the load-balancers is not in the kernel and why.
func (s *service) problems(note func(key, why string)) {
	for key, of := range s.balanced.Of {
		for id, l := range of.from.Listeners {
			for _, address := range l.Addresses {
				st, ok := s.listeners.Status(vrouter.ListenerKey{VRF: key.VRF, Address: address, Protocol: l.Protocol, Port: l.Port})
				note(desired.ListenerRow(key, id), explain(st, ok))
			}
		}
	}
	places, names := s.balanced.places(), map[desired.BalancerKey]memberNames{}
	s.members.EachWaiting(func(at vrouter.PoolMemberKey, st reconcile.Status) {
		key, _, wanted := places(at)
		if !wanted {
			return
		}
		if _, known := names[key]; !known {
			names[key] = namesOf(key, s.balanced.Of[key].from)
		}
		note(names[key].row(key, at), explain(st, true))
	})
}

// memberNames finds the row of a member by what the kernel has of it.
type memberNames struct {
	pools map[vrouter.ListenerKey]string
	ids   map[string]map[vrouter.MAC]string // by pool
}

func namesOf(key desired.BalancerKey, b *desired.Balancer) memberNames {
	n := memberNames{map[vrouter.ListenerKey]string{}, map[string]map[vrouter.MAC]string{}}
	for _, l := range b.Listeners {
		for _, address := range l.Addresses {
			n.pools[vrouter.ListenerKey{VRF: key.VRF, Address: address, Protocol: l.Protocol, Port: l.Port}] = l.Pool
		}
	}
	for id, m := range b.Members {
		if n.ids[m.Pool] == nil {
			n.ids[m.Pool] = map[vrouter.MAC]string{}
		}
		n.ids[m.Pool][m.MAC] = id
	}
	return n
}

func (n memberNames) row(of desired.BalancerKey, at vrouter.PoolMemberKey) string {
	return desired.MemberRow(of, n.ids[n.pools[at.ListenerKey]][at.MAC])
}

// mappings knows which interfaces they may lead to.
type mappings struct {
	plain[uint64, vrouter.Mapping]
	uses[uint64, int]
}

func (m *mappings) Owned(context.Context) (map[uint64]vrouter.Mapping, error) {
	all, err := m.table.All()
	if err != nil {
		return nil, err
	}
	m.settleAll()
	for number, row := range all {
		m.use(number, row.Ifindex)
	}
	return all, nil
}

func (m *mappings) Update(_ context.Context, number uint64, row vrouter.Mapping) error {
	m.use(number, row.Ifindex)
	if err := m.table.Put(number, row); err != nil {
		return err
	}
	m.settle(number, row.Ifindex)
	return nil
}

func (m *mappings) Delete(_ context.Context, number uint64) error {
	if err := m.table.Delete(number); err != nil {
		return err
	}
	m.settle(number)
	return nil
}

// poolMembers translates the next hops of members to ids. A conversation that is led to
// a member looks anew when that went or is elsewhere.
type poolMembers struct {
	table Table[vrouter.PoolMemberKey, vrouter.PoolMember]
	hopUses[vrouter.PoolMemberKey]
	mapped uses[vrouter.PoolMemberKey, uint64] // mappings that they may have
	renew  func(vrf uint32) error
	there  func(vrouter.PoolMemberKey) (m PoolMember, known, may bool)
}

// Owned must run after nextHops.Owned.
func (p *poolMembers) Owned(context.Context) (map[vrouter.PoolMemberKey]PoolMember, error) {
	all, err := p.table.All()
	if err != nil {
		return nil, err
	}
	p.settleAll()
	p.mapped.settleAll()
	rows := make(map[vrouter.PoolMemberKey]PoolMember, len(all))
	for key, m := range all {
		hop := p.hop(m.NextHop)
		p.use(key, hop)
		p.mapped.use(key, m.Mapping)
		rows[key] = PoolMember{hop, m.MTU, m.Internal, m.Identity, m.Chosen, m.Mapping}
	}
	return rows, nil
}

func (p *poolMembers) Update(_ context.Context, key vrouter.PoolMemberKey, m PoolMember) error {
	id, err := p.id(m.NextHop)
	if err != nil {
		return err
	}
	was, known, may := p.there(key)
	p.use(key, m.NextHop)
	p.mapped.use(key, m.Mapping)
	if err := p.table.Put(key, vrouter.PoolMember{NextHop: id, MTU: m.MTU, Internal: m.Internal, Identity: m.Identity, Chosen: m.Chosen, Mapping: m.Mapping}); err != nil {
		return err
	}
	was.Chosen = m.Chosen
	if may && (!known || was != m) {
		if err := p.renew(key.VRF); err != nil {
			return err
		}
	}
	p.settle(key, m.NextHop)
	p.mapped.settle(key, m.Mapping)
	return nil
}

func (p *poolMembers) Delete(_ context.Context, key vrouter.PoolMemberKey) error {
	if err := p.table.Delete(key); err != nil {
		return err
	}
	if err := p.renew(key.VRF); err != nil {
		return err
	}
	p.settle(key)
	p.mapped.settle(key)
	return nil
}

// choices gives each choice a number, which is not given again within a run.
type choices struct {
	table   Table[uint32, vrouter.Choice]
	numbers map[string]uint32
	names   map[uint32]string
	sizes   map[string]int
	last    uint32
}

func (c *choices) Owned(context.Context) (map[string]*Choice, error) {
	all, err := c.table.All()
	if err != nil {
		return nil, err
	}
	c.numbers, c.names, c.sizes, c.last = map[string]uint32{}, map[uint32]string{}, map[string]int{}, 0
	rows := map[string]*Choice{}
	for number := range all {
		name := leftOver(number) // nobody wants it
		c.numbers[name], c.names[number] = number, name
		c.last = max(c.last, number)
		rows[name] = &Choice{}
	}
	return rows, nil
}

func leftOver(number uint32) string { return fmt.Sprintf("left over %d", number) }

func (c *choices) Update(_ context.Context, name string, choice *Choice) error {
	number, has := c.numbers[name]
	if !has {
		for number = c.last + 1; number == 0 || c.names[number] != ""; number++ {
		}
		c.last, c.numbers[name], c.names[number] = number, number, name
	}
	filled := choice.Fill()
	if c.sizes == nil {
		c.sizes = map[string]int{}
	}
	c.sizes[name] = len(filled.Buckets)
	return c.table.Put(number, filled)
}

func (c *choices) Delete(_ context.Context, name string) error {
	number, has := c.numbers[name]
	if !has {
		return nil
	}
	if err := c.table.Delete(number); err != nil {
		return err
	}
	delete(c.numbers, name)
	delete(c.names, number)
	delete(c.sizes, name)
	return nil
}

// listeners translates choices to their numbers, and knows which ones the kernel's
// listeners may have.
type listeners struct {
	table   Table[vrouter.ListenerKey, vrouter.Listener]
	choices *choices
	uses[vrouter.ListenerKey, string]
}

// Owned must run after choices.Owned.
func (l *listeners) Owned(context.Context) (map[vrouter.ListenerKey]Listener, error) {
	all, err := l.table.All()
	if err != nil {
		return nil, err
	}
	l.settleAll()
	rows := make(map[vrouter.ListenerKey]Listener, len(all))
	for key, v := range all {
		row := Listener{BySource: v.BySource, Ticks: v.Ticks}
		if v.Choice != 0 {
			row.Choice = leftOver(v.Choice)
			l.use(key, row.Choice)
		}
		rows[key] = row
	}
	return rows, nil
}

func (l *listeners) Update(_ context.Context, key vrouter.ListenerKey, want Listener) error {
	number, has := l.choices.numbers[want.Choice]
	if want.Choice != "" && !has {
		return fmt.Errorf("the choice of its members has no number")
	}
	l.use(key, want.Choice)
	if err := l.table.Put(key, vrouter.Listener{Choice: number, Buckets: l.choices.sizes[want.Choice], BySource: want.BySource, Ticks: want.Ticks}); err != nil {
		return err
	}
	l.settle(key, want.Choice)
	return nil
}

func (l *listeners) Delete(_ context.Context, key vrouter.ListenerKey) error {
	if err := l.table.Delete(key); err != nil {
		return err
	}
	l.settle(key)
	return nil
}
