// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

// Random values are added and removed at both ends of both families; the set
// answers as a plain one does, and keeps as few runs as there can be.
func TestRunsAreASet(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, first := range []string{"0.0.0.0", "255.255.255.216", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffd8", "10.0.0.250"} {
		var values []netip.Addr
		for v := netip.MustParseAddr(first); v.IsValid() && len(values) < 40; v = v.Next() {
			values = append(values, v)
		}
		set, plain := newRuns(), map[netip.Addr]bool{}
		for range 2000 {
			v := values[r.IntN(len(values))]
			if plain[v] = r.IntN(2) == 0; plain[v] {
				set.add(v)
			} else {
				set.remove(v)
			}
			from, down := r.IntN(len(values)), r.IntN(2) == 0
			want := netip.Addr{}
			for i := from; i >= 0 && i < len(values) && !want.IsValid(); {
				if !plain[values[i]] {
					want = values[i]
				}
				if i++; down {
					i -= 2
				}
			}
			got := set.free(values[from], down)
			if want.IsValid() && got != want || !want.IsValid() && got.IsValid() && !got.Less(values[0]) && !values[len(values)-1].Less(got) {
				t.Fatalf("free from %v, down %v: %v, want %v", values[from], down, got, want)
			}
			edges := 0
			for i, v := range values {
				if plain[v] && (i == 0 || !plain[values[i-1]]) {
					edges++
				}
			}
			if set.tree.Len() != edges {
				t.Fatalf("%d runs for %d rows of values", set.tree.Len(), edges)
			}
		}
	}
}

// nearlyFull is an allocator that has given out a whole /8 but for two
// addresses, and every second address of another, a million of them.
func nearlyFull(free ...string) (*allocator, pool, pool) {
	a := newAllocator()
	full := &api.Subnet{Spec: api.SubnetSpec{CIDR: netip.MustParsePrefix("10.0.0.0/8")}}
	full.Meta.Parent.UUID = "full"
	full.Default()
	taken := newRuns()
	taken.tree.ReplaceOrInsert(run{full.Spec.CIDR.Addr(), api.LastAddr(full.Spec.CIDR)})
	for _, f := range free {
		taken.remove(netip.MustParseAddr(f))
	}
	a.unfree["address/full/"] = taken
	torn := &api.Subnet{Spec: api.SubnetSpec{CIDR: netip.MustParsePrefix("11.0.0.0/8")}}
	torn.Meta.Parent.UUID = "torn"
	torn.Default()
	taken = newRuns()
	v := torn.Spec.CIDR.Addr()
	for range 1_000_000 {
		taken.tree.ReplaceOrInsert(run{v, v})
		v = v.Next().Next()
	}
	a.unfree["address/torn/"] = taken
	return a, subnetPool(full), subnetPool(torn)
}

func nothingTaken(string) bool { return false }

// What allocation costs does not follow from the size of the subnet, how full
// it is, or how many addresses its neighbours hold: it is bounded in looks
// into a tree, not in time.
func TestAllocationDoesNotScan(t *testing.T) {
	a, full, torn := nearlyFull("10.77.0.9", "10.200.0.1")
	look := func(p pool, random bool, want string, bound int) {
		t.Helper()
		before := a.unfree[p.claims].steps
		v, claim, ok := a.take(p, nothingTaken, random)
		if !ok || !random && v.String() != want {
			t.Fatalf("got %v, %v, want %s", v, ok, want)
		}
		a.release([]string{claim})
		if n := a.unfree[p.claims].steps - before; n > bound {
			t.Errorf("%v took %d looks into the tree, at most %d do", v, n, bound)
		}
	}
	look(full, false, "10.77.0.9", 1)
	full.down = true
	look(full, false, "10.200.0.1", 1)
	look(full, true, "", 3)
	look(torn, false, "11.0.0.3", 3)
	look(torn, true, "", spread+2)
	// The lowest is freed again and again: nothing behind it is looked at.
	for range 3 {
		a.learn([]change{{key: "claim/address/full/10.0.0.7", deleted: true}})
		full.down = false
		look(full, false, "10.0.0.7", 1)
		a.learn([]change{{key: "claim/address/full/10.0.0.7"}})
		look(full, false, "10.77.0.9", 1)
	}
	// IPv6: the upper half of a /64 is as near as the lower.
	six := &api.Subnet{Spec: api.SubnetSpec{CIDR: netip.MustParsePrefix("2001:db8::/64"), AllocateFrom: api.FromTop}}
	six.Meta.Parent.UUID = "six"
	six.Default()
	a.learn([]change{{key: "claim/address/six/2001:db8::ffff:ffff:ffff:ffff"}})
	look(subnetPool(six), false, "2001:db8::ffff:ffff:ffff:fffe", 1)
}

func BenchmarkAllocate(b *testing.B) {
	a, full, torn := nearlyFull("10.77.0.9", "10.200.0.1")
	for name, p := range map[string]pool{"nearly-full-8": full, "million-gaps": torn} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				_, claim, ok := a.take(p, nothingTaken, false)
				if !ok {
					b.Fatal("nothing is free")
				}
				a.learn([]change{{key: prefixClaim + claim}})
				a.release([]string{claim})
				a.learn([]change{{key: prefixClaim + claim, deleted: true}})
			}
		})
	}
	b.Run(fmt.Sprintf("one-of-%d", spread), func(b *testing.B) {
		for range b.N {
			_, claim, _ := a.take(torn, nothingTaken, true)
			a.release([]string{claim})
		}
	})
}
