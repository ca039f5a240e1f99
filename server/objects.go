// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
)

// patchAttempts is how often a patch without a revision is applied anew to a
// newer state of its object.
const patchAttempts = 16

// mediaPatch is a JSON merge patch (RFC 7396).
const mediaPatch = "application/merge-patch+json"

// Every read may ask for less, or wait for more.
var (
	paramConsistency = parameter{name: "consistency", doc: "stale: answer from what this controller has, which may be behind. Default: everything that was committed before the request."}
	paramMinRevision = parameter{name: "minRevision", doc: "Wait until this revision is here.", number: true}
	paramRevision    = parameter{name: "revision", doc: "Precondition: the object's revision; 0 or absent means any.", number: true}
	paramParent      = parameter{name: "parent", doc: "Only children of this object: UUID or fully qualified name."}
)

// addKind registers the operations that every kind has.
func (s *Server) addKind(info api.Info) {
	registry := s.api.OpenAPI().Components.Schemas
	schema := kindSchema(registry, info)
	base := operation{tag: info.Plural, path: "/v1/" + info.Plural}
	one := base
	one.path += "/{ref}"
	reads := []parameter{paramConsistency, paramMinRevision}

	o := base
	o.id, o.method, o.roles = "list-"+info.Plural, http.MethodGet, readers
	o.summary = "List " + info.Plural + ", all or a selection, whole or by pages"
	o.query, o.reply = listParameters(info), listSchema(schema)
	o.handle = func(ctx context.Context, r *request) (any, error) { return s.list(ctx, r, info) }
	s.add(o)

	o = base
	o.id, o.method, o.roles, o.status = "create-"+string(info.Kind), http.MethodPost, writers, http.StatusCreated
	o.summary, o.body, o.reply = "Create a "+string(info.Kind), schema, schema
	o.handle = func(ctx context.Context, r *request) (any, error) { return s.create(ctx, r, info) }
	s.add(o)

	o = one
	o.id, o.method, o.roles = "get-"+string(info.Kind), http.MethodGet, readers
	o.summary, o.query, o.reply = "Read one "+string(info.Kind), append([]parameter{paramFields}, reads...), schema
	o.handle = func(ctx context.Context, r *request) (any, error) { return s.get(ctx, r, info.Kind) }
	s.add(o)

	o = one
	o.id, o.method, o.roles = "update-"+string(info.Kind), http.MethodPut, writers
	o.summary = "Replace the spec and the changeable meta; meta.revision is a precondition"
	o.body, o.reply = schema, schema
	o.handle = func(ctx context.Context, r *request) (any, error) { return s.update(ctx, r, info.Kind) }
	s.add(o)

	o = one
	o.id, o.method, o.roles, o.media = "patch-"+string(info.Kind), http.MethodPatch, writers, mediaPatch
	o.summary = "Change some fields by a JSON merge patch (RFC 7396)"
	o.body, o.reply = &schemaT{Type: "object", Description: "The fields to change; null removes one."}, schema
	o.handle = func(ctx context.Context, r *request) (any, error) { return s.patch(ctx, r, info.Kind) }
	s.add(o)

	o = one
	o.id, o.method, o.roles, o.status = "delete-"+string(info.Kind), http.MethodDelete, writers, http.StatusNoContent
	o.summary, o.query = "Delete a "+string(info.Kind), []parameter{paramRevision}
	o.handle = func(ctx context.Context, r *request) (any, error) { return nil, s.delete(ctx, r, info.Kind) }
	s.add(o)
}

// snapshot returns the state a read asks for.
func (s *Server) snapshot(ctx context.Context, r *request) (api.Snapshot, error) {
	switch r.URL.Query().Get("consistency") {
	case "stale":
		if latest := s.store.Latest(); latest.Revision() >= r.number("minRevision") {
			return store.Seen(latest, r.who), nil
		}
	case "":
	default:
		return nil, badQuery(paramConsistency.name, "may be stale or absent")
	}
	return s.seen(ctx, r, r.number("minRevision"))
}

// seen returns the newest state as the sender may see it. It is the only way
// to a state for what is done on somebody's behalf.
func (s *Server) seen(ctx context.Context, r *request, minRevision int64) (api.Snapshot, error) {
	snapshot, err := s.store.Snapshot(ctx, minRevision)
	if err != nil {
		return nil, err
	}
	return store.Seen(snapshot, r.who), nil
}

// find returns the object that a path or query names.
func find(snapshot api.Snapshot, kind api.Kind, text string) (api.Object, error) {
	if o := snapshot.Lookup(kind, api.ParseRef(text)); o != nil {
		return o, nil
	}
	return nil, api.Errorf(api.CodeNotFound, "there is no %s %q", kind, text).About(kind, text, "")
}

func (s *Server) get(ctx context.Context, r *request, kind api.Kind) (any, error) {
	show, err := projectionOf(kind, r.URL.Query())
	if err != nil {
		return nil, err
	}
	snapshot, err := s.snapshot(ctx, r)
	if err != nil {
		return nil, err
	}
	o, err := find(snapshot, kind, r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	return show.object(s.silentOwners().on(o))
}

func (s *Server) create(ctx context.Context, r *request, info api.Info) (any, error) {
	o, err := decodeObject(r.body, info.Kind)
	if err != nil {
		return nil, err
	}
	return s.commitOne(ctx, r, api.OpCreate, o)
}

func (s *Server) update(ctx context.Context, r *request, kind api.Kind) (any, error) {
	o, err := decodeObject(r.body, kind)
	if err != nil {
		return nil, err
	}
	if err := s.aim(ctx, r, o); err != nil {
		return nil, err
	}
	return s.commitOne(ctx, r, api.OpUpdate, o)
}

// aim makes the object of a body the one that the path names.
func (s *Server) aim(ctx context.Context, r *request, o api.Object) error {
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return err
	}
	h := o.Head()
	target, err := find(snapshot, h.Kind, r.PathValue("ref"))
	if err != nil {
		return err
	}
	uuid := target.Head().Meta.UUID
	if h.Meta.UUID != "" && h.Meta.UUID != uuid {
		return api.Errorf(api.CodeInvalid, "write %s %s: the body has UUID %s", h.Kind, r.PathValue("ref"), h.Meta.UUID).About(h.Kind, r.PathValue("ref"), "meta.uuid")
	}
	h.Meta.UUID = uuid
	return nil
}

func (s *Server) patch(ctx context.Context, r *request, kind api.Kind) (any, error) {
	revision, err := patchRevision(r.body)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		o, err := s.patched(ctx, r, kind)
		if err != nil {
			return nil, err
		}
		reply, err := s.commitOne(ctx, r, api.OpUpdate, o)
		var e *api.Error
		if errors.As(err, &e) && e.Code == api.CodePrecondition && revision == 0 && attempt < patchAttempts {
			continue // somebody else was faster; the patch still applies
		}
		return reply, err
	}
}

// patchRevision checks what every patch must be and returns the revision that it
// brings as precondition, 0 if none.
func patchRevision(patch []byte) (int64, error) {
	var fields map[string]json.RawMessage
	err := api.DecodeStrictly(patch, &fields)
	if err != nil { // also what RFC 7396 calls a patch that leaves nothing: null
		return 0, err
	}
	var meta struct {
		Revision int64 `json:"revision"`
	}
	if json.Unmarshal(fields["meta"], &meta) != nil {
		return 0, nil // what is wrong with it is told of the patched object
	}
	return meta.Revision, nil
}

// patched applies the patch to the newest state. The result carries that
// state's revision as precondition, unless the patch brings its own.
func (s *Server) patched(ctx context.Context, r *request, kind api.Kind) (api.Object, error) {
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	old, err := find(snapshot, kind, r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	before, err := encode(old)
	if err != nil {
		return nil, err
	}
	after, err := jsonpatch.MergePatch(before, r.body)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "patch %s %s: %v", kind, r.PathValue("ref"), err)
	}
	o, err := decodeObject(after, kind)
	if err != nil {
		return nil, err
	}
	if m := &o.Head().Meta; m.Revision == 0 {
		m.Revision = old.Head().Meta.Revision
	}
	return o, s.aim(ctx, r, o)
}

func (s *Server) delete(ctx context.Context, r *request, kind api.Kind) error {
	o := api.New(kind)
	o.Head().Meta.Revision = r.number("revision")
	if err := s.aim(ctx, r, o); err != nil {
		return err
	}
	_, err := s.commitOne(ctx, r, api.OpDelete, o)
	return err
}

func (s *Server) commitOne(ctx context.Context, r *request, op string, o api.Object) (any, error) {
	result, err := s.commit(ctx, r.who, []api.Operation{{Op: op, Object: o}}, store.CommitOptions{})
	if err != nil {
		return nil, err
	}
	return result.Objects[0], nil
}

// commit writes and leaves a trace of it before anybody hears of it.
func (s *Server) commit(ctx context.Context, who api.Identity, ops []api.Operation, options store.CommitOptions) (store.Result, error) {
	result, err := s.store.Commit(ctx, who, ops, options)
	if options.DryRun {
		return result, err
	}
	for i, op := range ops {
		h := op.Object.Head()
		if err == nil {
			h = result.Objects[i].Head()
		}
		s.auditEntry(api.AuditEntry{
			Who: who.Name, Orchestrator: who.Orchestrator, Role: who.Role,
			Op: op.Op, Kind: h.Kind, Object: described(h), UUID: h.Meta.UUID, Revision: result.Revision,
		}, err)
	}
	return result, err
}

func described(h *api.Header) string {
	m := &h.Meta
	for _, text := range []string{m.FQName, api.JoinName(m.Parent.String(), m.Name), m.UUID} {
		if text != "" {
			return text
		}
	}
	return ""
}

// rawOperation is an operation as it comes in.
type rawOperation struct {
	Op     string          `json:"op"`
	Object json.RawMessage `json:"object"`
}

// transaction commits several operations as one.
func (s *Server) transaction(ctx context.Context, r *request) (any, error) {
	var body struct {
		Operations []rawOperation `json:"operations"`
		DryRun     bool           `json:"dryRun"`
		Unchanged  int64          `json:"unchangedSince"`
	}
	if err := api.DecodeStrictly(r.body, &body); err != nil {
		return nil, err
	}
	if n := len(body.Operations); n == 0 || n > store.MaxOperations {
		return nil, api.Errorf(api.CodeInvalid, "transaction: %d operations, want 1 to %d", n, store.MaxOperations).About("", "", "operations")
	}
	ops, err := decodeOperations(body.Operations)
	if err != nil {
		return nil, err
	}
	result, err := s.commit(ctx, r.who, ops, store.CommitOptions{DryRun: body.DryRun, UnchangedSince: body.Unchanged})
	if err != nil {
		return nil, err
	}
	return struct {
		Revision int64        `json:"revision"`
		Objects  []api.Object `json:"objects"`
	}{result.Revision, result.Objects}, nil
}

func decodeOperations(raw []rawOperation) ([]api.Operation, error) {
	var ops []api.Operation
	for n, op := range raw {
		o, err := decodeObject(op.Object, "")
		var e *api.Error
		if errors.As(err, &e) {
			e.Message = fmt.Sprintf("operation %d of %d: %s", n+1, len(raw), e.Message)
			e.Field = cmp.Or(e.Field, fmt.Sprintf("operations[%d].object", n))
		}
		if err != nil {
			return nil, err
		}
		ops = append(ops, api.Operation{Op: op.Op, Object: o})
	}
	return ops, nil
}
