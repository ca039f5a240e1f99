// SPDX-License-Identifier: Apache-2.0

package routing_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// dump prints all that anybody reads of what was derived.
func dump(d *routing.Derived) string {
	var b strings.Builder
	fmt.Fprintf(&b, "revision %d\n%s", d.Revision, d)
	for _, h := range d.Hosts {
		fmt.Fprintf(&b, "host %s %v\n", h.Ref, h.TunnelAddresses)
		for _, p := range h.Ports {
			fmt.Fprintf(&b, "  port %+v in %+v, found %t\n", p.Ref, *p.Network, d.Port(p.Ref.UUID) == p)
		}
		for _, v := range h.Reserved {
			fmt.Fprintf(&b, "  reserved %+v %+v %v releasing %t in %+v\n", v.Host, v.Address, v.MAC, v.Releasing, *v.Network)
		}
		for _, f := range h.Floating {
			fmt.Fprintf(&b, "  floating %s\n", floating(f))
		}
		for _, id := range h.Externals {
			fmt.Fprintf(&b, "  goes out to %+v\n", *id)
		}
		if d.Host(h.Ref.UUID) != h {
			fmt.Fprintf(&b, "  is not the host of that UUID\n")
		}
	}
	for _, n := range d.Networks {
		fmt.Fprintf(&b, "network %+v services %+v\n  imports %+v\n  senders %+v\n  %d conflicts\n", *n.Identity, n.Services, n.Imports, n.Senders, n.ConflictCount)
		for _, s := range n.Subnets {
			fmt.Fprintf(&b, "  subnet %s %s %s %+v\n", s.Ref, s.CIDR, s.Gateway, *s.Services)
		}
		for _, f := range n.Floating() {
			fmt.Fprintf(&b, "  floating %s, found %t\n", floating(f), n.Association(f.Association) == f)
		}
		for _, s := range n.SourceNATs() {
			nat := *s
			nat.Network = nil // a pointer
			fmt.Fprintf(&b, "  goes out: %+v in %+v\n", nat, *s.Network)
		}
		for _, r := range slices.Concat(n.Own, n.OwnEqual, n.Routes, n.Equal) {
			fmt.Fprintf(&b, "  %+v\n", r)
		}
		if d.Network(n.Ref.UUID) != n {
			fmt.Fprintf(&b, "  is not the network of that UUID\n")
		}
	}
	for _, p := range d.Ports() {
		q := *p
		q.Network = nil // a pointer
		fmt.Fprintf(&b, "port %+v %+v\n", *p.Network, q)
	}
	var projects []*routing.Project
	for p := range d.Projects {
		projects = append(projects, p)
	}
	slices.SortFunc(projects, func(p, q *routing.Project) int { return strings.Compare(p.UUID, q.UUID) })
	for _, project := range projects {
		fmt.Fprintf(&b, "project %s\n", project.UUID)
		for _, p := range project.Ports {
			fmt.Fprintf(&b, "  %s is %s.%s, found %t\n", p.Ref, p.HostName, p.Domain, d.Port(p.Ref.UUID) == p)
		}
	}
	dumpConnected(&b, d)
	for _, c := range d.Conflicts {
		fmt.Fprintf(&b, "%+v\n", c)
	}
	return b.String()
}

// dumpConnected prints who connects external networks.
func dumpConnected(b *strings.Builder, d *routing.Derived) {
	for _, n := range d.Networks {
		fmt.Fprintf(b, "%s connected by %v to %v\n", n.Ref, n.Connected(), n.Routers())
	}
	for _, h := range d.Hosts {
		fmt.Fprintf(b, "%s has %v\n", h.Ref, h.Physical)
		for _, n := range h.Connects {
			fmt.Fprintf(b, "  connects %+v\n", *n)
		}
	}
}

// floating prints what becomes of an association, and what it was made of.
func floating(f *routing.Floating) string {
	return fmt.Sprintf("%s of %s %v in %+v leads to %v of %s alias %t at %s %s MTU %d because %q %q",
		f.Association, f.FloatingIP, f.IP, *f.Network, f.Internal, f.Port, f.Alias, f.MAC, f.Host, f.MTU, f.Reason, f.Message)
}

// edit is one of every kind of change: those of a small world, and things that
// go away below what refers to them.
func edit(r *rand.Rand) string {
	n := r.IntN(4)
	lines := []string{
		fmt.Sprintf("remove %s h%d", api.KindHost, 1+r.IntN(3)),
		fmt.Sprintf("host h%d 192.0.2.%d", 1+r.IntN(3), 1+r.IntN(9)),
		fmt.Sprintf("remove %s n%d:10.0.0.0/24", api.KindSubnet, n),
		fmt.Sprintf("remove %s pol%d", api.KindNetworkPolicy, r.IntN(2)),
		fmt.Sprintf("network n%d %d", n, 1+r.IntN(4)), // also the VNI of another one
	}
	if i := r.IntN(4 * len(lines)); i < len(lines) {
		return lines[i]
	}
	switch r.IntN(9) {
	case 0:
		return world.RandomBalance(r)
	case 8:
		return world.RandomSourceNAT(r)
	case 1, 2:
		return world.RandomFloating(r)
	case 3:
		return world.RandomExternal(r)
	}
	return world.RandomEdit(r)
}

// What Update makes of an earlier outcome and the events since is what Derive
// makes of the objects alone, after any edits, few or many at a time.
func TestUpdateEqualsDerive(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 4))
	t.Logf("seed %d", seed)
	shared, all, reserved, carried := 0, 0, 0, 0
	// More rounds until chance has made enough of what is rare.
	for round := 0; round < 10 || round < 60 && (carried < 100 || reserved < 100); round++ {
		w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3")
		before := w.Snapshot()
		derived := routing.Derive(before)
		var story []string
		for step := range 150 {
			for range 1 + r.IntN(3)*r.IntN(3) {
				line := edit(r)
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
				all++
				if derived.Network(n.Ref.UUID) == n {
					shared++
				}
			}
			for _, h := range next.Hosts {
				reserved += len(h.Reserved)
				for _, p := range h.Ports {
					if p.VLAN != 0 {
						carried++
					}
				}
			}
			before, derived = after, next
		}
	}
	t.Logf("%d reservations, sub-ports placed: %d", reserved, carried)
	if carried < 100 {
		t.Errorf("seed %d: too few sub-ports were placed", seed)
	}
	if reserved < 100 {
		t.Errorf("seed %d: only %d reservations were seen", seed, reserved)
	}
	if shared < all/3 {
		t.Errorf("seed %d: only %d of %d networks were not computed again", seed, shared, all)
	}
}

// recorder notes which kinds are read.
type recorder struct {
	api.Snapshot
	kinds map[api.Kind]bool
}

func (r recorder) List(k api.Kind) []api.Object { r.kinds[k] = true; return r.Snapshot.List(k) }

func (r recorder) Get(k api.Kind, uuid string) api.Object {
	r.kinds[k] = true
	return r.Snapshot.Get(k, uuid)
}

// Update passes over events of kinds that Derive does not read. Which these
// are is a list; it is all that Derive reads.
func TestListOfKindsIsComplete(t *testing.T) {
	r := recorder{world.New("host h1 192.0.2.1\nnetwork n 1\nnetwork m 2\ntarget t 64512:1\nimport n t\nexport m t\ntable r 10.9.0.0/16 -\ntable-network n r\nport n p\nbind p h1\nmachine v w\nruns v p\nport m q\ntrunk u p\ncarry u q 5\nbalancer l"), map[api.Kind]bool{}}
	routing.Derive(r)
	if !reflect.DeepEqual(r.kinds, routing.Reads) {
		t.Errorf("Derive reads %v, Update expects %v", r.kinds, routing.Reads)
	}
}
