// SPDX-License-Identifier: Apache-2.0

// Package maglev gives the buckets of a hash to the members of a pool, as
// Eisenbud and others do (Maglev, NSDI 2016, section 3.4): each member has its share, and
// one that comes or goes moves few buckets of the others. What it gives follows
// from the members alone, so every host gives the same.
package maglev

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

const (
	// PerMember is how many buckets there are for each member at least.
	PerMember = 100
	// MaxMembers is how many members buckets are given to at most; of more, those
	// with the smallest keys have all.
	MaxMembers = 5242
	// None is the number of no member.
	None = uint16(0xffff)
)

// sizes are primes, so that a member's steps through the buckets meet each.
// They are far apart: where a pool grows from one to the next, buckets move.
var sizes = [...]int{251, 1021, 4093, 16381, 65521, 262139, 524287}

// Size is how many buckets a pool of so many members has. All of its members
// should be counted, also those that have no share now: what they do then moves
// no more than it must.
func Size(members int) int {
	for _, size := range sizes {
		if size >= members*PerMember {
			return size
		}
	}
	return sizes[len(sizes)-1]
}

// Member is one of a pool.
type Member struct {
	Key    string // that is its own, the same on every host: a UUID
	Weight uint32 // its share relative to the others; 0: none
}

// turn is a member as it takes buckets.
type turn struct {
	number       uint16
	weight, owed uint64
	next, skip   int
}

// Fill gives each of so many buckets, one of the sizes, the number of a member,
// its place in members; all None if nobody has a weight. The order of members
// means nothing; of equal keys the first counts.
func Fill(size int, members []Member) []uint16 {
	buckets := make([]uint16, size)
	for i := range buckets {
		buckets[i] = None
	}
	turns, most := turnsOf(size, members)
	if len(turns) == 0 {
		return buckets
	}
	// Round after round each member takes the first bucket in its own order that is
	// free, if its weight, summed up over the rounds, has come to that of the heaviest.
	for left := size; left > 0; {
		for i := range turns {
			t := &turns[i]
			if t.owed += t.weight; t.owed < most || left == 0 {
				continue
			}
			t.owed -= most
			for buckets[t.next] != None {
				t.step(size)
			}
			buckets[t.next] = t.number
			left--
		}
	}
	return buckets
}

func (t *turn) step(size int) {
	if t.next += t.skip; t.next >= size {
		t.next -= size
	}
}

// turnsOf are the members that take buckets, by key, and the largest weight.
func turnsOf(size int, members []Member) (turns []turn, most uint64) {
	order := make([]int, 0, len(members))
	for i := range members {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(members[a].Key, members[b].Key) })
	last := ""
	for _, i := range order {
		m := &members[i]
		if m.Weight == 0 || m.Key == last && len(turns) > 0 {
			continue
		}
		if len(turns) == MaxMembers {
			break
		}
		last = m.Key
		most = max(most, uint64(m.Weight))
		turns = append(turns, turn{
			number: uint16(i), weight: uint64(m.Weight),
			next: int(xxhash.Sum64String("offset/"+m.Key) % uint64(size)), skip: 1 + int(xxhash.Sum64String("skip/"+m.Key)%uint64(size-1)),
		})
	}
	return turns, most
}
