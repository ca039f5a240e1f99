// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"slices"

	"github.com/weft-network/weft/api"
)

// blockersNamed is how many objects in the way of a retirement are named.
const blockersNamed = 20

// Holdings is what an orchestrator owns at one revision.
type Holdings struct {
	Revision int64
	// Objects are in an order in which they can be deleted.
	Objects []api.Object
	// Blockers name objects of others that refer to one of them or to the
	// orchestrator itself, up to a few.
	Blockers []string
	// Tokens are the ids of the tokens that are bound to it.
	Tokens []string
}

// Holdings returns what the orchestrator with a UUID owns.
func (s *Store) Holdings(ctx context.Context, orchestrator string) (Holdings, error) {
	snapshot, err := s.linearizable(ctx, 0)
	if err != nil {
		return Holdings{}, err
	}
	h := Holdings{Revision: snapshot.revision}
	self := snapshot.record(idOf(api.KindOrchestrator, orchestrator))
	if self == nil {
		return h, api.Errorf(api.CodeNotFound, "list what is owned: there is no orchestrator %s", orchestrator)
	}
	name := self.object.Head().Meta.Name
	owned := snapshot.ownedBy(self.id, name)
	foreign := func(r *record) {
		for _, by := range newView(snapshot).referrers(r.id, blockersNamed) {
			text := nameOf(by) + " of " + by.object.Head().Meta.Owner
			if by.object.Head().Meta.Owner != name && len(h.Blockers) < blockersNamed && !slices.Contains(h.Blockers, text) {
				h.Blockers = append(h.Blockers, text)
			}
		}
	}
	foreign(self)
	for _, r := range owned {
		h.Objects = append(h.Objects, r.object)
		foreign(r)
	}
	for _, t := range snapshot.tokens() {
		if t.Orchestrator == orchestrator {
			h.Tokens = append(h.Tokens, t.ID)
		}
	}
	return h, nil
}

// ownedBy lists the objects of an owner, who refers before what is referred to.
func (s *Snapshot) ownedBy(orchestrator id, name string) []*record {
	var owned []*record
	kinds := slices.Clone(api.Kinds())
	slices.Reverse(kinds)
	for _, info := range kinds {
		var some []*record
		collect := func(r *record) bool {
			if r.object.Head().Meta.Owner == name {
				some = append(some, r)
			}
			return true
		}
		if name == api.AdministratorsName { // whose objects do not refer to it
			s.eachOfKind(info.Kind, collect)
		} else {
			s.eachReferrer(orchestrator, info.Kind, collect)
		}
		owned = append(owned, s.referrersFirst(some)...)
	}
	return owned
}

// referrersFirst orders objects of one kind, which may refer to each other as
// shares of shares do.
func (s *Snapshot) referrersFirst(some []*record) []*record {
	waiting := map[id]*record{}
	for _, r := range some {
		waiting[r.id] = r
	}
	var ordered []*record
	var visit func(r *record)
	visit = func(r *record) {
		if waiting[r.id] == nil {
			return
		}
		delete(waiting, r.id)
		s.eachReferrer(r.id, r.id.kind(), func(by *record) bool {
			visit(by)
			return true
		})
		ordered = append(ordered, r)
	}
	for _, r := range some {
		visit(r)
	}
	return ordered
}
