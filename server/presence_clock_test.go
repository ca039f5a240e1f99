// SPDX-License-Identifier: Apache-2.0

package server

import (
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

// A clock that was hours ahead does not keep an orchestrator from being found
// silent, and one that is hours behind does not make it silent.
func TestPresenceAcrossClockJumps(t *testing.T) {
	right := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	const after = 10 * time.Minute
	o := &api.Orchestrator{}
	o.Meta.CreatedAt = right.Add(-time.Hour)
	step := func(seen, now time.Time) {
		o.Status, _ = presenceOf(o, seen, now, after)
	}
	silent := func() bool { return o.Status.Conditions[0].Status }
	step(right, right)
	ahead := right.Add(5 * time.Hour)
	step(ahead, ahead) // heard of while the clock was ahead
	step(time.Time{}, right.Add(time.Minute))
	if silent() || o.Status.LastSeen.After(right.Add(aheadMax+time.Minute)) {
		t.Errorf("when the clock is right again: %+v", o.Status)
	}
	step(time.Time{}, right.Add(after+3*time.Minute))
	if !silent() {
		t.Errorf("silent for longer than %v: %+v", after, o.Status)
	}
	step(right.Add(after+4*time.Minute), right.Add(after+4*time.Minute))
	if silent() {
		t.Errorf("heard of again: %+v", o.Status)
	}
	step(time.Time{}, right.Add(-5*time.Hour)) // behind
	if silent() {
		t.Errorf("silent by a clock that went back: %+v", o.Status)
	}
}
