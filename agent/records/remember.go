// SPDX-License-Identifier: Apache-2.0

package records

import (
	"sync"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// maxEnded bounds the conversations that are remembered after they ended, of
// some 150 bytes each.
const maxEnded = 1 << 14

// ended remembers conversations that were removed from the kernel's tables. They
// get names when somebody asks: by then most of their ports are still there.
type ended struct {
	mu    sync.Mutex
	since time.Time // nothing that ended later is missing, but what made room for others
	ring  []endedOne
	next  int // the oldest, once the ring is full
}

type endedOne struct {
	end
	at time.Time
}

// Ended takes a conversation that is removed from the tables: it was idle for
// too long, or over. It costs no more than a copy.
func (r *Recorder) Ended(key vrouter.ConnectionKey, c vrouter.Connection) {
	e := &r.past
	e.mu.Lock()
	defer e.mu.Unlock()
	one := endedOne{end{key, c}, time.Now()}
	if len(e.ring) < maxEnded {
		e.ring = append(e.ring, one)
		return
	}
	e.since = e.ring[e.next].at
	e.ring[e.next] = one
	e.next = (e.next + 1) % maxEnded
}

// after are those that ended after a time, and since when none is missing.
func (e *ended) after(t time.Time) (all []endedOne, since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.ring {
		if last := one.at.Add(-one.Idle); last.After(t) {
			all = append(all, one)
		}
	}
	return all, e.since
}

// remembered are records of conversations that ended in the time that a question
// names, and how many more there are.
func (d directory) remembered(all []endedOne, q api.RecordQuestion) (out []api.Record, left uint64) {
	ends := make([]end, len(all))
	for i := range all {
		ends[i] = all[i].end
	}
	known := endsByKey(ends)
	for _, one := range all {
		if row, there := d.ports[one.key.Ifindex]; !there || datapath.PortNumber(row.ID) != one.Port || one.unasked() {
			continue
		}
		f, told := d.flow(one.end, one.at, known)
		if !told || !q.Matches(&f) {
			continue
		}
		if len(out) == maxFlows {
			left++
			continue
		}
		f.Record = api.RecordEnd
		out = append(out, f)
	}
	return out, left
}

// unasked tells whether the host itself began: policy was not asked.
func (e end) unasked() bool { return e.State&vrouter.ConnectionUnasked != 0 }

// pastFlows adds to the conversations of now those that ended since then, and what
// there is not: how many more there are, and since when the host remembers.
func (r *Recorder) pastFlows(d directory, q api.RecordQuestion, now time.Time) []api.Record {
	all, since := r.past.after(now.Add(-q.Since))
	out, left := d.remembered(all, q)
	return append(out, api.Record{Time: now, Record: api.RecordLost, Lost: left, Start: &since})
}

// pastEvents are the frames recorded since then. The first record says since when
// frames are recorded; without a start, they are not.
func (r *Recorder) pastEvents(q api.RecordQuestion, now time.Time) []api.Record {
	first := r.recent.here(r.options.Host, now)
	if r.setting.Drops {
		since := r.recording
		if all := r.recent.all; len(all) == kept && all[0].Time.After(since) {
			since = all[0].Time
		}
		first.Start = &since
	}
	all, _ := r.recent.past(q, now)
	return append([]api.Record{first}, all...)
}
