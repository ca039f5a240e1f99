// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
)

// draftCommit is the body of a commit of a draft.
type draftCommit struct {
	Revision  int64     `json:"revision,omitempty" doc:"Revision of the draft that was looked at; any when absent."`
	DryRun    bool      `json:"dryRun,omitempty" doc:"Work everything out, write nothing."`
	Unchanged int64     `json:"unchangedSince,omitempty" minimum:"0" doc:"Refused if another transaction wrote objects after this revision: the base of a check."`
	Hold      *api.Hold `json:"hold,omitempty" doc:"The changes are to hold at all hosts at once: the draft stays, empty, and holds them."`
}

func (s *Server) registerDrafts() {
	s.add(operation{
		id: "commit-draft", method: http.MethodPost, path: "/v1/drafts/{ref}/commit", tag: "drafts", roles: writers,
		summary: "Do all that is staged and delete the draft (with hold: keep it, empty, until all hosts have the changes), in one transaction; refused with the names of what changed since it was staged",
		body:    s.schemaOf(draftCommit{}),
		reply:   object(map[string]*schemaT{"revision": revisionSchema(), "objects": list(&schemaT{Type: huma.TypeObject, Description: "Of each write its object, in the order in which they were done."})}, "revision", "objects"),
		handle:  s.commitDraft,
	})
}

// commitDraft does what is staged with the rights of who asks for it. Each
// write carries the revision at which its object was staged, so the store
// refuses all of them if one has changed, also at the last moment.
func (s *Server) commitDraft(ctx context.Context, r *request) (any, error) {
	var asked draftCommit
	if err := api.DecodeStrictly(r.body, &asked); err != nil {
		return nil, err
	}
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	found, err := find(snapshot, api.KindDraft, r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	d := found.(*api.Draft)
	refused := func(code api.Code, format string, args ...any) *api.Error {
		return api.Errorf(code, "commit draft "+d.Meta.FQName+": "+format, args...).About(api.KindDraft, d.Meta.FQName, "spec.writes")
	}
	ops, err := d.Operations()
	switch {
	case err != nil:
		return nil, refused(api.CodeInvalid, "%v", err)
	case len(ops) == 0:
		return nil, refused(api.CodeInvalid, "nothing is staged in it")
	case asked.Revision != 0 && asked.Revision != d.Meta.Revision:
		return nil, refused(api.CodePrecondition, "it is at revision %d, not %d: somebody staged more or less; look at it again", d.Meta.Revision, asked.Revision)
	}
	if changed := changedSince(snapshot, ops); len(changed) > 0 {
		e := refused(api.CodePrecondition, "%s: look at the difference, and stage or revert these again", strings.Join(changed, "; "))
		if !asked.DryRun {
			s.audit(r.who, "commit", api.KindDraft, d.Meta.FQName, 0, e)
		}
		return nil, e
	}
	staged := len(ops)
	result, err := s.commit(ctx, r.who, append(ops, afterCommit(d, asked.Hold)), store.CommitOptions{DryRun: asked.DryRun, UnchangedSince: asked.Unchanged})
	if err != nil {
		return nil, err
	}
	return struct {
		Revision int64        `json:"revision"`
		Objects  []api.Object `json:"objects"`
	}{result.Revision, result.Objects[:staged]}, nil
}

// afterCommit deletes a draft, or makes it what holds the change.
func afterCommit(d *api.Draft, hold *api.Hold) api.Operation {
	if hold != nil {
		holds := api.Clone(d)
		holds.Spec = api.DraftSpec{Hold: hold}
		return api.Operation{Op: api.OpUpdate, Object: holds}
	}
	gone := api.New(api.KindDraft)
	gone.Head().Meta.UUID, gone.Head().Meta.Revision = d.Meta.UUID, d.Meta.Revision
	return api.Operation{Op: api.OpDelete, Object: gone}
}

// changedSince says of the objects that a draft changes or deletes which are
// not as they were when that was staged.
func changedSince(snapshot api.Snapshot, ops []api.Operation) []string {
	var changed []string
	for _, op := range ops {
		m := &op.Object.Head().Meta
		if op.Op == api.OpCreate {
			continue
		}
		kind := op.Object.Head().Kind
		now := snapshot.Get(kind, m.UUID)
		switch {
		case now == nil:
			changed = append(changed, fmt.Sprintf("%s %s is gone", kind, api.StagedRef(op.Object)))
		case now.Head().Meta.Revision != m.Revision:
			changed = append(changed, fmt.Sprintf("%s %s was changed (revision %d, staged at %d)", kind, now.Head().Meta.FQName, now.Head().Meta.Revision, m.Revision))
		}
	}
	return changed
}
