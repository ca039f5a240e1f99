// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// The first system that announces itself is bound; a second of the same name,
// or the same under another name, is refused.
func TestAnnounce(t *testing.T) {
	w := newWorld(t)
	blue := w.tenants()
	green, _ := w.with(api.TokenRequest{Name: "green", Role: api.RoleMember, Orchestrator: "green"})
	ctx := t.Context()
	for range 2 { // also after a restart
		o, err := blue.Announce(ctx, api.Ref{Name: "blue"}, "cloud-1")
		if err != nil || o.Spec.Identity != "cloud-1" {
			t.Fatalf("announced: %+v, %v", o, err)
		}
	}
	_, err := blue.Announce(ctx, api.Ref{Name: "blue"}, "cloud-2")
	hasCode(t, "another system under the name", err, api.CodeConflict)
	if err == nil || !strings.Contains(err.Error(), "bound to the system cloud-1") {
		t.Errorf("the refusal says %v", err)
	}
	_, err = green.Announce(ctx, api.Ref{Name: "green"}, "cloud-1")
	hasCode(t, "the same system under another name", err, api.CodeConflict)
	_, err = blue.Announce(ctx, api.Ref{Name: "blue"}, "")
	hasCode(t, "no identity", err, api.CodeInvalid)
	_, err = blue.Announce(ctx, api.Ref{Name: "green"}, "cloud-3")
	hasCode(t, "another's orchestrator", err, api.CodeNotFound)
}

// Retirement deletes what an orchestrator owns and nothing else; it stops
// before anything when others use it, and goes on where it was left.
func TestRetire(t *testing.T) {
	w := newWorld(t)
	blue := w.tenants()
	green, _ := w.with(api.TokenRequest{Name: "green", Role: api.RoleMember, Orchestrator: "green"})
	ctx := t.Context()
	const networks = 130 // more than one transaction takes
	var ops []api.Operation
	for n := range networks {
		ops = append(ops, api.Operation{Op: api.OpCreate, Object: inProject("blue:t1", fmt.Sprint("n", n))})
	}
	for _, some := range [][]api.Operation{ops[:65], ops[65:]} {
		_, err := blue.Transaction(ctx, some, false)
		check(t, err)
	}
	share := &api.Share{Header: api.Header{Kind: api.KindShare, Meta: api.Meta{Name: "s", Parent: api.Ref{Name: "blue:t2"}}},
		Spec: api.ShareSpec{TargetKind: api.KindNetwork, Target: api.Ref{Name: "blue:t1:n0"}, GranteeKind: api.GranteeAll, Verbs: []api.Verb{api.VerbAttach}}}
	_, err := client.Create(ctx, blue, share)
	check(t, err)
	guest, err := client.Create(ctx, green, &api.Port{Header: api.Header{Kind: api.KindPort, Meta: api.Meta{Name: "p", Parent: api.Ref{Name: "green:t1"}}},
		Spec: api.PortSpec{Network: api.Ref{Name: "blue:t1:n0"}}})
	check(t, err)

	owned, err := w.admin.Owned(ctx, api.Ref{Name: "blue"})
	if err != nil || owned.Total != networks+3 || owned.Kinds[0].Kind != api.KindShare || len(owned.Blockers) != 1 {
		t.Fatalf("blue owns %+v, %v", owned, err)
	}
	_, err = w.admin.Retire(ctx, "blue")
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.CodeConflict || len(e.Referrers) != 1 || e.Referrers[0] != "port green:t1:p of green" {
		t.Fatalf("retired while green uses it: %v", err)
	}
	if again, err := w.admin.Owned(ctx, api.Ref{Name: "blue"}); err != nil || again.Total != owned.Total {
		t.Errorf("the refused retirement left %+v, %v", again, err)
	}
	status, body := w.raw("POST", "/v1/orchestrators/blue/retire", `{"confirm":"green"}`)
	isError(t, "confirmed wrongly", status, body, 400, api.CodeInvalid, "repeat its name")
	check(t, green.Delete(ctx, api.KindPort, api.RefTo(guest), 0))

	before, err := w.admin.Owned(ctx, api.Ref{Name: "green"})
	check(t, err)
	for left, calls := owned.Total, 0; ; calls++ {
		step, err := w.admin.Retire(ctx, "blue")
		check(t, err)
		if step.Retired {
			break
		}
		if step.Total >= left && left > 0 || calls > 10 {
			t.Fatalf("call %d: %d are left of %d", calls, step.Total, left)
		}
		left = step.Total
		_, err = blue.WhoAmI(ctx)
		hasCode(t, "the adapter after the retirement began", err, api.CodeUnauthenticated)
	}
	for kind, name := range map[api.Kind]string{api.KindOrchestrator: "blue", api.KindDomain: "blue"} {
		_, err = w.admin.Get(ctx, kind, api.Ref{Name: name})
		hasCode(t, string(kind)+" after the retirement", err, api.CodeNotFound)
	}
	if after, err := w.admin.Owned(ctx, api.Ref{Name: "green"}); err != nil || after.Total != before.Total {
		t.Errorf("green owned %d and owns %d, %v", before.Total, after.Total, err)
	}
	_, err = w.admin.Retire(ctx, "weft")
	hasCode(t, "the administrators' own", err, api.CodeForbidden)
}

// What is written of presence is little, and silence is a condition and nothing
// more.
func TestPresence(t *testing.T) {
	w := newWorld(t)
	blue := w.tenants()
	ctx := t.Context()
	s := New(Options{Store: w.store, Views: fakeViews{}, CA: w.ca, SilentAfter: time.Hour})
	read := func() api.OrchestratorStatus {
		t.Helper()
		o, err := client.Get[*api.Orchestrator](ctx, blue, api.Ref{Name: "blue"})
		check(t, err)
		return o.Status
	}
	now := time.Now().UTC().Truncate(time.Second)
	me := api.Identity{Name: "blue", Orchestrator: "blue", Role: api.RoleMember}
	for i := range 100 {
		s.presence.note(me, now.Add(time.Duration(i)*time.Millisecond))
	}
	for _, other := range []api.Identity{{Orchestrator: "blue", Role: api.RoleReader}, {Orchestrator: "blue", Role: api.RoleMember, Scope: &api.Scope{}}} {
		s.presence.note(other, now.Add(2*time.Hour)) // neither is the adapter
	}
	s.writePresence(ctx, now)
	if got := read(); !got.LastSeen.Equal(now) || len(got.Conditions) != 1 || got.Conditions[0].Status {
		t.Errorf("after a request: %+v", got)
	}
	before := w.store.Latest().Revision()
	s.writePresence(ctx, now.Add(time.Minute))
	if after := w.store.Latest().Revision(); after != before {
		t.Errorf("nothing happened and %d revisions were written", after-before)
	}
	net, err := client.Create(ctx, blue, inProject("blue:t1", "n"))
	check(t, err)
	if got := showSilent(t, blue, net); !slices.Equal(got, []bool{false, false}) {
		t.Errorf("the owner is not silent, and its objects show %v", got)
	}
	s.writePresence(ctx, now.Add(61*time.Minute))
	showSilent(t, blue, net) // reads that wait for what was written
	before = w.store.Latest().Revision()
	if got := showSilent(t, blue, net); !slices.Equal(got, []bool{true, true}) || w.store.Latest().Revision() != before {
		t.Errorf("the owner is silent, and its objects show %v", got)
	}
	if kept := w.store.Latest().Get(api.KindNetwork, net.Meta.UUID).(*api.Network); len(kept.Status.Conditions) > 0 {
		t.Errorf("showing it changed what is stored: %+v", kept.Status)
	}
	check(t, blue.Delete(ctx, api.KindNetwork, api.RefTo(net), 0))
	got := read()
	if !got.Conditions[0].Status || !strings.Contains(got.Conditions[0].Message, "stays as it is") {
		t.Errorf("after an hour: %+v", got)
	}
	s.writePresence(ctx, now.Add(90*time.Minute))
	if again := read(); again.Conditions[0] != got.Conditions[0] {
		t.Errorf("the same silence is %+v and then %+v", got, again)
	}
	if owned, err := w.admin.Owned(ctx, api.Ref{Name: "blue"}); err != nil || owned.Total != 2 {
		t.Errorf("blue is silent and owns %+v, %v", owned, err)
	}
	s.presence.note(me, now.Add(91*time.Minute))
	s.writePresence(ctx, now.Add(91*time.Minute))
	if got := read(); got.Conditions[0].Status || !got.LastSeen.Equal(now.Add(91*time.Minute)) {
		t.Errorf("heard of again: %+v", got)
	}
}

// showSilent tells whether a network says that its owner blue is silent, in
// blue's list and read alone.
func showSilent(t *testing.T, blue *client.Client, net *api.Network) (shown []bool) {
	t.Helper()
	one, err := client.Get[*api.Network](t.Context(), blue, api.RefTo(net))
	check(t, err)
	all, err := client.ListOf[*api.Network](t.Context(), blue, client.ListOptions{})
	check(t, err)
	for _, n := range append(all.Items, one) {
		shown = append(shown, slices.ContainsFunc(n.Status.Conditions, func(c api.Condition) bool {
			return c.Type == api.ConditionSilent && c.Status && strings.Contains(c.Message, "blue is silent")
		}))
	}
	return shown
}
