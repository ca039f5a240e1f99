// SPDX-License-Identifier: Apache-2.0

package policy

// maxSteps are remembered of a selector, so that a host that has missed some is
// still told what came and went since what it has. Of small selectors fewer are, and
// no large steps: all are no more than the selector.
const maxSteps = 32

// step is what a selector became what it is by.
type step struct {
	from       uint64 // Hash
	came, went []uint64
}

// after remembers what the selector was before. What is remembered follows from
// history, and changes nothing but how hosts are told.
func (s *Selector) after(was *Selector) {
	last := step{from: was.Hash}
	old, now := was.Identities, s.Identities
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && old[0] < now[0]:
			last.went, old = append(last.went, old[0]), old[1:]
		case len(old) == 0 || now[0] < old[0]:
			last.came, now = append(last.came, now[0]), now[1:]
		default:
			old, now = old[1:], now[1:]
		}
	}
	keep := min(maxSteps, len(s.Identities)/4)
	if keep == 0 || len(last.came)+len(last.went) > max(1, len(s.Identities)/maxSteps) {
		return
	}
	earlier := was.steps[max(0, len(was.steps)-keep+1):]
	s.steps = append(earlier[:len(earlier):len(earlier)], last)
}

// Since returns the identities that came and went since the selector had this
// hash; false if that is not known, or no less than the selector is.
func (s *Selector) Since(hash uint64) (came, went []uint64, known bool) {
	first := len(s.steps) - 1
	for first >= 0 && s.steps[first].from != hash {
		first--
	}
	if first < 0 {
		return nil, nil, false
	}
	in := map[uint64]bool{} // true: it came
	note := func(ids []uint64, came bool) {
		for _, id := range ids {
			if _, back := in[id]; back {
				delete(in, id) // as it was at first
			} else {
				in[id] = came
			}
		}
	}
	for _, one := range s.steps[first:] {
		note(one.went, false)
		note(one.came, true)
	}
	for id, is := range in {
		if is {
			came = append(came, id)
		} else {
			went = append(went, id)
		}
	}
	return came, went, len(in) < len(s.Identities)
}
