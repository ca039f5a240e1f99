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
}

// change is a row that is on its way to several hosts.
type change struct {
	hosts  int       // where it has not arrived
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
	if len(w.changes) == 0 {
		return
	}
	now := time.Now()
	note := func(key string) {
		if c := w.changes[key]; c != nil {
			c.hosts--
			c.last = now
			w.settle(key, c)
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

// take returns what was measured, and how many changes have not arrived.
func (w *watch) take() (late []time.Duration, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	late, w.late = w.late, nil
	return late, w.open
}
