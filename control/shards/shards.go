// SPDX-License-Identifier: Apache-2.0

// Package shards has the tables of what control derives: maps that never change,
// of which a computation makes others that share what is equal in both.
package shards

import (
	"hash/maphash"
	"maps"
)

// count is how many parts a map has: a change copies a 256th of it.
const count = 256

var seed = maphash.MakeSeed() // nothing depends on which part something is in

func shardOf[K comparable](key K) int { return int(maphash.Comparable(seed, key) % count) }

// Map never changes but in the hands of its Writer. Those made from one another
// share the parts in which they are equal.
type Map[K comparable, V any] [count]map[K]V

// Get returns what is under a key.
func (m *Map[K, V]) Get(key K) (v V, ok bool) {
	v, ok = m[shardOf(key)][key]
	return v, ok
}

// All yields what is in it, in no order.
func (m *Map[K, V]) All(yield func(K, V) bool) {
	for _, part := range m {
		for k, v := range part {
			if !yield(k, v) {
				return
			}
		}
	}
}

// Len counts what is in it.
func (m *Map[K, V]) Len() (n int) {
	for _, part := range m {
		n += len(part)
	}
	return n
}

// Writer changes a copy of a map that is one computation's own.
type Writer[K comparable, V any] struct {
	*Map[K, V]
	own [count]bool
}

func (w *Writer[K, V]) part(key K) map[K]V {
	i := shardOf(key)
	if !w.own[i] {
		w.own[i] = true
		if w.Map[i] = maps.Clone(w.Map[i]); w.Map[i] == nil {
			w.Map[i] = map[K]V{}
		}
	}
	return w.Map[i]
}

// Put puts a value under a key.
func (w *Writer[K, V]) Put(key K, v V) { w.part(key)[key] = v }

// Remove takes away what is under a key; nothing is copied if nothing is.
func (w *Writer[K, V]) Remove(key K) {
	if _, has := w.Get(key); has {
		delete(w.part(key), key)
	}
}
