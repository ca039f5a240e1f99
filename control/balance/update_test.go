// SPDX-License-Identifier: Apache-2.0

package balance_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// dump prints all that anybody reads of what was derived.
func dump(d *balance.Derived) string {
	var b strings.Builder
	for _, l := range d.Routing.Snapshot.List(api.KindLoadBalancer) {
		one := d.Get(l.Head().Meta.UUID)
		if one == nil {
			fmt.Fprintf(&b, "%s is not derived\n", l.Head().Meta.FQName)
			continue
		}
		fmt.Fprintf(&b, "%s in %s VRF %d\n", one.Ref, one.Network, one.VRF)
		for _, i := range one.Listeners {
			fmt.Fprintf(&b, "  listener %+v\n", i)
		}
		for _, m := range one.Members {
			fmt.Fprintf(&b, "  member %+v\n", m)
		}
		for _, f := range one.Faults {
			fmt.Fprintf(&b, "  fault %+v\n", f)
		}
	}
	var groups []*balance.Group
	for g := range d.Groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *balance.Group) int { return int(a.Number) - int(b.Number) })
	for _, g := range groups {
		fmt.Fprintf(&b, "group %d of VRF %d:", g.Number, g.VRF)
		for _, one := range g.Balancers {
			fmt.Fprintf(&b, " %s %t", one.Ref, d.Get(one.Ref.UUID) == one && hoststream.BalancersOf(one.VRF, one.Ref.UUID) == g.Number)
		}
		fmt.Fprintf(&b, ", found %t\n", d.Group(g.Number) == g && slices.Contains(slices.Collect(d.GroupsOf(g.VRF)), g))
	}
	for _, n := range d.Routing.Networks {
		if s := d.Servers(n.Ref.UUID); len(s) > 0 {
			fmt.Fprintf(&b, "%s is served on %v\n", n.Ref, s)
		}
	}
	for _, h := range d.Routing.Hosts {
		if s := d.Serves(h.Ref.UUID); len(s) > 0 {
			fmt.Fprintf(&b, "%s serves %v\n", h.Ref, s)
		}
	}
	return b.String()
}

// story is a random world as it goes on.
type story struct {
	*world.World
	r     *rand.Rand
	lines []string
}

func newStory(r *rand.Rand) *story {
	s := &story{World: world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3"), r: r}
	for i := range 8 { // large enough for load-balancers to meet ports
		n := i % 4
		s.do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.0.0.0/24\nsubnet n%d 2001:db8::/64\nport n%d p%d\naddress n%d 10.0.0.%d p%d\naddress n%d 2001:db8::%d p%d\nbind p%d h%d\naddress n%d 10.0.0.9",
			n, n+1, n, n, n, i, n, i%6+1, i, n, i%6+1, i, i, 1+r.IntN(3), n))
	}
	for i := range 3 {
		s.do(fmt.Sprintf("balancer lb%d address=n%d:10.0.0.9\npool lb%d po%d\nlistener lb%d li%d TCP 80 pool=po%d\nmember po%d me%d 80 port=p%d\nmember po%d me%d 80 port=p%d", i, i, i, i, i, i, i, i, i, i, i, i+3, i+1))
	}
	return s
}

func (s *story) do(line string) {
	s.lines = append(s.lines, line)
	s.Do(line)
}

func (s *story) edit() {
	if s.r.IntN(3) == 0 {
		s.do(world.RandomEdit(s.r))
	} else {
		s.do(world.RandomBalance(s.r))
	}
}

// What Update makes of an earlier outcome and the events since is what Derive
// makes of the objects alone, after any edits, few or many at a time.
func TestUpdateEqualsDerive(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 6))
	t.Logf("seed %d", seed)
	counts := map[string]int{}
	words := []string{"State:active", "State:draining", "State:down", "Backup:true", "Weight:0", "BySource:true", "prefer-host", "serves", "Partly:true", "Protocol:17",
		balance.NotBuilt, balance.NoAddress, balance.AddressTaken, balance.NetworkUnfit, balance.NoPool, balance.PoolUnfit, balance.NoMember, balance.NoPlace,
		balance.NoFamily, balance.OldAgent, balance.NotTheirs, balance.NobodyHasThat, "Reason:" + balance.SwitchedOff}
	unseen := func() []string {
		return slices.DeleteFunc(slices.Clone(words), func(word string) bool { return counts[word] > 0 })
	}
	// More rounds until chance has made one of each.
	for round := 0; round < 8 || round < 120 && len(unseen()) > 0; round++ {
		s := newStory(r)
		before := s.Snapshot()
		derived := balance.Derive(routing.Derive(before))
		for step := range 120 {
			for range 1 + r.IntN(3)*r.IntN(3) {
				s.edit()
			}
			after := s.Snapshot()
			events := world.Changes(before, after)
			first := dump(derived)
			next := balance.Update(derived, routing.Update(derived.Routing, after, events), events)
			if now := dump(derived); now != first {
				t.Fatalf("seed %d round %d step %d: the earlier outcome was changed after\n%s", seed, round, step, strings.Join(s.lines, "\n"))
			}
			got, want := dump(next), dump(balance.Derive(routing.Derive(after)))
			if got != want {
				t.Fatalf("seed %d round %d step %d: after\n%s\nUpdate gives\n%s\nDerive gives\n%s", seed, round, step, strings.Join(s.lines, "\n"), s.Names(got), s.Names(want))
			}
			for _, word := range words {
				counts[word] += strings.Count(got, word)
			}
			before, derived = after, next
		}
	}
	t.Logf("seen: %v", counts)
	if left := unseen(); len(left) > 0 {
		t.Errorf("seed %d: never seen: %q", seed, left)
	}
}

// A load-balancer has at most so many listeners, and members of them; those beyond do
// not serve and say why, and one that goes makes room for another.
func TestHowMuchALoadBalancerMayHave(t *testing.T) {
	for _, c := range []struct{ listeners, members, serve int }{
		{balance.MaxListeners / 2, 4, balance.MaxListeners / 2}, // at two addresses
		{balance.MaxListeners/2 + 6, 4, balance.MaxListeners / 2},
		{balance.MaxListeners / 2, 20, balance.MaxPlaces / 40},
	} {
		w := world.New("host h1 192.0.2.1\nnetwork n 1\nsubnet n 10.0.0.0/24\nsubnet n 2001:db8::/64\naddress n 10.0.0.9\naddress n 2001:db8::9\nbalancer l address=n:10.0.0.9 address=n:2001:db8::9\npool l o")
		for i := range c.members {
			w.Do(fmt.Sprintf("port n p%d\naddress n 10.0.0.%d p%d\naddress n 2001:db8::1:%d p%d\nbind p%d h1\nmember o m%d 80 port=p%d", i, i+10, i, i, i, i, i, i))
		}
		for i := range c.listeners {
			w.Do(fmt.Sprintf("listener l i%d TCP %d pool=o", i, 1000+i))
		}
		before := w.Snapshot()
		d := balance.Derive(routing.Derive(before))
		b := d.Get(world.UUID(api.KindLoadBalancer, "l"))
		beyond := 0
		for _, f := range b.Faults {
			if f.Kind == api.KindListener && f.Reason == balance.TooLarge && !f.Partly {
				beyond++
			}
		}
		if len(b.Listeners) != c.serve || beyond != c.listeners-c.serve || len(b.Members) != c.members {
			t.Errorf("of %d listeners and %d members %d and %d serve, and %d say that they do not; want %d", c.listeners, c.members, len(b.Listeners), len(b.Members), beyond, c.serve)
		}
		if f := b.Fault(api.KindLoadBalancer, b.Ref.UUID); (f != nil) != (beyond > 0) || f != nil && (f.Reason != balance.TooLarge || !f.Partly) {
			t.Errorf("the load-balancer says %+v", f)
		}
		for i := range c.listeners {
			if name := fmt.Sprintf("i%d", i); world.UUID(api.KindListener, name) == b.Listeners[0].Ref.UUID {
				w.Do(fmt.Sprintf("remove %s %s", api.KindListener, name))
			}
		}
		after := w.Snapshot()
		events := world.Changes(before, after)
		next := balance.Update(d, routing.Update(d.Routing, after, events), events)
		if got, want := dump(next), dump(balance.Derive(routing.Derive(after))); got != want || len(events) != 1 {
			t.Errorf("after %d events Update gives\n%s\nDerive gives\n%s", len(events), got, want)
		}
		if now := next.Get(b.Ref.UUID); len(now.Listeners) != min(c.serve, c.listeners-1) {
			t.Errorf("once one is gone %d serve, want %d", len(now.Listeners), min(c.serve, c.listeners-1))
		}
	}
}
