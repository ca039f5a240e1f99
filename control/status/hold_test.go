// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

const holdLasts = 30

// heldSystem is three hosts, two of them with ports, and a change that is held.
func heldSystem(t *testing.T, without ...string) (s *system, hold func() *api.Draft) {
	s = newSystem(t, "host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3\nnetwork n 1\nport n a\nport n b\nbind a h1\nbind b h2")
	d := &api.Draft{Spec: api.DraftSpec{Hold: &api.Hold{Seconds: holdLasts, Without: without}}}
	d.Meta.UpdatedAt = start
	s.Put(d, api.KindDraft, "d")
	return s, func() *api.Draft { return s.Get(api.KindDraft, world.UUID(api.KindDraft, "d")).(*api.Draft) }
}

// asksBoth is a host that has everything and asks both policies.
func asksBoth(revision int64) stream.HostState {
	return stream.HostState{Connected: true, InSync: true, Settled: placement.Version{Epoch: 1, Revision: revision}, Report: &hoststream.Report{Features: []string{"policy", "strict"}}}
}

// A hold waits for every host with ports that could still have its former policy
// alone, and says why; for no other.
func TestWhomAHoldWaitsFor(t *testing.T) {
	s, hold := heldSystem(t)
	h2, plan, d := world.UUID(api.KindHost, "h2"), placement.New(1, routing.Derive(s.Snapshot()), nil), hold()
	revision := d.Meta.Revision
	for why, change := range map[string]func(*stream.HostState){
		"not connected":                    func(h *stream.HostState) { h.Connected = false },
		"has not acknowledged the change":  func(h *stream.HostState) { h.Settled.Revision = revision - 1 },
		"has not acknowledged the change ": func(h *stream.HostState) { h.Settled.Epoch = 0 }, // of a store that was restored since
		"of a release that cannot ask":     func(h *stream.HostState) { h.Report.Features = []string{"policy"} },
		"has said nothing yet":             func(h *stream.HostState) { h.Report = nil },
		"table full": func(h *stream.HostState) {
			h.RowErrors = map[string]string{placement.HoldKey(d.Meta.UUID): "table full"}
		},
	} {
		state := asksBoth(revision)
		change(&state)
		got := status.Behind(plan, map[string]stream.HostState{h1: state, h2: asksBoth(revision)}, d)
		if len(got) != 1 || got[0].Host != "h1" || !strings.Contains(got[0].Why, strings.TrimSpace(why)) {
			t.Errorf("%s: waits for %v, want h1", why, got)
		}
	}
	if got := status.Behind(plan, map[string]stream.HostState{h1: asksBoth(revision), h2: asksBoth(revision + 1)}, d); len(got) > 0 {
		t.Errorf("all ask both, and it waits for %v", got)
	}
	s, hold = heldSystem(t, h2)
	d = hold()
	if got := status.Behind(placement.New(1, routing.Derive(s.Snapshot()), nil), map[string]stream.HostState{h1: asksBoth(d.Meta.Revision)}, d); len(got) > 0 {
		t.Errorf("h2 was said to be away, and it waits for %v", got)
	}
}

// The draft says for whom its hold waits once it has lasted a second, and at the
// end without whom it ends; that stays.
func TestAHoldSaysForWhomItWaits(t *testing.T) {
	s, hold := heldSystem(t)
	revision := hold().Meta.Revision
	h2 := world.UUID(api.KindHost, "h2")
	s.hosts[h1] = asksBoth(revision)
	says := func(at time.Duration, want ...string) api.DraftStatus {
		t.Helper()
		s.now = start.Add(at - time.Second) // round lets a second pass
		s.round()
		var got []string
		now := hold().Status
		for _, h := range now.Waiting {
			got = append(got, h.Host)
		}
		if !slices.Equal(got, want) || now.Behind != len(want) {
			t.Errorf("after %v it waits for %v (%d), want %v", at, got, now.Behind, want)
		}
		return now
	}
	says(-1) // round looks once more a second later
	says(time.Second, "h2")
	s.hosts[h1] = stream.HostState{}
	says(2*time.Second, "h1", "h2")
	s.hosts[h1], s.hosts[h2] = asksBoth(revision), asksBoth(revision)
	says(3 * time.Second)
	s.hosts[h2] = stream.HostState{}
	if says((holdLasts-1)*time.Second-1, "h2").Expired {
		t.Error("it expires early")
	}
	if !says(holdLasts*time.Second, "h2").Expired {
		t.Error("its time is over, and it does not say so")
	}
	s.hosts[h2] = asksBoth(revision)
	if !says((holdLasts+1)*time.Second, "h2").Expired {
		t.Error("what it ended without is not said any more")
	}
}
