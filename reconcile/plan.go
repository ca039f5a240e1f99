// SPDX-License-Identifier: Apache-2.0

package reconcile

import "slices"

// Op is what a step does.
type Op int

// The operations of a plan, in the order in which a plan lists them.
const (
	OpUpdate Op = iota
	OpDelete
)

func (o Op) String() string {
	if o == OpUpdate {
		return "update"
	}
	return "delete"
}

// Step is one operation that brings the actual closer to the desired.
type Step[K comparable, V any] struct {
	Op    Op
	Key   K
	Value V // of an update
}

// Plan lists the steps from have to want: updates in the order of compare,
// then deletes in the reverse order, so that what was built last goes first.
func Plan[K comparable, V any](want, have map[K]V, compare func(a, b K) int, equal func(a, b V) bool) []Step[K, V] {
	var updates, deletes []Step[K, V]
	for k, v := range want {
		if old, ok := have[k]; !ok || !equal(old, v) {
			updates = append(updates, Step[K, V]{OpUpdate, k, v})
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			deletes = append(deletes, Step[K, V]{Op: OpDelete, Key: k})
		}
	}
	slices.SortFunc(updates, func(a, b Step[K, V]) int { return compare(a.Key, b.Key) })
	slices.SortFunc(deletes, func(a, b Step[K, V]) int { return compare(b.Key, a.Key) })
	return append(updates, deletes...)
}
