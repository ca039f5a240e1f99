// SPDX-License-Identifier: Apache-2.0

package cache

import "github.com/weft-network/weft/api"

// batch is the changes that lead to one revision.
type batch struct {
	revision int64
	events   []api.Event // all of them puts where it is whole
	whole    bool        // everything there is; what is not in it is gone
}

// follower turns the events of a watch into batches of whole revisions: first
// one of everything, then one a revision. It decides, and does nothing.
type follower struct {
	synced   bool
	revision int64 // of the pending events
	pending  []api.Event
	place    map[string]int // in pending, by UUID, as an event may come again
}

// held is how many events are waiting for their revision to be complete.
func (f *follower) held() int { return len(f.pending) }

// step takes an event in and returns the batches that are complete by it.
func (f *follower) step(e api.Event) []batch {
	var done []batch
	if e.Type == api.EventBookmark {
		if !f.synced {
			f.synced = true
			return []batch{f.take(e.Revision, true)}
		}
		if len(f.pending) > 0 && f.revision < e.Revision {
			done = append(done, f.take(f.revision, false))
		}
		return append(done, f.take(e.Revision, false))
	}
	if f.synced && len(f.pending) > 0 && e.Revision > f.revision {
		done = append(done, f.take(f.revision, false))
	}
	f.revision = e.Revision
	uuid := e.Object.Head().Meta.UUID
	if i, ok := f.place[uuid]; ok {
		f.pending[i] = e
		return done
	}
	if f.place == nil {
		f.place = map[string]int{}
	}
	f.place[uuid] = len(f.pending)
	f.pending = append(f.pending, e)
	return done
}

// take empties what is pending.
func (f *follower) take(revision int64, whole bool) batch {
	b := batch{revision: revision, events: f.pending, whole: whole}
	f.pending, f.place = nil, nil
	return b
}
