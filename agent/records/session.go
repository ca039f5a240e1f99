// SPDX-License-Identifier: Apache-2.0

package records

import (
	"time"

	"github.com/weft-network/weft/agent/expire"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// session is a conversation at one end, from when it was first seen to when it
// is over.
type session struct {
	end
	made time.Time // about
	told time.Time // of the last record
	// What was counted before, since counts belong to an entry and a session may
	// be the second one of its entry.
	base, before counts
	heardOther   api.Traffic // of what the other end sent, what was told
	seen         uint64      // round of the last look
}

// counts are what an end has sent and heard.
type counts struct{ sent, heard api.Traffic }

func (c counts) since(was counts) counts {
	return counts{
		sent:  api.Traffic{Packets: c.sent.Packets - was.sent.Packets, Bytes: c.sent.Bytes - was.sent.Bytes},
		heard: api.Traffic{Packets: c.heard.Packets - was.heard.Packets, Bytes: c.heard.Bytes - was.heard.Bytes},
	}
}

// change is what there is to tell of a session.
type change struct {
	end
	session *session
	record  string // one of the words api.Record…
	why     string // how it ended
	made    time.Time
	total   counts // since it began
	added   counts // since the last record
}

// The words for how a session ended.
const (
	endedClosed = "closed"
	endedIdle   = "idle"
	endedGone   = "gone" // its port went, or it made room for others
)

// sessions follow conversations from look to look. It has no clock and no I/O.
type sessions struct {
	known map[vrouter.ConnectionKey]*session
	ended map[vrouter.ConnectionKey]*session                                // in the last look
	limit func(protocol uint8, state vrouter.ConnectionState) time.Duration // of idle connections
	every time.Duration                                                     // at least so often a session that goes on is told
	max   int
	round uint64
	over  uint64 // ends that found no room, all looks together
}

func newSessions(limit func(uint8, vrouter.ConnectionState) time.Duration, every time.Duration, max int) *sessions {
	return &sessions{limit: limit, known: map[vrouter.ConnectionKey]*session{}, every: every, max: max}
}

// look takes all ends there are, and returns what is to be told.
func (s *sessions) look(ends []end, now time.Time) (changes []change) {
	s.round++
	s.ended = map[vrouter.ConnectionKey]*session{}
	for _, e := range ends {
		x, known := s.known[e.key]
		switch {
		case !known && len(s.known) >= s.max:
			s.over++
			continue
		case !known:
			x = &session{end: e, made: now.Add(-e.Age)}
			s.known[e.key] = x
			changes = append(changes, x.tell(api.RecordStart, "", now))
		case x.isOver(e):
			changes = append(changes, x.tell(api.RecordEnd, s.ending(x), now))
			fresh := &session{end: e, made: now.Add(-e.Idle), base: x.before, before: x.before}
			if e.Port != x.Port || e.counts().less(x.before) { // another entry
				fresh.base, fresh.before = counts{}, counts{}
			}
			s.known[e.key], x = fresh, fresh
			changes = append(changes, x.tell(api.RecordStart, "", now))
		default:
			x.end = e
			if now.Sub(x.told) >= s.every {
				changes = append(changes, x.tell(api.RecordUpdate, "", now))
			}
		}
		x.seen = s.round
	}
	for key, x := range s.known {
		if x.seen != s.round {
			changes = append(changes, x.tell(api.RecordEnd, s.ending(x), now))
			s.ended[key] = x
			delete(s.known, key)
		}
	}
	return changes
}

// isOver tells whether what is there now is another session: the entry is of
// another port, began anew, or was closed and is not any more.
func (x *session) isOver(e end) bool {
	return e.Port != x.Port || e.counts().less(x.before) || progress(e.State) < progress(x.State)
}

// progress falls when the same ports are used once more, or seldom when a reset was
// none: that is told as another session.
func progress(s vrouter.ConnectionState) int {
	return map[string]int{"established": 1, "closing": 2, "closed": 3, "reset": 3}[s.String()]
}

// ending says how a session ended that is not there any more.
func (s *sessions) ending(x *session) string {
	switch {
	case x.State.Over():
		return endedClosed
	case x.Idle >= s.limit(x.key.Protocol, x.State)-2*sessionInterval-expire.Interval:
		return endedIdle
	}
	return endedGone
}

// tell makes a record and notes that it was made.
func (x *session) tell(record, why string, now time.Time) change {
	current := x.counts()
	if current.less(x.before) { // of an entry that was made anew
		current = x.before
	}
	c := change{end: x.end, session: x, record: record, why: why, made: x.made, total: current.since(x.base), added: current.since(x.before)}
	x.told, x.before = now, current
	return c
}

func (c counts) less(was counts) bool {
	return c.sent.Packets < was.sent.Packets || c.heard.Packets < was.heard.Packets
}

func (e end) counts() counts {
	return counts{sent: api.Traffic{Packets: e.Sent.Packets, Bytes: e.Sent.Bytes}, heard: api.Traffic{Packets: e.Heard.Packets, Bytes: e.Heard.Bytes}}
}

// find returns an end as it was last seen, with what it counted since its
// session began.
func (s *sessions) find(key vrouter.ConnectionKey) (end, bool) {
	x, there := s.known[key]
	if !there {
		x, there = s.ended[key]
	}
	if !there {
		return end{}, false
	}
	e, total := x.end, x.counts().since(x.base)
	e.Sent, e.Heard = vrouter.ConnectionCount(total.sent), vrouter.ConnectionCount(total.heard)
	return e, true
}
