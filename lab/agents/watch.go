// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"context"
	"sync"
	"time"

	"github.com/weft-network/weft/api/hoststream"
)

// watch notes when changes that were made have arrived at all hosts that they
// concern.
type watch struct {
	mu      sync.Mutex // guards everything that follows
	changes map[string]*change
	late    []time.Duration // of changes that arrived everywhere
	open    int             // changes that did not yet
	taken   int             // rows, by all hosts
}

// change is a row that is on its way to several hosts.
type change struct {
	hosts  int       // where it has not arrived
	of     int       // rows
	stored time.Time // when the API said that it is stored; zero: not yet
	last   time.Time // when it arrived at the last host so far
}

func newWatch() *watch { return &watch{changes: map[string]*change{}} }

// expect begins to wait for a row to arrive, or to go, at some hosts.
func (w *watch) expect(key string, hosts int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes[key] = &change{hosts: hosts}
	w.open++
}

// expectAll begins to wait for rows that are each of one host, and become others
// by one change. The outcome says when the change was stored.
func (w *watch) expectAll(keys []string) (stored func(at time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(keys) == 0 {
		return func(time.Time) {}
	}
	c := &change{hosts: len(keys), of: len(keys)}
	for _, key := range keys {
		w.changes[key] = c
	}
	w.open++
	return func(at time.Time) {
		w.mu.Lock()
		defer w.mu.Unlock()
		c.stored = at
		w.settle(keys[0], c)
	}
}

// rows is how many were taken so far.
func (w *watch) rows() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken
}

// stored says that the API acknowledged the change.
func (w *watch) stored(key string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.changes[key]; c != nil {
		c.stored = at
		w.settle(key, c)
	}
}

// seen notes what a host took; its acknowledgement follows at once.
func (w *watch) seen(d *hoststream.Delta) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken += len(d.Put) + len(d.Delete)
	if len(w.changes) == 0 {
		return
	}
	now := time.Now()
	note := func(key string) {
		if c := w.changes[key]; c != nil {
			c.hosts--
			c.last = now
			if w.settle(key, c); c.of > 1 {
				delete(w.changes, key) // it comes once
			}
		}
	}
	for _, r := range d.Put {
		note(r.Key)
	}
	for _, key := range d.Delete {
		note(key)
	}
}

// settle counts a change that is stored and has arrived everywhere.
func (w *watch) settle(key string, c *change) {
	if c.hosts > 0 || c.stored.IsZero() {
		return
	}
	delete(w.changes, key)
	w.late = append(w.late, max(0, c.last.Sub(c.stored)))
	w.open--
}

// wait waits, for a while at most, until all changes have arrived.
func (w *watch) wait(ctx context.Context, atMost time.Duration) error {
	for end := time.Now().Add(atMost); time.Now().Before(end); {
		w.mu.Lock()
		open := w.open
		w.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
	return nil
}

// take returns what was measured, and how many changes have not arrived, for
// which nobody waits any more.
func (w *watch) take() (late []time.Duration, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	late, open = w.late, w.open
	w.late, w.open, w.changes = nil, 0, map[string]*change{}
	return late, open
}
