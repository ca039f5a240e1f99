// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/weft-network/weft/control/shards"

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
func add[K, T comparable](w *shards.Writer[K, *list[T]], t *turn, key K, v T) {
	l, _ := w.Get(key)
	if now := l.with(t, v); now != l {
		w.Put(key, now)
	}
}

func drop[K, T comparable](w *shards.Writer[K, *list[T]], t *turn, key K, v T) {
	l, ok := w.Get(key)
	if !ok {
		return
	}
	if now := l.without(t, v); now == nil {
		w.Remove(key)
	} else if now != l {
		w.Put(key, now)
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
