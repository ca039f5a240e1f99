// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
)

func (s *Server) registerOrchestrators() {
	schema := s.schemaOf(api.Orchestrator{})
	s.add(operation{
		id: "announce-orchestrator", method: http.MethodPost, path: "/v1/orchestrators/{ref}/announce", tag: "orchestrators", roles: writers,
		summary: "Say, once after each start, which system the sender stands for; the first one is bound to the orchestrator, another is refused",
		body:    s.schemaOf(api.Announcement{}), reply: schema, handle: s.announce,
	})
	s.add(operation{
		id: "owned-by-orchestrator", method: http.MethodGet, path: "/v1/orchestrators/{ref}/owned", tag: "orchestrators", roles: readers,
		summary: "Count what an orchestrator owns", reply: s.schemaOf(api.Owned{}), handle: s.owned,
	})
	s.add(operation{
		id: "retire-orchestrator", method: http.MethodPost, path: "/v1/orchestrators/{ref}/retire", tag: "orchestrators", roles: admins,
		summary: "Delete some of what an orchestrator owns and answer with what is left; with nothing left, the orchestrator itself. Repeat until it is done",
		body:    s.schemaOf(api.Retirement{}), reply: s.schemaOf(api.Owned{}), handle: s.retire,
	})
}

// announce binds the sender's orchestrator to the identity of its system, or
// refuses another system under the same name.
func (s *Server) announce(ctx context.Context, r *request) (any, error) {
	var said api.Announcement
	if err := api.DecodeStrictly(r.body, &said); err != nil {
		return nil, err
	}
	about := func(code api.Code, format string, args ...any) error {
		e := api.Errorf(code, "announce orchestrator "+r.PathValue("ref")+": "+format, args...)
		return e.About(api.KindOrchestrator, r.PathValue("ref"), "identity")
	}
	if said.Identity == "" || len(said.Identity) > api.MaxNameBytes {
		return nil, about(api.CodeInvalid, "its system's identity is required, at most %d bytes", api.MaxNameBytes)
	}
	administrators := api.Identity{Name: r.who.Name, Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	for attempt := 1; ; attempt++ {
		snapshot, err := s.seen(ctx, r, 0)
		if err != nil {
			return nil, err
		}
		found, err := find(snapshot, api.KindOrchestrator, r.PathValue("ref"))
		if err != nil {
			return nil, err
		}
		o := api.Clone(found.(*api.Orchestrator))
		switch {
		case o.Meta.Name != r.who.Orchestrator || r.who.Scope != nil || o.Meta.Name == api.AdministratorsName:
			return nil, about(api.CodeForbidden, "only its own credentials, not narrowed, announce an orchestrator")
		case o.Spec.Identity == said.Identity:
			return o, nil
		case o.Spec.Identity != "":
			err := about(api.CodeConflict, "it is bound to the system %s, and this is %s: another system must have an orchestrator of its own (weft orchestrator join)", o.Spec.Identity, said.Identity)
			s.audit(r.who, "announce", api.KindOrchestrator, o.Meta.Name, 0, err)
			return nil, err
		}
		o.Spec.Identity = said.Identity
		result, err := s.commit(ctx, administrators, []api.Operation{{Op: api.OpUpdate, Object: o}}, store.CommitOptions{})
		var e *api.Error
		if errors.As(err, &e) && e.Code == api.CodePrecondition && attempt < joinAttempts {
			continue
		}
		if err != nil {
			return nil, err
		}
		return result.Objects[0], nil
	}
}

// holdings reads what the orchestrator that the path names owns.
func (s *Server) holdings(ctx context.Context, r *request) (api.Object, store.Holdings, error) {
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, store.Holdings{}, err
	}
	o, err := find(snapshot, api.KindOrchestrator, r.PathValue("ref"))
	if err != nil {
		return nil, store.Holdings{}, err
	}
	if r.who.Scope != nil {
		return nil, store.Holdings{}, api.Errorf(api.CodeForbidden, "list what %s owns: these credentials are for %s only", o.Head().Meta.Name, r.who.Scope)
	}
	h, err := s.store.Holdings(ctx, o.Head().Meta.UUID)
	return o, h, err
}

func (s *Server) owned(ctx context.Context, r *request) (any, error) {
	_, h, err := s.holdings(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.who.Orchestrator != api.AdministratorsName {
		h.Blockers = nil // they are others'
	}
	return counted(h), nil
}

func counted(h store.Holdings) api.Owned {
	owned := api.Owned{Revision: h.Revision, Total: len(h.Objects), Kinds: []api.OwnedKind{}, Blockers: h.Blockers}
	for _, o := range h.Objects {
		last := len(owned.Kinds) - 1
		if kind := o.Head().Kind; last < 0 || owned.Kinds[last].Kind != kind {
			owned.Kinds = append(owned.Kinds, api.OwnedKind{Kind: kind})
			last++
		}
		owned.Kinds[last].Count++
	}
	return owned
}

// retire does one step: the tokens first, so that nobody writes any more, then
// as many objects as one transaction takes, at last the orchestrator. Whoever
// repeats it, from wherever, goes on where it stopped.
func (s *Server) retire(ctx context.Context, r *request) (any, error) {
	var wanted api.Retirement
	if err := api.DecodeStrictly(r.body, &wanted); err != nil {
		return nil, err
	}
	if r.who.Orchestrator != api.AdministratorsName || r.who.Scope != nil {
		return nil, api.Errorf(api.CodeForbidden, "retire orchestrator %s: only Weft's administrators do", r.PathValue("ref"))
	}
	o, h, err := s.holdings(ctx, r)
	if err != nil {
		return nil, err
	}
	name := o.Head().Meta.Name
	refuse := func(code api.Code, field, text string) error {
		e := api.Errorf(code, "retire orchestrator %s: %s", name, text).About(api.KindOrchestrator, name, field)
		e.Referrers = h.Blockers
		return e
	}
	switch {
	case name == api.AdministratorsName:
		return nil, refuse(api.CodeForbidden, "", "it is the administrators' own, without which nobody could write")
	case wanted.Confirm != name:
		h.Blockers = nil
		return nil, refuse(api.CodeInvalid, "confirm", "it deletes all that it owns: repeat its name to confirm")
	case len(h.Blockers) > 0:
		err := refuse(api.CodeConflict, "", "others refer to what it owns: they have to let go first; nothing was deleted")
		s.audit(r.who, "retire", api.KindOrchestrator, name, 0, err)
		return nil, err
	}
	for _, token := range h.Tokens {
		err := s.store.DeleteToken(ctx, r.who, token)
		s.audit(r.who, api.OpDelete, "token", token, 0, err)
		if err != nil {
			return nil, err
		}
	}
	if len(h.Objects) > 0 {
		as := api.Identity{Name: r.who.Name + " retiring " + name, Orchestrator: name, Role: api.RoleAdmin}
		err = s.deleteSome(ctx, as, h.Objects)
	} else {
		err = s.deleteOrchestrator(ctx, r.who, o.(*api.Orchestrator))
	}
	if err != nil || len(h.Objects) == 0 {
		return api.Owned{Revision: h.Revision, Kinds: []api.OwnedKind{}, Retired: err == nil}, err
	}
	if h, err = s.store.Holdings(ctx, o.Head().Meta.UUID); err != nil {
		return nil, err
	}
	return counted(h), nil
}

// deleteSome deletes the first of some objects, as many as fit in a transaction.
func (s *Server) deleteSome(ctx context.Context, as api.Identity, objects []api.Object) error {
	for n := min(len(objects), store.MaxOperations); ; n /= 2 {
		var ops []api.Operation
		for _, o := range objects[:n] {
			bare := api.New(o.Head().Kind)
			bare.Head().Meta.UUID = o.Head().Meta.UUID
			ops = append(ops, api.Operation{Op: api.OpDelete, Object: bare})
		}
		_, err := s.commit(ctx, as, ops, store.CommitOptions{})
		var e *api.Error
		if errors.As(err, &e) && e.Code == api.CodeTooLarge && n > 1 {
			continue
		}
		return err
	}
}

// deleteOrchestrator deletes an orchestrator that owns nothing, with the domain
// that was made for it if nobody else uses it.
func (s *Server) deleteOrchestrator(ctx context.Context, who api.Identity, o *api.Orchestrator) error {
	gone := func(kind api.Kind, uuid string) api.Operation {
		bare := api.New(kind)
		bare.Head().Meta.UUID = uuid
		return api.Operation{Op: api.OpDelete, Object: bare}
	}
	ops := []api.Operation{gone(api.KindOrchestrator, o.Meta.UUID)}
	if o.Spec.Domain.Name == o.Meta.Name {
		_, err := s.commit(ctx, who, append(ops, gone(api.KindDomain, o.Spec.Domain.UUID)), store.CommitOptions{})
		var e *api.Error
		inUse := errors.As(err, &e) && (e.Code == api.CodeConflict || e.Code == api.CodeForbidden)
		if !inUse {
			return err
		}
	}
	_, err := s.commit(ctx, who, ops, store.CommitOptions{})
	return err
}
