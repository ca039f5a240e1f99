// SPDX-License-Identifier: Apache-2.0

// Package health tries the workloads of this host that are members of pools, or
// whose ports have health-checks, as their rows say, and reports what became of that when it changes. How a
// member counts, and when it is tried, is computed without clock and I/O; the
// tries are a Prober's.
package health

// The states of a member.
const (
	Unknown = ""        // too few tries yet: nothing is said
	Up      = "up"      //
	Down    = "down"    //
	Untried = "untried" // it cannot be tried from here
)

// Outcome is what became of one try.
type Outcome struct {
	Good   bool
	Why    string // it failed
	Unmade bool   // the host itself could not try: that says nothing of the workload
}

// progress is what the tries of a member come to. The zero value has had none.
type progress struct {
	state string
	why   string // it is down
	row   int    // last tries in a row that speak for the other state
	last  string // why the last try failed
	same  int    // last tries in a row that failed for that reason

	unmade int // last tries in a row that the host could not make
}

// note takes an outcome, and tells whether that is news. A member is up after
// rise good tries in a row and down after fall failed ones, from the first on,
// so that after a restart nothing is said that one try says alone. One that is
// down for another reason says so after as many. What the host could not try
// counts for neither; after as many in a row as make it down it is untried, but
// one that is down stays so: a host short of something would else lead traffic to
// all its dead workloads at once.
func (p *progress) note(o Outcome, rise, fall int) (news bool) {
	if o.Unmade && p.state == Down {
		return false // what is known of the workload stays until it is tried again
	}
	if o.Unmade {
		if p.unmade++; p.unmade < fall {
			return false
		}
		return p.untried(o.Why)
	}
	p.unmade = 0
	if o.Good || o.Why != p.last {
		p.last, p.same = o.Why, 0
	}
	if !o.Good {
		p.same++
	}
	switch {
	case p.state == Unknown || p.state == Untried:
		if p.state, p.why, p.row = Unknown, "", step(p.row, o.Good); p.row >= rise {
			*p = progress{state: Up}
			return true
		}
		if -p.row >= fall {
			*p = progress{state: Down, why: o.Why, last: p.last, same: p.same}
			return true
		}
		return false
	case o.Good == (p.state == Up):
		p.row = 0
		if p.state == Down && o.Why != p.why && p.same >= fall {
			p.why = o.Why
			return true
		}
		return false
	}
	if p.row++; p.state == Up && p.row >= fall {
		*p = progress{state: Down, why: o.Why, last: p.last, same: p.same}
		return true
	}
	if p.state == Down && p.row >= rise {
		*p = progress{state: Up}
		return true
	}
	return false
}

// step counts good tries in a row upwards from 0 and failed ones downwards.
func step(row int, good bool) int {
	switch {
	case good:
		return max(row, 0) + 1
	default:
		return min(row, 0) - 1
	}
}

// untried notes that the member cannot be tried, and tells whether that is news.
func (p *progress) untried(why string) (news bool) {
	news = p.state != Untried || p.why != why
	*p = progress{state: Untried, why: why}
	return news
}
