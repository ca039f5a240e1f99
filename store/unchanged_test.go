// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/weft-network/weft/api"
)

// A transaction that rests on a revision is made only if no other one wrote objects
// since, through whichever controller; what hosts report is no matter.
func TestUnchangedSince(t *testing.T) {
	w := newWorld(t)
	other := w.open()
	since := func(s *Store, revision int64, o api.Object, dry bool) error {
		_, err := s.Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: o}}, CommitOptions{UnchangedSince: revision, DryRun: dry})
		return err
	}
	refused := func(err error, code api.Code) {
		t.Helper()
		var e *api.Error
		if !errors.As(err, &e) || e.Code != code || e.Field != api.FieldUnchangedSince || code == api.CodePrecondition && (e.Kind != api.KindNetwork || e.Object == "") {
			t.Errorf("%#v, want %s", err, code)
		}
	}
	h := w.create(admin, host("h1", "192.0.2.1"))
	base := w.Latest().Revision()
	check(t, w.PutStatus(t.Context(), api.KindHost, h.Head().Meta.UUID, api.HostStatus{Connected: true}))
	check(t, since(w.Store, base, network("a", project), true))
	check(t, since(other, base, network("a", project), false))
	refused(since(w.Store, base, network("b", project), false), api.CodePrecondition)
	refused(since(w.Store, base, network("b", project), true), api.CodePrecondition)
	refused(since(w.Store, w.Latest().Revision()+1000, network("b", project), false), api.CodeInvalid)
	base = other.Latest().Revision()
	w.remove(admin, w.Latest().Lookup(api.KindNetwork, named("default-domain:default-project:a")))
	refused(since(other, base, network("b", project), false), api.CodePrecondition)
	reopened := w.open()
	refused(since(reopened, base, network("b", project), false), api.CodePrecondition)
	check(t, since(reopened, w.Latest().Revision(), network("b", project), false))
}

// Of those that rest on the same revision, and have nothing else to do with each
// other, one is made.
func TestUnchangedSinceOfManyAtOnce(t *testing.T) {
	w := newWorld(t)
	stores := []*Store{w.Store, w.open(), w.open()}
	for round := range 20 {
		base := w.Latest().Revision()
		errs := make([]error, len(stores))
		var wait sync.WaitGroup
		for i, s := range stores {
			wait.Go(func() {
				o := network(fmt.Sprintf("n%d-%d", round, i), project)
				_, errs[i] = s.Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: o}}, CommitOptions{UnchangedSince: base})
			})
		}
		wait.Wait()
		made := 0
		for _, err := range errs {
			var e *api.Error
			if err == nil {
				made++
			} else if !errors.As(err, &e) || e.Code != api.CodePrecondition {
				t.Error(err)
			}
		}
		if made != 1 {
			t.Fatalf("round %d: %d of %d were made", round, made, len(stores))
		}
		for _, s := range stores { // each is to begin from what was made
			if _, err := s.Snapshot(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What is staged, and what only an orchestrator understands, is no matter to who rests on
// a revision: nothing follows from it. What holds a change does matter.
func TestUnchangedSinceHeedsWhatFollows(t *testing.T) {
	w := newWorld(t)
	base := w.Latest().Revision()
	since := func(name string) error {
		_, err := w.Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: network(name, project)}}, CommitOptions{UnchangedSince: base, DryRun: true})
		return err
	}
	draft := &api.Draft{Header: head(api.KindDraft, "d", project)}
	document := &api.ForeignDocument{Header: head(api.KindForeignDocument, "f", project), Spec: api.ForeignDocumentSpec{Body: api.Document(`{"a":1}`)}}
	document.Meta.Foreign = &api.Foreign{Kind: "k", ID: "i"}
	for _, o := range []api.Object{draft, document} {
		made := w.create(admin, o)
		check(t, since("a"))
		w.remove(admin, made)
		check(t, since("a"))
	}
	if w.Latest().Revision() == base {
		t.Error("nothing was written")
	}
	hold := w.create(admin, &api.Draft{Header: head(api.KindDraft, "h", project), Spec: api.DraftSpec{Hold: &api.Hold{Seconds: 5}}})
	var e *api.Error
	if err := since("a"); !errors.As(err, &e) || e.Code != api.CodePrecondition {
		t.Errorf("after a hold was written: %v", err)
	}
	base = w.Latest().Revision()
	w.remove(admin, hold)
	if err := since("a"); !errors.As(err, &e) || e.Code != api.CodePrecondition {
		t.Errorf("after a hold was ended: %v", err)
	}
	base = w.Latest().Revision()
	both := []api.Operation{{Op: api.OpCreate, Object: network("b", project)}, {Op: api.OpCreate, Object: &api.Draft{Header: head(api.KindDraft, "e", project)}}}
	if _, err := w.Commit(t.Context(), admin, both, CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := since("a"); !errors.As(err, &e) || e.Code != api.CodePrecondition {
		t.Errorf("after a network was written with a draft: %v", err)
	}
}
