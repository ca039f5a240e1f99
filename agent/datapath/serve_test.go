// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// ordered fails the test when something is in the kernel before what it refers to, or
// after it.
func ordered(t *testing.T, k *datapath.MemoryKernel) {
	k.Listeners.Check = func(key vrouter.ListenerKey, l vrouter.Listener, deleted bool) {
		if choice, there := k.Choices.Rows[l.Choice]; l.Choice != 0 && (!there || len(choice.Buckets) != l.Buckets) {
			t.Errorf("listener %v has choice %d of %d buckets, which is there %t with %d", key, l.Choice, l.Buckets, there, len(choice.Buckets))
		}
	}
	k.Choices.Check = func(number uint32, _ vrouter.Choice, deleted bool) {
		if _, there := k.Choices.Rows[number]; there && !deleted {
			return // again, after a fault
		}
		for key, l := range k.Listeners.Rows {
			if l.Choice == number {
				t.Errorf("choice %d goes or comes while listener %v has it", number, key)
			}
		}
	}
	k.PoolMembers.Check = func(key vrouter.PoolMemberKey, m vrouter.PoolMember, deleted bool) {
		_, mapped := k.Mappings.Rows[m.Mapping]
		if _, there := k.NextHops.Rows[m.NextHop]; !deleted && (!there || m.Mapping != 0 && !mapped) {
			t.Errorf("member %v comes before its next hop or mapping", key)
		}
	}
	k.Mappings.Check = func(number uint64, _ vrouter.Mapping, deleted bool) {
		for key, m := range k.PoolMembers.Rows {
			if deleted && m.Mapping == number {
				t.Errorf("mapping %d goes before member %v", number, key)
			}
		}
		for key, f := range k.Floats.Rows {
			if deleted && (f.Alias == number || slices.Contains(f.Mappings[:], number)) {
				t.Errorf("mapping %d goes while %v is sent through it", number, key)
			}
		}
		for id, hop := range k.NextHops.Rows {
			if deleted && hop.Mapping == number {
				t.Errorf("mapping %d goes before next hop %d", number, id)
			}
		}
	}
	k.NextHops.Check = func(id uint32, hop vrouter.NextHop, deleted bool) {
		if _, there := k.Mappings.Rows[hop.Mapping]; !deleted && hop.Kind == vrouter.NextHopMapped && !there {
			t.Errorf("next hop %d comes before mapping %d", id, hop.Mapping)
		}
	}
	k.Floats.Check = func(key vrouter.FloatKey, f vrouter.Float, deleted bool) {
		for _, number := range append(f.Mappings[:], f.Alias) {
			if _, there := k.Mappings.Rows[number]; !deleted && number != 0 && !there {
				t.Errorf("%v is sent through mapping %d before that is there", key, number)
			}
		}
	}
}

// served is what the kernel's tables say, without numbers of this run.
func served(k *datapath.MemoryKernel) string {
	members := map[vrouter.PoolMemberKey]string{}
	for key, m := range k.PoolMembers.Rows {
		hop := k.NextHops.Rows[m.NextHop]
		m.NextHop = 0
		members[key] = fmt.Sprintf("%+v by %+v", m, hop)
	}
	listeners := map[vrouter.ListenerKey]string{}
	for key, l := range k.Listeners.Rows {
		choice := k.Choices.Rows[l.Choice]
		l.Choice = 0
		listeners[key] = fmt.Sprintf("%+v %v", l, choice)
	}
	return fmt.Sprintln(len(k.Choices.Rows), listeners, members, k.Mappings.Rows)
}

// Whatever fails, and wherever the agent was started anew, the kernel comes to have what
// a kernel gets that nothing was in before.
func TestServiceComesIntoTheKernel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	k := datapath.NewMemoryKernel(random)
	ordered(t, k)
	now := time.Now()
	settle := func(p *datapath.Programmer, want datapath.Tables, k *datapath.MemoryKernel) {
		p.Want(want)
		p.Sweep()
		for range 10000 {
			p.Round(t.Context(), now)
			if now = now.Add(time.Hour); p.Settled() {
				return
			}
		}
		t.Fatal("it never settles")
	}
	begin := func(k *datapath.MemoryKernel) *datapath.Programmer {
		p := datapath.NewProgrammer(k.Kernel())
		for p.Load(t.Context()) != nil {
		}
		return p
	}
	p := begin(k)
	for step := range 60 {
		tables := balancedBy(func(l *desired.Listener, m map[string]*desired.Member) {
			for _, one := range m {
				one.State = []desired.MemberState{desired.MemberActive, desired.MemberActive, desired.MemberDraining, desired.MemberDown}[random.IntN(4)]
			}
			for _, id := range []string{"a", "b", "c"} {
				if random.IntN(4) == 0 {
					delete(m, id)
				}
			}
			l.Seconds = uint32(random.IntN(2) * 60)
		})
		if random.IntN(4) == 0 {
			p = begin(k)
		}
		settle(p, tables, k)
		fresh := datapath.NewMemoryKernel(nil)
		settle(begin(fresh), tables, fresh)
		if got, want := served(k), served(fresh); got != want {
			t.Fatalf("step %d: the kernel has\n%s\nwant\n%s", step, got, want)
		}
	}
}

// A member that goes makes all look anew that could be led to it, and nobody else; one
// that comes or is drained makes nobody.
func TestWhoLooksAnew(t *testing.T) {
	k := datapath.NewMemoryKernel(nil)
	p := datapath.NewProgrammer(k.Kernel())
	if err := p.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	step := func(change func(m map[string]*desired.Member)) map[uint32]int {
		clear(k.Renewed)
		p.Want(balancedBy(func(_ *desired.Listener, m map[string]*desired.Member) { change(m) }))
		for p.Round(t.Context(), time.Now()) || !p.Settled() {
		}
		return maps.Clone(k.Renewed)
	}
	if got := step(func(m map[string]*desired.Member) { delete(m, "c") }); len(got) != 0 {
		t.Errorf("at first %v look anew", got)
	}
	if got := step(func(m map[string]*desired.Member) {}); len(got) != 0 {
		t.Errorf("when a member comes %v look anew", got)
	}
	if got := step(func(m map[string]*desired.Member) { m["a"].State = desired.MemberDraining }); len(got) != 0 {
		t.Errorf("when one is drained %v look anew", got)
	}
	if got := step(func(m map[string]*desired.Member) { delete(m, "a") }); len(got) != 1 || got[7] == 0 {
		t.Errorf("when one goes %v look anew, want VRF 7", got)
	}
}

// An address that one load-balancer hands to another in one change has a listener after
// it, whichever of the two is looked at first.
func TestAddressGoesFromOneToAnother(t *testing.T) {
	at := vrouter.ListenerKey{VRF: 7, Address: virtual, Protocol: 6, Port: 80}
	a, b := desired.BalancerKey{VRF: 7, ID: "a"}, desired.BalancerKey{VRF: 7, ID: "b"}
	k := datapath.NewMemoryKernel(nil)
	p := datapath.NewProgrammer(k.Kernel())
	if err := p.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for step, has := range []desired.BalancerKey{a, b, a} {
		var tables datapath.Tables
		tables.Balanced.Of = map[desired.BalancerKey]*datapath.BalancerTables{a: {}, b: {}}
		tables.Balanced.Of[has].Listeners = map[vrouter.ListenerKey]datapath.Listener{at: {}}
		p.Want(tables)
		for p.Round(t.Context(), time.Now()) || !p.Settled() {
		}
		if _, listens := k.Listeners.Rows[at]; !listens {
			t.Errorf("step %d: nobody listens at the address that %s has", step, has.ID)
		}
	}
}
