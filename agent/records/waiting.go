// SPDX-License-Identifier: Apache-2.0

package records

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	// kept is how many records of frames wait for those who ask.
	kept = 8192
	// answered is how many of them one answer has.
	answered = 2000
)

// waiting are the records of one kind that wait for those who ask, the oldest
// first. Whoever has a lock guards it.
type waiting struct {
	fair     bool // of more than are kept, the ports with most lose theirs
	all      []api.Record
	began    uint64 // the sequence before the first one of this run
	sequence uint64 // of the last
}

// newWaiting begins anew. A sequence is never given twice, so that one who asks
// after a restart goes on: nobody records a million frames a second.
func newWaiting(fair bool) waiting {
	now := uint64(time.Now().UnixMicro())
	return waiting{fair: fair, began: now, sequence: now}
}

// add numbers records and keeps the last ones.
func (w *waiting) add(all []api.Record) {
	for i := range all {
		w.sequence++
		all[i].Sequence = w.sequence
	}
	w.all = append(w.all, all...)
	switch over := len(w.all) - kept; {
	case over <= 0:
	case w.fair:
		w.all = fairly(w.all)
	default:
		w.all = append(w.all[:0:0], w.all[over:]...)
	}
}

// fairly keeps the last records of each port, of none more than its share.
func fairly(all []api.Record) []api.Record {
	counts := map[string]int{}
	for i := range all {
		counts[whose(&all[i])]++
	}
	share := shareOf(slices.Sorted(maps.Values(counts)))
	left := make([]api.Record, 0, kept)
	for i := range all {
		if of := whose(&all[i]); counts[of] > share {
			counts[of]--
		} else {
			left = append(left, all[i])
		}
	}
	return left
}

// shareOf is how many records each port may have that has more: what those with few
// leave the others share. counts are in order.
func shareOf(counts []int) int {
	room := kept
	for i, n := range counts {
		if share := room / (len(counts) - i); n > share {
			return share
		}
		room -= n
	}
	return kept
}

// whose names the end that a record is of: the interface of its port, which a
// sub-port has not.
func whose(r *api.Record) string {
	id := r.Source.ID
	if r.Direction == ingress {
		id = r.Destination.ID
	}
	return cmp.Or(r.Interface, id)
}

// here is the record that only says where to go on.
func (w *waiting) here(host string, now time.Time) api.Record {
	return api.Record{Sequence: w.sequence, Time: now, Record: api.RecordLost, Host: host}
}

// after returns what was recorded after a sequence. The first record says how
// many there were that are not kept any more; of a former run nobody knows.
func (w *waiting) after(q api.RecordQuestion, host string, now time.Time) []api.Record {
	first := w.here(host, now)
	first.Sequence = q.After
	all, here := []api.Record{first}, uint64(0)
	for i := range w.all {
		e := &w.all[i]
		if e.Sequence <= q.After {
			continue
		}
		here++
		all[0].Sequence = e.Sequence // also of those that do not match: nobody need look at them again
		if !q.Matches(e) {
			continue
		}
		if all = append(all, *e); len(all) > answered {
			break
		}
	}
	if q.After >= w.began {
		all[0].Lost = all[0].Sequence - q.After - here
	}
	return all
}

// past returns what was recorded since then, the newest first, and how many of
// them are too many for an answer.
func (w *waiting) past(q api.RecordQuestion, now time.Time) (all []api.Record, left uint64) {
	for i := len(w.all) - 1; i >= 0; i-- {
		e := &w.all[i]
		if e.Time.Before(now.Add(-q.Since)) {
			break
		}
		switch {
		case !q.Matches(e):
		case len(all) < answered:
			all = append(all, *e)
		default:
			left++
		}
	}
	return all, left
}
