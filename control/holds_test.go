// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// heldWorld is three hosts, two of them with ports, and a change that is held.
func heldWorld() (*input, *api.Draft) {
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3\nnetwork n 1\nport n a\nport n b\nbind a h1\nbind b h2\nheld d 30")
	d := api.Clone(w.Get(api.KindDraft, world.UUID(api.KindDraft, "d")).(*api.Draft))
	d.Meta.UpdatedAt = time.Unix(1000, 0)
	w.Put(d, api.KindDraft, "d")
	snapshot := w.Snapshot()
	return &input{snapshot, placement.New(1, routing.Derive(snapshot), nil)}, w.Get(api.KindDraft, world.UUID(api.KindDraft, "d")).(*api.Draft)
}

// asksBoth is a host that has everything and asks both policies.
func asksBoth(revision int64) stream.HostState {
	return stream.HostState{Connected: true, InSync: true, Settled: placement.Version{Epoch: 1, Revision: revision}, Report: &hoststream.Report{Features: []string{"policy", "strict"}}}
}

// How many changes are held, and for how long, is told by each controller.
func TestHoldsAreCounted(t *testing.T) {
	in, d := heldWorld()
	read := func(s *Service) (all []float64) {
		for _, c := range s.holdMetrics() {
			all = append(all, testutil.ToFloat64(c))
		}
		return all
	}
	s := &Service{}
	if got := read(s); !slices.Equal(got, []float64{0, 0}) {
		t.Errorf("before anything is derived: %v", got)
	}
	s.newest.Store(in)
	began := time.Since(d.Meta.UpdatedAt).Seconds()
	if got := read(s); got[0] != 1 || got[1] < began || got[1] > time.Since(d.Meta.UpdatedAt).Seconds() {
		t.Errorf("of one that began %v s ago: %v", began, got)
	}
	none := world.New("host h1 192.0.2.1").Snapshot()
	s.newest.Store(&input{none, placement.New(1, routing.Derive(none), nil)})
	if got := read(s); !slices.Equal(got, []float64{0, 0}) {
		t.Errorf("when it has ended: %v", got)
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
	round(hosts, began.Add(30*time.Second+holdShown-1), 0) // the status says first that it expires
	fails = errors.New("the store is away")
	round(hosts, began.Add(30*time.Second+holdShown), 0)
	fails = nil
	round(hosts, began.Add(30*time.Second+holdShown+holdRetry/2), 0)
	round(hosts, began.Add(30*time.Second+holdShown+holdRetry), 1)
	h, deleted = holder{service: s, tried: map[string]time.Time{}}, nil
	hosts[world.UUID(api.KindHost, "h2")] = asksBoth(d.Meta.Revision)
	round(hosts, began.Add(time.Second), 1)
}
