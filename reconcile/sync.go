// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Target is what a Sync makes equal to the desired rows.
type Target[K comparable, V any] interface {
	// Update makes the row be there with this value. Doing it again changes nothing.
	Update(ctx context.Context, key K, value V) error
	// Delete makes the row not be there. That it is not there is success.
	Delete(ctx context.Context, key K) error
	// Owned returns all rows that carry our mark, and no others.
	Owned(ctx context.Context) (map[K]V, error)
}

// State is how far a row has come.
type State string

// The states of a row.
const (
	Pending State = "pending" // not tried yet, or waiting for another row
	Done    State = "done"    // the target has it
	Failed  State = "failed"  // the last attempt failed; it will be tried again
)

// Status is the state of one row.
type Status struct {
	State    State
	Error    string // why not done, in words
	Attempts int    // failed ones since the last success or change
	// Next is when the row is tried again; zero means in the next round.
	Next time.Time
}

// DefaultBatch bounds the steps of one call, so that a large change does not
// keep the owner from everything else for long.
const DefaultBatch = 4096

// Options say how a Sync treats its rows. Compare and Equal are required.
type Options[K comparable, V any] struct {
	Name    string // of the kind of row, for errors
	Compare func(a, b K) int
	Equal   func(a, b V) bool
	// Ready returns why a row may not be updated yet (something it refers to
	// is not there), or nil. A row that waits is pending, not failed.
	Ready func(key K, value V) error
	// Free returns why a row may not be deleted yet (something refers to it).
	Free    func(key K) error
	Backoff Backoff
	Batch   int // steps a call; DefaultBatch if 0
}

// held is a row that the target has or may have.
type held[V any] struct {
	value V
	known bool // false after a failed operation: it may be there, with any value
	had   bool // it was there before that
}

// Sync keeps the rows of one kind equal to what is desired.
type Sync[K comparable, V any] struct {
	options Options[K, V]
	target  Target[K, V]
	want    map[K]V
	have    map[K]held[V]
	status  map[K]Status // of rows that are wanted or on their way out
	todo    map[K]Op
}

// New returns a Sync without rows. Call Load before the first step.
func New[K comparable, V any](target Target[K, V], options Options[K, V]) *Sync[K, V] {
	if options.Compare == nil || options.Equal == nil {
		panic("reconcile: Options of " + options.Name + " without Compare or Equal")
	}
	if options.Batch == 0 {
		options.Batch = DefaultBatch
	}
	return &Sync[K, V]{
		options: options,
		target:  target,
		want:    map[K]V{},
		have:    map[K]held[V]{},
		status:  map[K]Status{},
		todo:    map[K]Op{},
	}
}

// Load reads what the target has. Rows found there that nobody wants stay
// until Sweep.
func (s *Sync[K, V]) Load(ctx context.Context) error {
	owned, err := s.target.Owned(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.options.Name, err)
	}
	clear(s.have)
	for k, v := range owned {
		s.have[k] = held[V]{v, true, true}
	}
	for k, v := range s.want {
		s.consider(k, v)
	}
	return nil
}

// Want makes the desired rows exactly these. A row that was wanted and is not
// any more will be deleted; a row that was never wanted is left for Sweep.
func (s *Sync[K, V]) Want(rows map[K]V) {
	for k := range s.want {
		if _, ok := rows[k]; !ok {
			s.Remove(k)
		}
	}
	for k, v := range rows {
		s.Put(k, v)
	}
}

// Put makes a row wanted with this value.
func (s *Sync[K, V]) Put(key K, value V) {
	old, wanted := s.want[key]
	s.want[key] = value
	if wanted && s.options.Equal(old, value) {
		return
	}
	s.consider(key, value)
}

// consider decides whether a wanted row needs work.
func (s *Sync[K, V]) consider(key K, value V) {
	if h, ok := s.have[key]; ok && h.known && s.options.Equal(h.value, value) {
		delete(s.todo, key)
		s.status[key] = Status{State: Done}
		return
	}
	s.todo[key] = OpUpdate
	s.status[key] = Status{State: Pending}
}

// Remove makes a row unwanted; it will be deleted if it was wanted or is there.
func (s *Sync[K, V]) Remove(key K) {
	if op, busy := s.todo[key]; busy && op == OpDelete {
		return
	}
	_, wanted := s.want[key]
	if !wanted {
		return
	}
	delete(s.want, key)
	delete(s.status, key)
	delete(s.todo, key)
	if _, there := s.have[key]; there {
		s.todo[key] = OpDelete
		s.status[key] = Status{State: Pending}
	}
}

// Lost notes that the target has a row no more, by no doing of ours.
func (s *Sync[K, V]) Lost(key K) {
	if _, there := s.have[key]; !there {
		return
	}
	delete(s.have, key)
	if _, busy := s.todo[key]; busy {
		delete(s.todo, key)
		delete(s.status, key)
	}
	if value, wanted := s.want[key]; wanted {
		s.consider(key, value)
	}
}

// Sweep schedules the deletion of every row that is there and not wanted. Its
// caller vouches that the desired rows are complete.
func (s *Sync[K, V]) Sweep() {
	for k := range s.have {
		if _, wanted := s.want[k]; wanted {
			continue
		}
		if _, already := s.todo[k]; !already {
			s.todo[k] = OpDelete
			s.status[k] = Status{State: Pending}
		}
	}
}

// Updates performs the updates that are due, at most a batch, and tells how
// many succeeded.
func (s *Sync[K, V]) Updates(ctx context.Context, now time.Time) int {
	return s.perform(ctx, now, OpUpdate)
}

// Deletes performs the deletions that are due, at most a batch, and tells how
// many succeeded.
func (s *Sync[K, V]) Deletes(ctx context.Context, now time.Time) int {
	return s.perform(ctx, now, OpDelete)
}

func (s *Sync[K, V]) perform(ctx context.Context, now time.Time, op Op) int {
	var due []K
	for k, o := range s.todo {
		if o == op && !s.status[k].Next.After(now) {
			due = append(due, k)
		}
	}
	slices.SortFunc(due, s.options.Compare)
	if op == OpDelete {
		slices.Reverse(due)
	}
	done, tried := 0, 0
	for _, k := range due {
		if tried == s.options.Batch || ctx.Err() != nil {
			break
		}
		if err := s.blocked(op, k); err != nil {
			s.status[k] = Status{State: Pending, Error: err.Error(), Attempts: s.status[k].Attempts}
			continue
		}
		tried++
		if s.step(ctx, now, op, k) {
			done++
		}
	}
	return done
}

// blocked returns why a step must wait for another row.
func (s *Sync[K, V]) blocked(op Op, key K) error {
	switch {
	case op == OpUpdate && s.options.Ready != nil:
		return s.options.Ready(key, s.want[key])
	case op == OpDelete && s.options.Free != nil:
		return s.options.Free(key)
	}
	return nil
}

func (s *Sync[K, V]) step(ctx context.Context, now time.Time, op Op, key K) bool {
	var err error
	if op == OpUpdate {
		err = s.target.Update(ctx, key, s.want[key])
	} else {
		err = s.target.Delete(ctx, key)
	}
	if err != nil {
		h := s.have[key]
		h.known = false
		s.have[key] = h
		n := s.status[key].Attempts + 1
		s.status[key] = Status{
			State:    Failed,
			Error:    fmt.Sprintf("%s %s %v: %v", op, s.options.Name, key, err),
			Attempts: n,
			Next:     now.Add(s.options.Backoff.After(n)),
		}
		return false
	}
	delete(s.todo, key)
	if op == OpUpdate {
		s.have[key] = held[V]{s.want[key], true, true}
		s.status[key] = Status{State: Done}
	} else {
		delete(s.have, key)
		delete(s.status, key)
	}
	return true
}

// Status returns the state of a wanted row, or of one on its way out.
func (s *Sync[K, V]) Status(key K) (Status, bool) {
	st, ok := s.status[key]
	return st, ok
}

// Applied returns the value the target is known to have.
func (s *Sync[K, V]) Applied(key K) (V, bool) {
	h, ok := s.have[key]
	if !ok || !h.known {
		var none V
		return none, false
	}
	return h.value, true
}

// EachHad calls f with every row that the target has or may have; with the last
// value that it is known to have had where the last operation failed.
func (s *Sync[K, V]) EachHad(f func(key K, value V)) {
	for k, h := range s.have {
		f(k, h.value)
	}
}

// Had tells whether the target has the row, or had it before an operation on it
// failed: where a failed operation changes nothing, it is there.
func (s *Sync[K, V]) Had(key K) bool { return s.have[key].had }

// EachWaiting calls f with every wanted row that the target does not have as it
// is wanted.
func (s *Sync[K, V]) EachWaiting(f func(key K, status Status)) {
	for k, op := range s.todo {
		if op == OpUpdate {
			f(k, s.status[k])
		}
	}
}

// MayHave tells whether the target has the row, or may have it because the
// last operation on it failed.
func (s *Sync[K, V]) MayHave(key K) bool {
	_, ok := s.have[key]
	return ok
}

// Removes tells whether rows are on their way out.
func (s *Sync[K, V]) Removes() bool {
	for _, op := range s.todo {
		if op == OpDelete {
			return true
		}
	}
	return false
}

// Wanted returns a copy of the desired rows.
func (s *Sync[K, V]) Wanted() map[K]V { return maps.Clone(s.want) }

// Settled tells whether nothing is left to do.
func (s *Sync[K, V]) Settled() bool { return len(s.todo) == 0 }

// NextAttempt returns when the earliest failed row is due again; false if
// there is none. Rows that wait for other rows are not counted: the other
// row's success is what wakes them.
func (s *Sync[K, V]) NextAttempt() (time.Time, bool) {
	var next time.Time
	for k := range s.todo {
		st := s.status[k]
		if st.State != Failed {
			continue
		}
		if next.IsZero() || st.Next.Before(next) {
			next = st.Next
		}
	}
	return next, !next.IsZero()
}
