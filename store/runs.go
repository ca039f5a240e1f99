// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"

	"github.com/google/btree"
)

// runsDegree is the degree of the trees of runs: nodes of some 3 KiB.
const runsDegree = 32

// run is a maximal row of values that cannot be given out: neither the value
// before first nor the one after last is in another run of the same set.
type run struct{ first, last netip.Addr }

// runs is a set of values, kept as runs: its size and the cost of every
// question follow from how often taken and free alternate, not from how many
// values there are.
type runs struct {
	tree *btree.BTreeG[run]
	// steps counts looks into the tree, so that a test can bound the work.
	steps int
}

func newRuns() *runs {
	return &runs{tree: btree.NewG(runsDegree, func(a, b run) bool { return a.first.Less(b.first) })}
}

// around returns the run that contains a value.
func (r *runs) around(v netip.Addr) (found run, ok bool) {
	r.steps++
	r.tree.DescendLessOrEqual(run{first: v}, func(x run) bool {
		found, ok = x, x.last.Compare(v) >= 0
		return false
	})
	return found, ok
}

func (r *runs) add(v netip.Addr) {
	if _, ok := r.around(v); ok {
		return
	}
	now := run{v, v}
	if before, ok := r.neighbour(v.Prev()); ok {
		r.tree.Delete(before)
		now.first = before.first
	}
	if after, ok := r.neighbour(v.Next()); ok {
		r.tree.Delete(after)
		now.last = after.last
	}
	r.tree.ReplaceOrInsert(now)
}

// neighbour is around for a value that may be beyond the last one of its family.
func (r *runs) neighbour(v netip.Addr) (run, bool) {
	if !v.IsValid() {
		return run{}, false
	}
	return r.around(v)
}

func (r *runs) remove(v netip.Addr) {
	x, ok := r.around(v)
	if !ok {
		return
	}
	r.tree.Delete(x)
	if x.first != v {
		r.tree.ReplaceOrInsert(run{x.first, v.Prev()})
	}
	if x.last != v {
		r.tree.ReplaceOrInsert(run{v.Next(), x.last})
	}
}

// free returns the next value at or beyond v that is not in the set, upwards
// or downwards; an invalid one where there is none.
func (r *runs) free(v netip.Addr, down bool) netip.Addr {
	x, ok := r.neighbour(v)
	switch {
	case !ok:
		return v
	case down:
		return x.first.Prev()
	}
	return x.last.Next()
}

func (r *runs) empty() bool { return r.tree.Len() == 0 }
