// SPDX-License-Identifier: Apache-2.0

package store

import "github.com/weft-network/weft/api"

// since is what a followed snapshot knows of how it came about.
type since struct {
	history  *history
	revision int64 // of etcd, where the snapshot's own is that of its last change
}

// followed returns the same state under the revision that made it, with the
// events that led to it.
func (s *Snapshot) followed(h *history) *Snapshot {
	c := s.asChanged()
	c.since = &since{h, s.revision}
	return c
}

// Since returns the events that lead from an earlier snapshot of the same
// Follow to this one, in order. It reports false where they are not known, or
// no longer in memory: then anything may be different.
func (s *Snapshot) Since(earlier api.Snapshot) ([]api.Event, bool) {
	e, ok := earlier.(*Snapshot)
	if !ok || s.since == nil || e.since == nil || e.since.history != s.since.history || e.epoch != s.epoch {
		return nil, false
	}
	var events []api.Event
	for at := e.since.revision; ; {
		b, remembered, _ := s.since.history.after(at)
		switch {
		case !remembered:
			return nil, false
		case b.revision <= at || b.revision > s.since.revision:
			return events, true
		}
		events = append(events, b.events...)
		at = b.revision
	}
}
