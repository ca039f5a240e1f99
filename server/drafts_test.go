// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const defaultProject = "default-domain:default-project"

// staged makes a draft that stages some operations.
func (w *world) staged(name string, ops ...api.Operation) api.Ref {
	w.t.Helper()
	d := &api.Draft{Header: api.Header{Kind: api.KindDraft, Meta: api.Meta{Name: name, Parent: api.Ref{Name: defaultProject}}}}
	for _, op := range ops {
		check(w.t, d.Stage(op))
	}
	made, err := client.Create(w.t.Context(), w.admin, d)
	check(w.t, err)
	return api.RefTo(made)
}

// What refers and what is referred to may be staged in any order.
func TestADraftIsCommittedInAnOrderThatWorks(t *testing.T) {
	w := newWorld(t)
	group := func(name string) *api.AddressGroup {
		return &api.AddressGroup{Header: api.Header{Kind: api.KindAddressGroup, Meta: api.Meta{Name: name, Parent: api.Ref{Name: defaultProject}}}}
	}
	rule := func(name, group string) *api.FirewallRule {
		r := &api.FirewallRule{Header: api.Header{Kind: api.KindFirewallRule, Meta: api.Meta{Name: name, Parent: api.Ref{Name: defaultProject}}}}
		r.Spec.Action, r.Spec.Source.AddressGroup = api.ActionPass, api.Ref{Name: defaultProject + ":" + group}
		return r
	}
	old, err := client.Create(t.Context(), w.admin, group("old"))
	check(t, err)
	using, err := client.Create(t.Context(), w.admin, rule("r", "old"))
	check(t, err)
	moved := api.Clone(using)
	moved.Spec.Source.AddressGroup = api.Ref{Name: defaultProject + ":new"}
	draft := w.staged("d", api.Operation{Op: api.OpDelete, Object: old}, api.Operation{Op: api.OpUpdate, Object: moved}, api.Operation{Op: api.OpCreate, Object: group("new")})
	for _, dry := range []bool{true, false} {
		made, err := w.admin.CommitDraft(t.Context(), draft, 0, dry)
		if err != nil || len(made.Objects) != 3 || made.Objects[0].Head().Meta.Name != "new" {
			t.Fatalf("dry run %v: %v, %v", dry, made.Objects, err)
		}
	}
	after, err := client.Get[*api.FirewallRule](t.Context(), w.admin, api.RefTo(using))
	if err != nil || api.BaseName(after.Spec.Source.AddressGroup.Name) != "new" {
		t.Errorf("the rule names %v, %v", after.Spec.Source.AddressGroup, err)
	}
	_, err = client.Get[*api.Draft](t.Context(), w.admin, draft)
	hasCode(t, "the draft after its commit", err, api.CodeNotFound)
	for _, text := range []string{"op=create kind=address-group", "op=update kind=firewall-rule", "op=delete kind=draft"} {
		if !w.audit.has(text) {
			t.Errorf("the audit has no %q", text)
		}
	}
}

// A strict commit keeps the draft, empty, as what holds the change; there is one at
// a time, until somebody deletes it.
func TestAStrictCommitIsHeldByTheDraft(t *testing.T) {
	w := newWorld(t)
	group := func(name string) api.Operation {
		return api.Operation{Op: api.OpCreate, Object: &api.AddressGroup{Header: api.Header{Kind: api.KindAddressGroup, Meta: api.Meta{Name: name, Parent: api.Ref{Name: defaultProject}}}}}
	}
	first, second := w.staged("first", group("a")), w.staged("second", group("b"))
	hold := &api.Hold{Seconds: 5}
	if made, err := w.admin.CommitDraftHeld(t.Context(), first, 0, hold, false); err != nil || len(made.Objects) != 1 {
		t.Fatal(made, err)
	}
	holds, err := client.Get[*api.Draft](t.Context(), w.admin, first)
	check(t, err)
	if holds.Spec.Hold == nil || holds.Spec.Hold.Seconds != 5 || len(holds.Spec.Writes) > 0 {
		t.Errorf("the draft is %+v", holds.Spec)
	}
	_, err = w.admin.CommitDraftHeld(t.Context(), second, 0, hold, false)
	hasCode(t, "a second strict change", err, api.CodeConflict)
	if err == nil || !strings.Contains(err.Error(), "first") {
		t.Errorf("the refusal does not name the one that is there: %v", err)
	}
	check(t, w.admin.Delete(t.Context(), api.KindDraft, first, 0))
	if _, err := w.admin.CommitDraftHeld(t.Context(), second, 0, hold, false); err != nil {
		t.Error(err)
	}
	_, err = w.admin.CommitDraftHeld(t.Context(), w.staged("third", group("c")), 0, &api.Hold{}, false)
	hasCode(t, "a hold of no time", err, api.CodeInvalid)
}

// All or nothing, against writers who change what is staged at the same time:
// either the commit is refused and names what they changed, or it came first.
func TestDraftsAndOtherWritersAtOnce(t *testing.T) {
	w := newWorld(t)
	const rounds, groups = 12, 4
	committed, refused := 0, 0
	for round := range rounds {
		var ops []api.Operation
		var made []*api.AddressGroup
		for i := range groups {
			g := &api.AddressGroup{Header: api.Header{Kind: api.KindAddressGroup, Meta: api.Meta{Name: fmt.Sprintf("g%d-%d", round, i), Parent: api.Ref{Name: defaultProject}}}}
			g, err := client.Create(t.Context(), w.admin, g)
			check(t, err)
			made = append(made, g)
			changed := api.Clone(g)
			changed.Meta.Description = "by the draft"
			ops = append(ops, api.Operation{Op: api.OpUpdate, Object: changed})
		}
		draft := w.staged(fmt.Sprint("d", round), ops...)
		if round%3 == 0 { // somebody was faster for sure
			check(t, w.describe(made[2]))
		}
		var wait sync.WaitGroup
		var outcomes [2]error
		for i := range outcomes { // two commit at once; one at most succeeds
			wait.Go(func() { _, outcomes[i] = w.admin.CommitDraft(t.Context(), draft, 0, false) })
		}
		wait.Go(func() {
			if err := w.describe(made[1]); err != nil {
				t.Error(err)
			}
		})
		wait.Wait()
		done := 0
		for _, err := range outcomes {
			var e *api.Error
			switch {
			case err == nil:
				done++
			case !errors.As(err, &e) || e.Code != api.CodePrecondition && e.Code != api.CodeNotFound && e.Code != api.CodeConflict:
				t.Errorf("round %d: %v", round, err)
			}
		}
		if round%3 == 0 {
			if text := fmt.Sprint(outcomes[0]); done > 0 || !strings.Contains(text, made[2].Meta.FQName) {
				t.Errorf("round %d: committed %d times, %s", round, done, text)
			}
		}
		w.allOrNothing(made, done)
		committed, refused = committed+done, refused+1-done
	}
	if refused == 0 {
		t.Errorf("%d committed and %d refused", committed, refused)
	}
}

// describe changes an object beside a draft.
func (w *world) describe(g *api.AddressGroup) error {
	_, err := client.Patch[*api.AddressGroup](w.t.Context(), w.admin, api.RefTo(g), map[string]any{"meta": map[string]any{"labels": map[string]any{"by": "another"}}})
	return err
}

// allOrNothing checks that a draft was committed wholly, once or not at all.
func (w *world) allOrNothing(made []*api.AddressGroup, done int) {
	w.t.Helper()
	written := 0
	for _, g := range made {
		now, err := client.Get[*api.AddressGroup](w.t.Context(), w.admin, api.RefTo(g))
		check(w.t, err)
		if now.Meta.Description == "by the draft" {
			written++
		}
	}
	if done > 1 || written != done*len(made) {
		w.t.Errorf("committed %d times, and %d of %d objects are written", done, written, len(made))
	}
}

// What a check rests on is a precondition of the change that it gates, of a
// transaction as of a draft: the base is older than anything that was looked at.
func TestACheckAndItsChangeAreOneStep(t *testing.T) {
	w := newWorld(t)
	group := func(name string) []api.Operation {
		return []api.Operation{{Op: api.OpCreate, Object: &api.AddressGroup{Header: api.Header{Kind: api.KindAddressGroup, Meta: api.Meta{Name: name, Parent: api.Ref{Name: defaultProject}}}}}}
	}
	checked := func(operations []api.Operation) int64 {
		t.Helper()
		answer, err := w.admin.Check(t.Context(), api.CheckRequest{Assertions: []api.Assertion{{Name: "x"}}, Operations: operations})
		check(t, err)
		return answer.Base
	}
	base := checked(nil)
	if latest := w.store.Latest().Revision(); base <= 0 || base > latest {
		t.Fatalf("a check of what is rests on %d, the newest revision is %d", base, latest)
	}
	draft := w.staged("d", group("staged")...)
	base = checked(group("made"))
	if _, err := w.admin.TransactionUnchanged(t.Context(), group("made"), false, base); err != nil {
		t.Fatal(err)
	}
	_, err := w.admin.TransactionUnchanged(t.Context(), group("late"), false, base)
	hasCode(t, "a transaction after somebody else's", err, api.CodePrecondition)
	_, err = w.admin.CommitDraftAs(t.Context(), draft, client.DraftCommit{UnchangedSince: base})
	hasCode(t, "a commit after somebody else's write", err, api.CodePrecondition)
	if _, err = w.admin.CommitDraftAs(t.Context(), draft, client.DraftCommit{UnchangedSince: checked(group("staged"))}); err != nil {
		t.Error(err)
	}
}
