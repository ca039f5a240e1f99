// SPDX-License-Identifier: Apache-2.0

package metrics

// totals adds counts of interfaces up to sums that never fall. The kernel
// forgets an interface's counts with its port; a sum over those that are there
// would fall then, and a rate over it would see a burst that never was.
type totals[K comparable] struct {
	sums map[K]uint64
	last map[source[K]]uint64 // what each interface was at when last read
	next map[source[K]]uint64 // of the reading under way
}

type source[K comparable] struct {
	ifindex int
	key     K
}

func newTotals[K comparable]() *totals[K] {
	return &totals[K]{sums: map[K]uint64{}, last: map[source[K]]uint64{}}
}

func (t *totals[K]) begin() { t.next = make(map[source[K]]uint64, len(t.last)) }

// count takes an interface's count. One below what it was began anew, with
// another port on an interface of the same number.
func (t *totals[K]) count(ifindex int, key K, value uint64) {
	s := source[K]{ifindex, key}
	if before := t.last[s]; value >= before {
		t.sums[key] += value - before
	} else {
		t.sums[key] += value
	}
	t.next[s] = value
}

func (t *totals[K]) end() { t.last, t.next = t.next, nil }
