// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"hash/maphash"
	"maps"
)

// parts is how many parts a table has: a change copies one of them.
const parts = 256

var seed = maphash.MakeSeed() // nothing depends on which part something is in

// table is a map that never changes but in the hands of who made it. Those made
// from one another share the parts in which they are equal.
type table[K comparable, V any] [parts]map[K]V

func partOf[K comparable](key K) int { return int(maphash.Comparable(seed, key) % parts) }

func (t *table[K, V]) get(key K) (v V, ok bool) {
	v, ok = t[partOf(key)][key]
	return v, ok
}

// all yields what is in it, in no order.
func (t *table[K, V]) all(yield func(K, V) bool) {
	for _, part := range t {
		for k, v := range part {
			if !yield(k, v) {
				return
			}
		}
	}
}

// writer changes a table that this computation copied.
type writer[K comparable, V any] struct {
	*table[K, V]
	own [parts]bool
}

func (w *writer[K, V]) part(key K) map[K]V {
	i := partOf(key)
	if !w.own[i] {
		w.own[i] = true
		if w.table[i] = maps.Clone(w.table[i]); w.table[i] == nil {
			w.table[i] = map[K]V{}
		}
	}
	return w.table[i]
}

func (w *writer[K, V]) put(key K, v V) { w.part(key)[key] = v }

func (w *writer[K, V]) remove(key K) {
	if _, has := w.get(key); has {
		delete(w.part(key), key)
	}
}
