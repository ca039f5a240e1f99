// SPDX-License-Identifier: Apache-2.0

package health

import (
	"container/heap"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

// MaxChecks bounds what one host tries. The members beyond, by UUID, are untried.
const MaxChecks = 4096

// MaxSessions bounds those of them that are watched, which costs a socket each.
const MaxSessions = 512

const (
	tooManySessions = "this host has as many BFD sessions as it may (512)"
	tooMany         = "this host tries as many as it may (4096)"
)

// Target is where a member is tried. It is comparable.
type Target struct {
	Wait    bool   // not yet: it is being programmed
	Untried string // why it cannot be tried
	Down    string // why a try would fail
	// Alias is where the host's own TCP/IP reaches the workload.
	Alias netip.Addr
	// Device, and VLAN of a sub-port, is where its frames come and go, MAC its
	// own, and Gateway who is asking.
	Device  int
	VLAN    uint16
	MAC     [6]byte
	Gateway netip.Addr
}

// Wanted is a check and where it leads.
type Wanted struct {
	desired.Check
	Target
}

// watched tells that the workload is not tried now and then: a session says how
// it is.
func (w *Wanted) watched() bool { return w.Type == bfd }

// bfd is the type of what is watched.
const bfd = "bfd"

// Try is one that is due.
type Try struct {
	Wanted
	turn uint64
	Late bool // by more than a quarter of the interval
}

// check is one member.
type check struct {
	Wanted
	progress
	turn  uint64 // of the question: what is asked otherwise is another one
	next  time.Time
	tried time.Time // the last outcome came
	busy  bool
	place int // in the queue; -1: not there
}

// schedule is the members that are tried and when. It has no clock and no lock.
type schedule struct {
	checks map[string]*check
	queue  queue // those that wait for their time
	turns  uint64
	random func(time.Duration) time.Duration // from 0 to less than that
}

func newSchedule(random func(time.Duration) time.Duration) *schedule {
	return &schedule{checks: map[string]*check{}, random: random}
}

// want says which members are to be tried from now on, and tells whether that
// is news. A member whose question is the same goes on; another one begins at a
// random moment of its interval, so that they do not all come at once.
func (s *schedule) want(all map[string]Wanted, now time.Time) (news bool) {
	for id, c := range s.checks {
		if _, still := all[id]; !still {
			s.leave(c)
			delete(s.checks, id)
			news = news || c.state != Unknown
		}
	}
	sessions := 0
	for i, id := range slices.Sorted(maps.Keys(all)) {
		w := all[id]
		if w.watched() {
			if sessions++; sessions > MaxSessions {
				w.Untried = tooManySessions
			}
		}
		if i >= MaxChecks {
			w.Untried = tooMany
		}
		news = s.put(id, w, now) || news
	}
	return news
}

func (s *schedule) put(id string, w Wanted, now time.Time) (news bool) {
	c := s.checks[id]
	switch {
	case c != nil && c.Wanted == w:
		return false
	case c == nil:
		c = &check{Wanted: w, place: -1}
		s.checks[id] = c
		s.begin(c, now)
	case !sameQuestion(c.Check, w.Check):
		news = c.state != Unknown
		s.leave(c)
		*c = check{Wanted: w, place: -1}
		s.begin(c, now)
	default:
		sooner := w.Interval < c.Interval
		c.Wanted = w
		if sooner && c.place >= 0 {
			s.leave(c)
			c.next = now.Add(s.random(w.Interval))
			heap.Push(&s.queue, c)
		}
	}
	switch {
	case w.Untried != "":
		return c.untried(w.Untried) || news
	case w.watched() && w.Down != "":
		return c.note(Outcome{Why: w.Down}, 1, 1) || news
	}
	return news
}

// sameQuestion tells that what is asked is the same, however often.
func sameQuestion(a, b desired.Check) bool {
	if a.Type == bfd {
		return a == b
	}
	return a.Port == b.Port && a.Address == b.Address && a.Type == b.Type && a.TransportPort == b.TransportPort && a.HTTP == b.HTTP
}

func (s *schedule) begin(c *check, now time.Time) {
	s.turns++
	c.turn, c.next = s.turns, now.Add(s.random(c.Interval))
	if !c.watched() {
		heap.Push(&s.queue, c)
	}
}

func (s *schedule) leave(c *check) {
	if c.place >= 0 {
		heap.Remove(&s.queue, c.place)
	}
}

// due takes at most so many tries whose time has come.
func (s *schedule) due(now time.Time, most int) (tries []Try) {
	for len(tries) < most && len(s.queue) > 0 && !s.queue[0].next.After(now) {
		c := s.queue[0]
		if c.Wait || c.Untried != "" {
			c.next = now.Add(c.Interval)
			heap.Fix(&s.queue, 0)
			continue
		}
		heap.Pop(&s.queue)
		c.busy = true
		tries = append(tries, Try{c.Wanted, c.turn, now.Sub(c.next) > c.Interval/4})
		// About an interval later, so that those that met do not meet for ever.
		c.next = now.Add(c.Interval - c.Interval/20 + s.random(c.Interval/10))
	}
	return tries
}

// wake is when the next try is due.
func (s *schedule) wake() (at time.Time, ok bool) {
	if len(s.queue) == 0 {
		return at, false
	}
	return s.queue[0].next, true
}

// done takes what became of a try, and tells whether that is news.
func (s *schedule) done(t Try, o Outcome, now time.Time) (news bool) {
	c := s.checks[t.ID]
	if c == nil || c.turn != t.turn {
		return false // it is asked something else by now
	}
	c.busy, c.tried = false, now
	if !c.watched() {
		heap.Push(&s.queue, c)
	}
	switch {
	case c.Untried != "":
		return false
	case c.watched(): // the session has counted
		fall := 1
		if o.Unmade { // it is opened again and again
			fall = c.Fall
		}
		return c.Down == "" && c.note(o, 1, fall)
	}
	return c.note(o, c.Rise, c.Fall)
}

// watches are those that are to be watched now, by id.
func (s *schedule) watches() map[string]Try {
	all := map[string]Try{}
	for id, c := range s.checks {
		if c.watched() && !c.Wait && c.Untried == "" && c.Down == "" {
			all[id] = Try{Wanted: c.Wanted, turn: c.turn}
		}
	}
	return all
}

// reports are the members of which there is something to say, by UUID.
func (s *schedule) reports() (all []*hoststream.CheckReport) {
	for _, id := range slices.Sorted(maps.Keys(s.checks)) {
		if c := s.checks[id]; c.state != Unknown {
			all = append(all, &hoststream.CheckReport{Id: id, State: c.state, Message: c.why})
		}
	}
	return all
}

// queue is a heap of checks by their time.
type queue []*check

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *queue) Push(x any) {
	c := x.(*check)
	c.place = len(*q)
	*q = append(*q, c)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	*q, c.place = (*q)[:last], -1
	return c
}
