// SPDX-License-Identifier: Apache-2.0

package maglev_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/weft-network/weft/vrouter/maglev"
)

// pool is members whose keys follow from a seed.
func pool(seed uint64, n int, weight func(i int) uint32) []maglev.Member {
	r := rand.New(rand.NewPCG(seed, 41))
	members := make([]maglev.Member, n)
	for i := range members {
		var raw [16]byte
		for j := range raw {
			raw[j] = byte(r.Uint32())
		}
		members[i] = maglev.Member{Key: uuid.UUID(raw).String(), Weight: weight(i)}
	}
	return members
}

func equal(int) uint32 { return 1 }

func counts(buckets []uint16, n int) []int {
	of := make([]int, n)
	for _, b := range buckets {
		if b != maglev.None {
			of[b]++
		}
	}
	return of
}

// moved counts the buckets that had a member other than one which is left out,
// and have another one now, of all that had; members are compared by key.
func moved(before, after []uint16, had, has []maglev.Member, without string) (moved, all int) {
	for i := range before {
		was := had[before[i]].Key
		if was == without {
			continue
		}
		all++
		if is := has[after[i]].Key; is != was && is != without {
			moved++
		}
	}
	return moved, all
}

func TestSizes(t *testing.T) {
	last := 0
	for n := range maglev.MaxMembers + 1 {
		size := maglev.Size(n)
		if !big.NewInt(int64(size)).ProbablyPrime(0) || size < n*maglev.PerMember || size < last {
			t.Fatalf("a pool of %d members has %d buckets", n, size)
		}
		last = size
	}
	if got := maglev.Size(100_000); got != last {
		t.Errorf("beyond the bound there are %d buckets, want %d", got, last)
	}
}

// Each member has its share, to one bucket where all are equal, and near its
// weight where they are not.
func TestShares(t *testing.T) {
	for seed := range uint64(20) {
		for _, n := range []int{1, 2, 3, 10, 100} {
			size := maglev.Size(n)
			of := counts(maglev.Fill(size, pool(seed, n, equal)), n)
			if slices.Min(of) < size/n || slices.Max(of) > size/n+1 {
				t.Errorf("seed %d: %d equal members have from %d to %d of %d buckets", seed, n, slices.Min(of), slices.Max(of), size)
			}
			r := rand.New(rand.NewPCG(seed, 42))
			members := pool(seed, n, func(int) uint32 { return 1 + r.Uint32N(256) })
			total := 0.0
			for _, m := range members {
				total += float64(m.Weight)
			}
			for i, got := range counts(maglev.Fill(size, members), n) {
				if want := float64(size) * float64(members[i].Weight) / total; float64(got) < want-2 || float64(got) > want+2 {
					t.Errorf("seed %d: a member of weight %d of %.0f has %d of %d buckets, want %.1f", seed, members[i].Weight, total, got, size, want)
				}
			}
		}
	}
}

// A change of one of 100 members moves at most 2 % of the buckets of the others,
// whatever the change is.
func TestOneMemberMovesFewBucketsOfOthers(t *testing.T) {
	for _, weight := range []func(int) uint32{equal, func(i int) uint32 { return 1 + uint32(i%4) }} {
		worst, sum, tries := 0.0, 0.0, 0
		for seed := range uint64(12) {
			members := pool(seed, 101, weight)
			size := maglev.Size(len(members))
			one := int(seed*17) % 100
			for _, change := range []func(m *maglev.Member){
				func(m *maglev.Member) { m.Weight = 0 },
				func(m *maglev.Member) { m.Weight = 2 * m.Weight },
			} {
				before := slices.Clone(members[:100])
				after := slices.Clone(before)
				change(&after[one])
				n, all := moved(maglev.Fill(size, before), maglev.Fill(size, after), before, after, before[one].Key)
				part := float64(n) / float64(all)
				worst, sum, tries = max(worst, part), sum+part, tries+1
			}
			n, all := moved(maglev.Fill(size, members[:100]), maglev.Fill(size, members), members[:100], members, members[100].Key)
			part := float64(n) / float64(all)
			worst, sum, tries = max(worst, part), sum+part, tries+1
		}
		t.Logf("of the buckets of others %.2f %% move, %.2f %% at worst", 100*sum/float64(tries), 100*worst)
		if worst > 0.02 {
			t.Errorf("%.2f %% of the buckets of others move, want 2 %% at most", 100*worst)
		}
	}
}

// What a member has does not follow from the order in which members are told,
// nor from those without weight.
func TestOrderMeansNothing(t *testing.T) {
	members := pool(7, 30, func(i int) uint32 { return uint32(i % 3) })
	size := maglev.Size(len(members))
	want := maglev.Fill(size, members)
	r := rand.New(rand.NewPCG(7, 43))
	for range 5 {
		shuffled := slices.Clone(members)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		shuffled = slices.DeleteFunc(shuffled, func(m maglev.Member) bool { return m.Weight == 0 && r.IntN(2) == 0 })
		for i, b := range maglev.Fill(size, shuffled) {
			if shuffled[b].Key != members[want[i]].Key {
				t.Fatalf("bucket %d has another member when they are told in another order", i)
			}
		}
	}
}

// The buckets are the same in every build: hosts of several releases serve one pool.
func TestBucketsNeverChange(t *testing.T) {
	members := pool(1, 3, func(i int) uint32 { return uint32(i + 1) })
	if got, want := fmt.Sprint(maglev.Fill(251, members)[:16]), "[2 1 0 0 0 0 0 2 2 2 2 1 2 2 1 1]"; got != want {
		t.Errorf("the first buckets are %s, were %s", got, want)
	}
}

func TestNobodyHasBuckets(t *testing.T) {
	for _, members := range [][]maglev.Member{nil, {{Key: "a"}}, {{Key: "a"}, {Key: "b"}}} {
		for _, b := range maglev.Fill(251, members) {
			if b != maglev.None {
				t.Fatalf("%v: member %d has a bucket", members, b)
			}
		}
	}
	if of := counts(maglev.Fill(251, []maglev.Member{{"a", 1}, {"a", 9}}), 2); of[1] != 0 || of[0] != 251 {
		t.Errorf("two members with one key have %v buckets", of)
	}
}

func BenchmarkFill(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		members := pool(3, n, equal)
		b.Run(fmt.Sprintf("%d-members", n), func(b *testing.B) {
			for b.Loop() {
				maglev.Fill(maglev.Size(n), members)
			}
		})
	}
}
