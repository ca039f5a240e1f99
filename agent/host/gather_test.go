// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// take takes a delta and does what follows from it.
func (p *policed) take(d *hoststream.Delta) (kept bool) {
	p.t.Helper()
	kept, parted, err := p.c.Gather(d, p.now)
	if err != nil || parted != "" {
		p.t.Fatal(err, parted)
	}
	settle(p.t, p.c, &p.now)
	return kept
}

// gathering are parts of a delta that say what belongs together.
func gathering(d *hoststream.Delta, chance func(int) int) []*hoststream.Delta {
	parts := parted(d, chance)
	for _, part := range parts[:len(parts)-1] {
		part.More = true
	}
	return parts
}

// While rules and groups change together, in as many deltas as it takes, with
// agents that end between two of them or in the midst of the change, and other
// controllers that begin anew, the port hears at every moment whom it hears before
// and after, and nobody whom it hears neither before nor after.
func TestWhatBelongsTogetherIsOneStep(t *testing.T) {
	r := seeded(t)
	p := newPoliced(t)
	set, groups := 0, make([]int, 6)
	p.apply(memberRows(set, groups))
	for range 400 {
		former, before, had := set, slices.Clone(groups), maps.Clone(p.has)
		for range r.IntN(len(groups)) {
			groups[r.IntN(len(groups))] = r.IntN(groupSets)
		}
		set = r.IntN(len(memberRules))
		now := func() {
			t.Helper()
			for i := range groups {
				if was, will := heard(former, before[i]), heard(set, groups[i]); was == will && p.hears(i) != was {
					t.Fatalf("from rules %d to %d, remote %d goes from groups %b to %b, and for a moment hearing it is %t", former, set, i, before[i], groups[i], !was)
				}
			}
		}
		watch := func() {
			guard(t, p.m, map[uint32]vrouter.NextHop{})
			routes, policies := p.m.Routes.Check, p.m.PortPolicies.Check
			p.m.Routes.Check = func(k vrouter.RouteKey, v vrouter.Route, deleted bool) { routes(k, v, deleted); now() }
			p.m.PortPolicies.Check = func(ifindex int, v vrouter.PortPolicy, deleted bool) { policies(ifindex, v, deleted); now() }
		}
		watch()
		p.revision++
		d := delta(p.has, memberRows(set, groups), p.revision, true)
		parts := gathering(d, r.IntN)
		for i := 0; i < len(parts); i++ {
			if len(parts) > 1 && r.IntN(4) == 0 { // the stream ends, and perhaps the agent
				if r.IntN(2) == 0 {
					p.restart()
					watch()
				}
				p.c.Open("", "")
				p.has = maps.Clone(had)
				d = delta(p.has, memberRows(set, groups), p.revision, true)
				parts, i = gathering(d, r.IntN), 0
			}
			if kept := p.take(parts[i]); kept != (i < len(parts)-1) {
				t.Fatalf("delta %d of %d is kept back: %t", i+1, len(parts), kept)
			}
			if ack := p.c.Ack(); i < len(parts)-1 && ack.GetKept() != parts[i].Sequence {
				t.Fatalf("delta %d of %d was kept back, and the acknowledgement is %v", i+1, len(parts), ack)
			}
			now()
		}
		p.onlyThose(set, groups)
	}
}

// restart ends the agent and starts another one.
func (p *policed) restart() {
	p.t.Helper()
	p.c = boot(p.t, p.m, reopen(p.t, p.c, p.t.TempDir()+"/desired"), map[string]host.Plug{portID(1): {Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}}})
	settle(p.t, p.c, &p.now)
}

// What is kept back is not applied when something older comes after it, and what
// is more than a host keeps back, for longer, or where nothing is complete, comes as it is.
func TestWhatIsKeptBackIsBounded(t *testing.T) {
	more := func(revision int64, bytes int) *hoststream.Delta {
		return &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: revision}, Sequence: uint64(revision), More: true,
			Put: []*hoststream.EncodedRow{{Key: "vrf/1", Body: make([]byte, bytes)}}}
	}
	for _, c := range []struct {
		name   string
		first  bool // nothing was there before
		deltas []*hoststream.Delta
		after  time.Duration
		parted bool
	}{
		{"much", false, []*hoststream.Delta{more(2, 20<<20), more(2, 20<<20)}, 0, true},
		{"long", false, []*hoststream.Delta{more(2, 1), more(2, 1)}, 11 * time.Second, true},
		{"first", true, []*hoststream.Delta{more(2, 1)}, 0, false},
	} {
		k := boot(t, datapath.NewMemoryKernel(nil), desired.New(), nil)
		if !c.first {
			if err := k.Apply(delta(map[string]string{}, policedRows("r", 80), 1, true)); err != nil {
				t.Fatal(err)
			}
		}
		now := time.Unix(0, 0)
		for i, d := range c.deltas {
			kept, parted, err := k.Gather(d, now)
			if last := i == len(c.deltas)-1; err != nil || kept == last || (parted != "") != (last && c.parted) {
				t.Errorf("%s: delta %d is kept back: %t, parted %q, %v", c.name, i, kept, parted, err)
			}
			now = now.Add(c.after)
		}
		if k.Ack().Sequence != 2 || k.Ack().Kept != 0 {
			t.Errorf("%s: acknowledged %v", c.name, k.Ack())
		}
		if kept, _, err := k.Gather(more(3, 1), now); kept || err != nil { // in the middle of a version nothing is gained
			t.Errorf("%s: the next is kept back: %t, %v", c.name, kept, err)
		}
	}
	k := boot(t, datapath.NewMemoryKernel(nil), desired.New(), nil)
	if err := k.Apply(delta(map[string]string{}, policedRows("r", 80), 1, true)); err != nil {
		t.Fatal(err)
	}
	k.Gather(more(5, 1), time.Unix(0, 0))
	if _, _, err := k.Gather(more(4, 1), time.Unix(0, 0)); !errors.Is(err, desired.ErrOlder) || k.Version().Revision != 1 {
		t.Errorf("something older after what was kept back: %v, the host has %v", err, k.Version())
	}
}

// An agent that is ended in the midst of a change of policy brings it to its end.
func TestChangeIsNotLeftInTheMiddle(t *testing.T) {
	p := newPoliced(t)
	groups := []int{inOld, inNew}
	p.apply(memberRows(1, groups))
	ctx, stop := context.WithCancel(t.Context())
	p.revision++
	if err := p.c.Apply(delta(p.has, memberRows(2, []int{inNew, inOld}), p.revision, true)); err != nil {
		t.Fatal(err)
	}
	routes := p.m.Routes.Check
	p.m.Routes.Check = func(k vrouter.RouteKey, v vrouter.Route, deleted bool) { routes(k, v, deleted); stop() }
	host.NewLoop(p.c, nil, nil).Run(ctx)
	if ctx.Err() == nil || p.c.Between() {
		t.Errorf("ended in the middle: %t", p.c.Between())
	}
	for i, hears := range []bool{true, false} {
		if p.hears(i) != hears {
			t.Errorf("remote %d is heard: %t, want %t", i, p.hears(i), hears)
		}
	}
}

// A host that is sent a change of a row which it has otherwise asks for whole rows
// when the stream begins anew.
func TestRowsAreSentWholeAfterAWrongChange(t *testing.T) {
	p := newPoliced(t)
	p.apply(policedRows("r", 80))
	if !p.c.Open("", "").Changes {
		t.Error("the host does not take changes")
	}
	wrong := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: 9}, Sequence: 1, Change: []*hoststream.SelectorChange{{Key: desired.SelectorRow("s")}}}
	if _, _, err := p.c.Gather(wrong, p.now); !errors.Is(err, desired.ErrUnlike) {
		t.Errorf("a change of another row: %v", err)
	}
	if hello := p.c.Open("", ""); hello.Changes || hello.Version.Revision != 1 {
		t.Errorf("then the hello says %v", hello)
	}
}
