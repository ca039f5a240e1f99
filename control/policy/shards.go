// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"hash/maphash"
	"maps"
)

// shardCount is how many parts a table has: a change copies a 256th of it.
const shardCount = 256

var shardSeed = maphash.MakeSeed() // nothing depends on which part something is in

func shardOf[K comparable](key K) int { return int(maphash.Comparable(shardSeed, key) % shardCount) }

// shards is a map that never changes. Those made from one another share the
// parts in which they are equal.
type shards[K comparable, V any] [shardCount]map[K]V

func (s *shards[K, V]) get(key K) (v V, ok bool) {
	v, ok = s[shardOf(key)][key]
	return v, ok
}

// all yields what is in it, in no order.
func (s *shards[K, V]) all(yield func(K, V) bool) {
	for _, part := range s {
		for k, v := range part {
			if !yield(k, v) {
				return
			}
		}
	}
}

func (s *shards[K, V]) len() (n int) {
	for _, part := range s {
		n += len(part)
	}
	return n
}

// writer changes a copy of shards that is this computation's own.
type writer[K comparable, V any] struct {
	*shards[K, V]
	own [shardCount]bool
}

func (w *writer[K, V]) part(key K) map[K]V {
	i := shardOf(key)
	if !w.own[i] {
		w.own[i] = true
		if w.shards[i] = maps.Clone(w.shards[i]); w.shards[i] == nil {
			w.shards[i] = map[K]V{}
		}
	}
	return w.shards[i]
}

func (w *writer[K, V]) put(key K, v V) { w.part(key)[key] = v }

func (w *writer[K, V]) remove(key K) { delete(w.part(key), key) }

// list is some things in no order, of the computation that made it, which may
// change it; others copy it first.
type list[T comparable] struct {
	turn *turn
	of   []T
}

// turn is one computation: what it made it may change.
type turn struct{ _ byte }

func (l *list[T]) with(t *turn, v T) *list[T] {
	l = l.owned(t)
	l.of = append(l.of, v)
	return l
}

// without takes one of v out; nil: nothing is left.
func (l *list[T]) without(t *turn, v T) *list[T] {
	l = l.owned(t)
	for i := range l.of {
		if l.of[i] == v {
			last := len(l.of) - 1
			l.of[i] = l.of[last]
			l.of = l.of[:last]
			break
		}
	}
	if len(l.of) == 0 {
		return nil
	}
	return l
}

func (l *list[T]) owned(t *turn) *list[T] {
	switch {
	case l == nil:
		return &list[T]{turn: t}
	case l.turn == t:
		return l
	}
	return &list[T]{turn: t, of: append(make([]T, 0, len(l.of)+1), l.of...)}
}

// items are what is in it; nothing of none.
func (l *list[T]) items() []T {
	if l == nil {
		return nil
	}
	return l.of
}

// add and drop keep lists in a table.
func add[K, T comparable](w *writer[K, *list[T]], t *turn, key K, v T) {
	l, _ := w.get(key)
	if now := l.with(t, v); now != l {
		w.put(key, now)
	}
}

func drop[K, T comparable](w *writer[K, *list[T]], t *turn, key K, v T) {
	l, ok := w.get(key)
	if !ok {
		return
	}
	if now := l.without(t, v); now == nil {
		w.remove(key)
	} else if now != l {
		w.put(key, now)
	}
}

// noted is a set in the order in which things came: what came together is
// computed together, while it is near.
type noted[K comparable] struct {
	in    map[K]bool
	order []K
}

func (n *noted[K]) has(k K) bool { return n.in[k] }

func (n *noted[K]) add(k K) {
	if n.in[k] {
		return
	}
	if n.in == nil {
		n.in = map[K]bool{}
	}
	n.in[k] = true
	n.order = append(n.order, k)
}

// held is something that others refer to, with how many do.
type held[T any] struct {
	is   T
	refs int
}
