// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever came and went, what is told of a selector since any earlier state leads
// from that state to this one, and is less than the selector. All that is
// remembered is no more than the selector is.
func TestSinceLeadsHere(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 3))
	var ids []uint64
	s := newSelector("s", &criterion{}, nil)
	history := []*Selector{s}
	told := 0
	for step := range 3000 {
		next := slices.Clone(ids)
		grows := step < 200 || r.IntN(2) == 0
		for range 1 + r.IntN(4) {
			if id := 10 + r.Uint64N(400); grows && !slices.Contains(next, id) {
				next = append(next, id)
			} else if len(next) > 0 && !grows {
				next = slices.Delete(next, 0, 1)
			}
		}
		slices.Sort(next)
		now := newSelector("s", &criterion{}, next)
		now.after(s)
		s, ids = now, next
		history = append(history, s)
		remembered := 0
		for _, one := range s.steps {
			remembered += len(one.came) + len(one.went)
		}
		if len(s.steps) > maxSteps || remembered > len(ids) {
			t.Fatalf("seed %d: %d steps with %d identities are remembered of a selector of %d", seed, len(s.steps), remembered, len(ids))
		}
		was := history[max(0, len(history)-1-r.IntN(maxSteps+5))]
		came, went, known := s.Since(was.Hash)
		if !known {
			continue
		}
		told++
		here := slices.DeleteFunc(slices.Clone(was.Identities), func(id uint64) bool { return slices.Contains(went, id) })
		here = append(here, came...)
		slices.Sort(here)
		if !slices.Equal(here, ids) || len(came)+len(went) >= len(ids) {
			t.Fatalf("seed %d: from %v with %v and without %v, want %v", seed, was.Identities, came, went, ids)
		}
	}
	if told == 0 {
		t.Errorf("seed %d: nothing was told", seed)
	}
}
