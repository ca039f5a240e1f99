// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
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

// surprise changes something about a host.
func surprise(r *rand.Rand, s *system, revision int64) {
	names := []string{"h1", "h2", "h3"}
	s.host(names[r.IntN(3)], func(h *stream.HostState) {
		switch r.IntN(6) {
		case 0:
			h.Connected = !h.Connected
		case 1:
			h.InSync = !h.InSync
		case 2:
			h.RowErrors = map[string]string{placement.PortKey(world.UUID(api.KindPort, "p1")): "no room"}
		case 3:
			h.RowErrors = nil
		case 4:
			h.Settled = placement.Version{Epoch: 1, Revision: revision}
		default:
			h.Report = &hoststream.Report{Features: []string{"policy", "health"}[:r.IntN(3)]}
			for n := range r.IntN(6) {
				h.Report.Checks = append(h.Report.Checks, &hoststream.CheckReport{Id: world.UUID(api.KindMember, fmt.Sprintf("me%d", n)), State: []string{"up", "down"}[r.IntN(2)]})
			}
			for n := range r.IntN(9) {
				id := s.checkID(fmt.Sprintf("p%d", r.IntN(8)), fmt.Sprintf("c%d", n%2))
				h.Report.Checks = append(h.Report.Checks, &hoststream.CheckReport{Id: id, State: []string{"up", "down", "untried"}[r.IntN(3)]})
			}
			for _, p := range []string{"p0", "p1", "p2", "p3", "p4", "silentn1"} {
				if state := []string{"up", "waiting", "failed", ""}[r.IntN(4)]; state != "" {
					h.Report.Ports = append(h.Report.Ports, &hoststream.PortReport{Port: world.UUID(api.KindPort, p), State: state})
					h.Report.Announced = append(h.Report.Announced, announcement(p, fmt.Sprintf("10.0.0.%d", r.IntN(20)), uint64(1+r.IntN(9))))
				}
			}
		}
	})
}

// store takes statuses as the store does; the objects of snapshots stay as they were.
func (s *system) store(changes []status.Change) {
	for _, c := range changes {
		o := api.Clone(s.Get(c.Kind, c.UUID))
		data, err := json.Marshal(c.Status)
		if err != nil {
			s.t.Fatal(err)
		}
		reflect.ValueOf(o.StatusBody()).Elem().SetZero()
		if err := json.Unmarshal(data, o.StatusBody()); err != nil {
			s.t.Fatal(err)
		}
		s.SetStatus(o)
	}
}

// A tracker that looks only at what may have changed finds all that is to be
// written: after each of its rounds a look at everything finds nothing more.
func TestTrackerMissesNothing(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	for round := range 8 {
		s := newSystem(t, "host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3")
		var tracker status.Tracker
		var plan *placement.Plan
		for step := range 150 {
			for range 1 + r.IntN(2) {
				if r.IntN(2) == 0 {
					surprise(r, s, s.Revision())
				} else {
					s.Do(world.RandomEdit(r))
					s.Do(world.RandomHealth(r))
				}
			}
			s.grace = s.grace || r.IntN(50) == 0
			s.now = s.now.Add(10 * time.Millisecond)
			snapshot := s.Snapshot()
			plan = placement.New(1, routing.Derive(snapshot), plan)
			hosts := map[string]stream.HostState{}
			for uuid, h := range s.hosts {
				hosts[uuid] = h
			}
			in := status.Input{Snapshot: snapshot, Plan: plan, Hosts: hosts, ClaimAll: s.grace, Now: s.now}
			s.store(tracker.Changes(in))
			in.Snapshot = s.Snapshot()
			if missed := status.Changes(in); len(missed) > 0 {
				t.Fatalf("seed %d round %d step %d: not written: %s %s %s", seed, round, step, missed[0].Kind, s.Names(missed[0].UUID), words(missed[0].Status))
			}
		}
	}
}

// What one look at a few ports could pass over: that a host's first ruleset makes
// an agent too old for all its ports, and that a port which a trunk carries
// carries others itself, which the store does not admit.
func TestTrackerLooksFarEnough(t *testing.T) {
	for _, c := range []struct{ begin, edit, kind, name, want string }{
		{"port n b\nbind b h1\nsecurity-group web", "secured b web", string(api.KindPort), "a", "upgrade weft-agent"},
		{"host h2 192.0.2.2\nport n b\nport n c\nbind b h2\nbind c h2\ntrunk outer b\ntrunk inner a\ncarry inner c 5", "carry outer a 6", string(api.KindSubPort), "inner:c", "no-host"},
	} {
		s := newSystem(t, "host h1 192.0.2.1\nnetwork n 1\nport n a\nbind a h1\n"+c.begin)
		settled := stream.HostState{Connected: true, InSync: true, Settled: placement.Version{Epoch: 1, Revision: 1000}} // nothing is pending
		s.hosts[world.UUID(api.KindHost, "h2")] = settled
		settled.Report = &hoststream.Report{Ports: []*hoststream.PortReport{{Port: world.UUID(api.KindPort, "a"), State: "up"}}}
		s.hosts[h1] = settled
		var tracker status.Tracker
		var plan *placement.Plan
		look := func() (in status.Input) {
			in = status.Input{Snapshot: s.Snapshot(), Plan: placement.New(1, routing.Derive(s), plan), Hosts: s.hosts, Now: s.now}
			plan = in.Plan
			s.store(tracker.Changes(in))
			in.Snapshot = s.Snapshot()
			return in
		}
		look()
		look() // at what the first one wrote
		s.Do(c.edit)
		if missed := status.Changes(look()); len(missed) > 0 {
			t.Errorf("after %q: not written: %s %s %s", c.edit, missed[0].Kind, s.Names(missed[0].UUID), words(missed[0].Status))
		}
		if got := words(s.Get(api.Kind(c.kind), world.UUID(api.Kind(c.kind), c.name)).StatusBody()); !strings.Contains(got, c.want) {
			t.Errorf("after %q: %s %s says %s; want %s", c.edit, c.kind, c.name, got, c.want)
		}
	}
}
