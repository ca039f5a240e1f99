// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// heldWorld is three hosts, two of them with ports, and a change that is held.
func heldWorld(without ...string) (*input, *api.Draft) {
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3\nnetwork n 1\nport n a\nport n b\nbind a h1\nbind b h2\nheld d 30")
	d := api.Clone(w.Get(api.KindDraft, world.UUID(api.KindDraft, "d")).(*api.Draft))
	d.Spec.Hold.Without = without
	d.Meta.UpdatedAt = time.Unix(1000, 0)
	w.Put(d, api.KindDraft, "d")
	snapshot := w.Snapshot()
	return &input{snapshot, placement.New(1, routing.Derive(snapshot), nil)}, w.Get(api.KindDraft, world.UUID(api.KindDraft, "d")).(*api.Draft)
}

// asksBoth is a host that has everything and asks both policies.
func asksBoth(revision int64) stream.HostState {
	return stream.HostState{Connected: true, InSync: true, Settled: placement.Version{Epoch: 1, Revision: revision}, Report: &hoststream.Report{Features: []string{"policy", "strict"}}}
}

// A hold waits for every host with ports that could still have its former policy
// alone, whatever the reason, and for no other.
func TestWhomAHoldWaitsFor(t *testing.T) {
	in, d := heldWorld()
	h1, h2 := world.UUID(api.KindHost, "h1"), world.UUID(api.KindHost, "h2")
	for what, change := range map[string]func(*stream.HostState){
		"it is not connected":                       func(h *stream.HostState) { h.Connected = false },
		"it has acknowledged what was before alone": func(h *stream.HostState) { h.Settled.Revision = d.Meta.Revision - 1 },
		"it is of a store that was restored since":  func(h *stream.HostState) { h.Settled.Epoch = 0 },
		"it does not know holds":                    func(h *stream.HostState) { h.Report.Features = []string{"policy"} },
		"it has not said what it knows":             func(h *stream.HostState) { h.Report = nil },
		"its ports do not ask both": func(h *stream.HostState) {
			h.RowErrors = map[string]string{placement.HoldKey(d.Meta.UUID): "table full"}
		},
	} {
		state := asksBoth(d.Meta.Revision)
		change(&state)
		hosts := map[string]stream.HostState{h1: state, h2: asksBoth(d.Meta.Revision)}
		if got := behindHold(in, d, hosts, 1); !slices.Equal(got, []string{"h1"}) {
			t.Errorf("%s: waits for %v, want h1", what, got)
		}
	}
	hosts := map[string]stream.HostState{h1: asksBoth(d.Meta.Revision), h2: asksBoth(d.Meta.Revision + 1)}
	if got := behindHold(in, d, hosts, 1); len(got) > 0 {
		t.Errorf("all ask both, and it waits for %v", got)
	}
	in, d = heldWorld(h2)
	if got := behindHold(in, d, map[string]stream.HostState{h1: asksBoth(d.Meta.Revision)}, 1); len(got) > 0 {
		t.Errorf("h2 was said to be away, and it waits for %v", got)
	}
}

// A hold ends when nobody is behind, or its time is over, and is tried again.
func TestAHoldEnds(t *testing.T) {
	in, d := heldWorld()
	var deleted []string
	var fails error
	s := &Service{options: Options{Name: "c", Log: slog.New(slog.DiscardHandler), Epoch: 1, Commit: func(_ context.Context, by api.Identity, ops []api.Operation) (int64, error) {
		if by.Orchestrator != d.Meta.Owner || len(ops) != 1 || ops[0].Op != api.OpDelete || ops[0].Object.Head().Meta.Revision != d.Meta.Revision {
			t.Errorf("%+v writes %+v", by, ops)
		}
		if fails == nil {
			deleted = append(deleted, ops[0].Object.Head().Meta.UUID)
		}
		return d.Meta.Revision + 1, fails
	}}}
	began := d.Meta.UpdatedAt
	h := holder{service: s, tried: map[string]time.Time{}}
	round := func(hosts map[string]stream.HostState, now time.Time, want int) {
		t.Helper()
		if !h.round(t.Context(), in, hosts, now) || len(deleted) != want {
			t.Fatalf("%v after it began: ended %d times, want %d", now.Sub(began), len(deleted), want)
		}
	}
	hosts := map[string]stream.HostState{world.UUID(api.KindHost, "h1"): asksBoth(d.Meta.Revision)}
	round(hosts, began.Add(29*time.Second), 0)
	fails = errors.New("the store is away")
	round(hosts, began.Add(30*time.Second), 0)
	fails = nil
	round(hosts, began.Add(30*time.Second+holdRetry/2), 0)
	round(hosts, began.Add(30*time.Second+holdRetry), 1)
	h, deleted = holder{service: s, tried: map[string]time.Time{}}, nil
	hosts[world.UUID(api.KindHost, "h2")] = asksBoth(d.Meta.Revision)
	round(hosts, began.Add(time.Second), 1)
}
