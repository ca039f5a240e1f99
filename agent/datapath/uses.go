// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"maps"
	"slices"
)

// uses knows what the entries of a table may refer to, and how many entries may refer
// to each: what none does may go.
type uses[K, R comparable] struct {
	of   map[K][]R // two or more after a failed change
	refs map[R]int
}

func newUses[K, R comparable]() uses[K, R] {
	return uses[K, R]{of: map[K][]R{}, refs: map[R]int{}}
}

// use notes that the kernel's entry may have this, too.
func (u *uses[K, R]) use(key K, what R) {
	if !slices.Contains(u.of[key], what) {
		u.of[key] = append(u.of[key], what)
		u.refs[what]++
	}
}

// settle notes that the kernel's entry now has only this, or is gone.
func (u *uses[K, R]) settle(key K, now ...R) {
	for _, what := range u.of[key] {
		if u.refs[what]--; u.refs[what] == 0 {
			delete(u.refs, what)
		}
	}
	delete(u.of, key)
	for _, what := range now {
		u.use(key, what)
	}
}

// settleAll forgets everything, before a table is read.
func (u *uses[K, R]) settleAll() {
	for _, key := range slices.Collect(maps.Keys(u.of)) {
		u.settle(key)
	}
}
