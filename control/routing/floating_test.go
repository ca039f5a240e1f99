// SPDX-License-Identifier: Apache-2.0

package routing_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// floatingWorld is large enough for floating addresses to meet ports: each of
// eight has an address of both families and a host.
func floatingWorld(r *rand.Rand) (w *world.World, story []string) {
	w = world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3")
	for i := range 8 {
		n := i % 4
		story = append(story, fmt.Sprintf("network n%d %d\nsubnet n%d 10.0.0.0/24\nsubnet n%d 2001:db8::/64\nport n%d p%d\naddress n%d 10.0.0.%d p%d\naddress n%d 2001:db8::%d p%d\nbind p%d h%d\naddress n%d 10.0.0.2%d\naddress n%d 2001:db8::2%d\nfloating f%d n%d:10.0.0.2%d",
			n, n+1, n, n, n, i, n, i%6+1, i, n, i%6+1, i, i, 1+r.IntN(3), n, n, n, n, n, n, n))
	}
	story = append(story, "policy pol0 any any\nattach pol0 n0\nattach pol0 n1\nattach pol0 n2")
	for _, line := range story {
		w.Do(line)
	}
	return w, story
}

// Floating addresses follow ports, networks, hosts, addresses and associations:
// what Update makes of them is what Derive makes of the objects alone.
func TestFloatingFollows(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 7))
	t.Logf("seed %d", seed)
	becomes, leaked, aliases := map[string]int{}, 0, 0
	enough := func() bool { return len(becomes) >= 8 && becomes[""] > 1000 && leaked > 100 && aliases > 100 }
	for round := 0; round < 8 || round < 80 && !enough(); round++ {
		w, story := floatingWorld(r)
		before := w.Snapshot()
		derived := routing.Derive(before)
		for step := range 100 {
			for range 1 + r.IntN(3)*r.IntN(2) {
				line := world.RandomFloating(r)
				if r.IntN(4) == 0 {
					line = edit(r)
				}
				story = append(story, line)
				w.Do(line)
			}
			after := w.Snapshot()
			first := dump(derived)
			next := routing.Update(derived, after, world.Changes(before, after))
			if now := dump(derived); now != first {
				t.Fatalf("seed %d round %d step %d: the earlier outcome was changed after\n%s", seed, round, step, strings.Join(story, "\n"))
			}
			if got, want := dump(next), dump(routing.Derive(after)); got != want {
				t.Fatalf("seed %d round %d step %d: after\n%s\nUpdate gives\n%s\nDerive gives\n%s", seed, round, step, strings.Join(story, "\n"), w.Names(got), w.Names(want))
			}
			for _, n := range next.Networks {
				for _, f := range n.Floating() {
					becomes[f.Reason]++
					if f.Alias {
						aliases++
					}
					holds(t, next, n, f)
				}
				leaked += len(slices.DeleteFunc(slices.Clone(n.Routes), func(r routing.Route) bool { return !r.Leaked() || !r.Mapped.Is() }))
			}
			before, derived = after, next
		}
	}
	t.Logf("floating addresses, by why they lead nowhere: %v; leaked %d, aliases %d", becomes, leaked, aliases)
	if !enough() {
		t.Errorf("seed %d: too little was seen", seed)
	}
}

// holds: an association with a reason leads nowhere, every other one is a route
// to a port that has the address, on the host that has it.
func holds(t *testing.T, d *routing.Derived, n *routing.Network, f *routing.Floating) {
	t.Helper()
	has := slices.ContainsFunc(n.Own, func(r routing.Route) bool { return r.Mapped.Is() && r.Origin == f.FloatingIP && r.Mapped == f.Mapped })
	if f.Reason != "" {
		if f.Is() || !f.Host.IsZero() || f.Message == "" {
			t.Fatalf("%s leads nowhere (%s) and has a port: %+v", f.Association, f.Reason, f)
		}
		return
	}
	p := d.Port(f.Port.UUID)
	if !has || p == nil || p.Host != f.Host || p.MAC != f.MAC {
		t.Fatalf("%s is at port %s on %s, which is %+v; there is a route: %t", f.Association, f.Port, f.Host, p, has)
	}
	if !f.Alias && !slices.ContainsFunc(p.Addresses, func(a routing.PortAddress) bool { return a.IP == f.Internal }) {
		t.Fatalf("%s stands for %v, which port %s has not", f.Association, f.Internal, f.Port)
	}
	if h := d.Host(f.Host.UUID); !slices.ContainsFunc(h.Floating, f.Equal) || !slices.Contains(slices.Collect(n.Places), f.Host.UUID) || !slices.ContainsFunc(n.Senders, func(r api.Ref) bool { return r.UUID == f.Host.UUID }) {
		t.Fatalf("host %s has the port of %s and not its network", f.Host, f.Association)
	}
}

// Of many floating addresses of one port those work that are first by name.
func TestFloatingAddressesOfAPortAreBounded(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nnetwork n 1\nnetwork e 2\nport n p\naddress n 10.0.0.1 p\nbind p h1")
	for i := range routing.MaxFloating + 2 {
		w.Do(fmt.Sprintf("address e 10.9.0.%d\nfloating f%d e:10.9.0.%d\nassociate a%02d f%d port=p", i+1, i, i+1, i, i))
	}
	routes := func(d *routing.Derived) (prefixes []string) {
		for _, r := range d.Network(world.UUID(api.KindNetwork, "e")).Routes {
			prefixes = append(prefixes, r.Prefix.String())
		}
		return prefixes
	}
	before := w.Snapshot()
	d := routing.Derive(before)
	if got := routes(d); len(got) != routing.MaxFloating || slices.Contains(got, "10.9.0.17/32") {
		t.Fatalf("a port has %v", got)
	}
	w.Do("remove floating-ip-association a00")
	after := w.Snapshot()
	if got := routes(routing.Update(d, after, world.Changes(before, after))); len(got) != routing.MaxFloating || !slices.Contains(got, "10.9.0.17/32") || slices.Contains(got, "10.9.0.18/32") {
		t.Fatalf("after the first is gone a port has %v", got)
	}
}
