// SPDX-License-Identifier: Apache-2.0

package host

import (
	"time"

	"github.com/weft-network/weft/agent/datapath"
)

// quietFor bounds how long a port that came refuses without an answer what its
// rules reject, while its former host is asked for its conversations: what is in
// the middle of one of them must not be reset.
const quietFor = 2 * time.Second

// arrivals are the ports that came to this host lately.
type arrivals struct {
	here  map[string]int       // interfaces of ports that are bound and attached; nil before the first look
	quiet map[string]time.Time // until when, of those of which it is not known yet who talks to them
}

// look notes which ports are here. Those that are at the start were before.
func (a *arrivals) look(bound func(string) bool, attached map[string]datapath.Attachment, now time.Time) {
	first, here := a.here == nil, make(map[string]int, len(attached))
	for id, at := range attached {
		if !bound(id) {
			continue
		}
		here[id] = at.Ifindex
		if was, there := a.here[id]; !first && (!there || was != at.Ifindex) {
			a.quiet[id] = now.Add(quietFor)
		}
	}
	for id := range a.quiet {
		if _, still := here[id]; !still {
			delete(a.quiet, id)
		}
	}
	a.here = here
}

// quieten has ports refuse quietly of which it is not known yet who talks to them.
// Those for which that makes no difference are not looked at again.
func (a *arrivals) quieten(t *datapath.Tables) {
	for id := range a.quiet {
		if _, asks := t.Policies[a.here[id]]; asks && !t.Quieten(a.here[id]) {
			delete(a.quiet, id)
		}
	}
}

// end forgets those that have been quiet for as long as they may, and tells
// whether there were any.
func (a *arrivals) end(now time.Time) (any bool) {
	for id, until := range a.quiet {
		if !now.Before(until) {
			delete(a.quiet, id)
			any = true
		}
	}
	return any
}

// next is when the first of them has been quiet for as long as it may.
func (a *arrivals) next() (first time.Time, any bool) {
	for _, until := range a.quiet {
		if !any || until.Before(first) {
			first, any = until, true
		}
	}
	return first, any
}

// Heard says that the conversations of a port that came are known here as far as
// anybody tells: it answers from now on as its rules say.
func (c *Core) Heard(port string) {
	if _, quiet := c.arrivals.quiet[port]; quiet {
		delete(c.arrivals.quiet, port)
		c.stale = true
	}
}
