// SPDX-License-Identifier: Apache-2.0

package store

import (
	"sync"

	"github.com/weft-network/weft/api"
)

// historyEvents is how many events are kept in memory for watches; older ones
// are read from etcd. At about 1 KiB each beyond the object itself: 16 MB.
const historyEvents = 16384

// batch is all events of one revision.
type batch struct {
	revision int64
	events   []api.Event
	sights   []sighting // who sees the events, in their order, and what changes for whom besides
}

// history is the newest snapshot and the events that led to it.
type history struct {
	// mu guards everything that follows.
	mu      sync.Mutex
	newest  *Snapshot
	changed chan struct{} // closed and replaced whenever newest changes
	// batches hold every event after revision start up to the newest.
	batches []batch
	start   int64
	events  int // in batches
}

func newHistory(s *Snapshot) *history {
	return &history{newest: s, changed: make(chan struct{}), start: s.revision}
}

// add makes a snapshot the newest and remembers the events that led to it.
func (h *history) add(s *Snapshot, events []api.Event, sights []sighting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newest = s
	if len(events)+len(sights) > 0 {
		h.batches = append(h.batches, batch{s.revision, events, sights})
		h.events += len(events)
	}
	for h.events > historyEvents && len(h.batches) > 1 {
		h.start = h.batches[0].revision
		h.events -= len(h.batches[0].events)
		h.batches[0] = batch{} // let the objects go
		h.batches = h.batches[1:]
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// latest returns the newest snapshot and a channel that closes when there is a newer one.
func (h *history) latest() (*Snapshot, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest, h.changed
}

// after returns the first batch after a revision, or none and the revision
// that is known to bring nothing new, with a channel that closes when there is
// more. It reports false where the events of that revision are forgotten.
func (h *history) after(revision int64) (batch, bool, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if revision < h.start {
		return batch{}, false, nil
	}
	lo, hi := 0, len(h.batches)
	for lo < hi { // the first batch with a greater revision
		if mid := (lo + hi) / 2; h.batches[mid].revision > revision {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo < len(h.batches) {
		return h.batches[lo], true, h.changed
	}
	return batch{revision: h.newest.revision}, true, h.changed
}

// oldest is the revision after which all events are remembered.
func (h *history) oldest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.start
}
