// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/weft-network/weft/api"
)

// state is the generation of every object of a snapshot.
func state(s api.Snapshot) map[string]int64 {
	all := map[string]int64{}
	for _, info := range api.Kinds() {
		for _, o := range s.List(info.Kind) {
			all[string(idOf(info.Kind, o.Head().Meta.UUID))] = o.Head().Meta.Revision
		}
	}
	return all
}

// The events between two snapshots that were followed lead from one to the
// other, also across revisions that were left out and a reload of everything.
// Where they are forgotten it is said.
func TestEventsBetweenFollowedSnapshots(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	follow := w.Follow(ctx)
	earlier := <-follow
	// until returns the followed snapshot that has everything so far.
	until := func() api.Snapshot {
		for last := w.Latest().(*Snapshot).changed; ; {
			if s := <-follow; s.Revision() >= last {
				return s
			}
		}
	}
	compare := func(when string, now api.Snapshot, want int) {
		t.Helper()
		events, ok := now.(*Snapshot).Since(earlier)
		have := state(earlier)
		for _, e := range events {
			key := string(idOf(e.Kind, e.Object.Head().Meta.UUID))
			if delete(have, key); e.Type == api.EventPut {
				have[key] = e.Object.Head().Meta.Revision
			}
		}
		if !ok || len(events) < want || !maps.Equal(have, state(now)) {
			t.Errorf("%s: %d events (%t) do not lead from revision %d to %d", when, len(events), ok, earlier.Revision(), now.Revision())
		}
		earlier = now
	}
	var made []api.Object
	for i := range 20 {
		made = append(made, w.create(admin, network(fmt.Sprintf("n%d", i), project)))
	}
	if _, err := w.commit(admin, api.OpDelete, made[0]); err != nil {
		t.Fatal(err)
	}
	compare("writes", until(), 21)

	made[1].(*api.Network).Spec.MTU = 1400
	w.update(admin, made[1])
	if err := w.PutStatus(ctx, api.KindNetwork, made[2].Head().Meta.UUID, &api.NetworkStatus{}); err != nil {
		t.Fatal(err)
	}
	now := until()
	if _, ok := earlier.(*Snapshot).Since(w.Latest()); ok {
		t.Error("events since a snapshot that was not followed are claimed to be known")
	}
	w.history.mu.Lock()
	start := w.history.start
	w.history.start = earlier.(*Snapshot).since.revision + 1
	w.history.mu.Unlock()
	if _, ok := now.(*Snapshot).Since(earlier); ok {
		t.Error("forgotten events are claimed to be known")
	}
	w.history.mu.Lock()
	w.history.start = start
	w.history.mu.Unlock()
	compare("an update", now, 1)
}
