// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"

	"github.com/weft-network/weft/api"
)

// sees tells whether the writer may see an object, also one that the
// transaction made.
func (p *plan) sees(r *record) bool { return p.sight.sees(p.base, r) }

// nameOf is how messages name an object that stands in the way.
func (p *plan) nameOf(r *record) string {
	if p.sees(r) {
		return nameOf(r)
	}
	return "something that these credentials may not see"
}

// user is how messages name an object that refers to the writer's: what may not
// be seen by kind and owner, whom to ask to let go.
func (p *plan) user(r *record) string {
	if p.sees(r) {
		return nameOf(r)
	}
	return "a " + string(r.id.kind()) + " of orchestrator " + r.object.Head().Meta.Owner
}

// mayWrite checks that the writer may change the object, and has seen its
// newest state. It reports whether that is because of a share of verb edit.
func (p *plan) mayWrite(op string, old *record, revision int64, fail failure) (edited bool, err error) {
	m := &old.object.Head().Meta
	outside := p.inScope(old, fail)
	if m.Owner != p.by.Orchestrator {
		outside = fail.forbidden("meta.owner", "it belongs to orchestrator %s, which alone may %s it; these credentials write as %s", m.Owner, op, p.by.Orchestrator)
	}
	if outside != nil {
		if edited = op == api.OpUpdate && p.mayEdit(old); !edited {
			return false, outside
		}
	}
	if administered(old.id.kind()) && !administrator(p.by) {
		return false, fail.forbidden("meta.kind", "only Weft's administrators change %ss", old.id.kind())
	}
	if revision != 0 && revision != old.modRevision {
		return false, fail.with(api.CodePrecondition, "meta.revision", "it is at revision %d, not %d: somebody changed it; read it again", old.modRevision, revision)
	}
	if err := understood(old); err != nil {
		return false, fail.newer("%v", err)
	}
	return edited, nil
}

// inScope checks that an object lies below what narrowed credentials are for.
func (p *plan) inScope(r *record, fail failure) error {
	if !p.sight.narrowed {
		return nil
	}
	domain, project := containers(r.object)
	inDomain := p.sight.within[domain] && r.id.kind() != api.KindDomain
	inProject := p.sight.within[project] && r.id.kind() != api.KindProject
	if inDomain || inProject {
		return nil
	}
	return fail.forbidden("meta.parent", "these credentials write below %s only", p.by.Scope)
}

// mayEdit finds a share that lets the writer change another owner's object. A
// share, and what only administrators change, cannot be had this way.
func (p *plan) mayEdit(old *record) bool {
	switch old.id.kind() {
	case api.KindShare, api.KindOrchestrator, api.KindHost:
		return false
	}
	found := false
	p.base.sharesOn(old.id, func(r *record, share *api.Share) bool {
		if !share.Allows(api.VerbEdit) {
			return true
		}
		p.base.grantTags(share, func(tag string) bool {
			found = p.sight.keys[tag] || p.sight.everything && p.grantedToWeft(share)
			return !found
		})
		if found {
			p.restsOn(r, share)
		}
		return !found
	})
	return found
}

// grantedToWeft tells whether a share is for the administrators, who need no
// keys to see things.
func (p *plan) grantedToWeft(s *api.Share) bool {
	switch s.Spec.GranteeKind {
	case api.GranteeAll:
		return true
	case api.KindOrchestrator:
		return s.Spec.Grantee.UUID == p.writer.id.uuid()
	case api.KindDomain:
		return s.Spec.Grantee.UUID == p.writer.object.(*api.Orchestrator).Spec.Domain.UUID
	case api.KindProject:
		r := p.base.record(idOf(api.KindProject, s.Spec.Grantee.UUID))
		return r != nil && r.object.Head().Meta.Owner == p.by.Orchestrator
	}
	return false
}

// restsOn makes the commit fail when a share is changed or revoked at the same
// moment, or the writer leaves the domain that it is for.
func (p *plan) restsOn(r *record, share *api.Share) {
	p.compare[r.id.objectKey()] = unchanged(r.id.objectKey(), r.modRevision)
	if share.Spec.GranteeKind == api.KindDomain {
		p.compare[p.writer.id.objectKey()] = unchanged(p.writer.id.objectKey(), p.writer.modRevision)
	}
}

// refersTo checks one reference and returns the UUID of the share that allows
// it, if it needs one. Where the target may not be seen, or does not exist, the
// answer is the same: errUnseen.
func (p *plan) refersTo(r, old *record, f api.FieldRef, t *record, edited bool, fail failure) (string, error) {
	kept, was := keptShare(old, f, t)
	if f.Verb == "" || was {
		return kept, nil
	}
	if edited {
		// Who edits another's object may bring in only what both may refer to.
		if _, err := p.shareFor(r, f, t, p.writer, p.by.Orchestrator, fail); err != nil {
			return "", err
		}
		owner := r.object.Head().Meta.Owner
		return p.shareFor(r, f, t, p.base.byName(api.KindOrchestrator, owner), owner, fail)
	}
	return p.shareFor(r, f, t, p.writer, p.by.Orchestrator, fail)
}

// keptShare returns the share of a field that is as it was, which cannot have
// been revoked since, and whether it is as it was.
func keptShare(old *record, f api.FieldRef, t *record) (string, bool) {
	if !old.refersAlready(f.Field, t) {
		return "", false
	}
	return old.shares[f.Field], true
}

// errUnseen says that a target does not exist for the writer.
var errUnseen = fmt.Errorf("there is no such object to see")

// shareFor finds the share that lets an orchestrator refer to an object. It
// needs none for its own objects and the subnets of its networks (narrowed
// credentials: within their scope), and for making projects in its own domain.
func (p *plan) shareFor(r *record, f api.FieldRef, t, writer *record, name string, fail failure) (string, error) {
	owner := t.object.Head().Meta.Owner
	writing := name == p.by.Orchestrator
	// A share of somebody else's is no leave to share it on.
	usable := !(r.id.kind() == api.KindShare && f.Field == "spec.target")
	for n, i := range coveredBy(t) {
		if n > 0 && !usable {
			break // only the owner of the subnet itself shares it
		}
		of := p.record(i)
		if of != nil && of.object.Head().Meta.Owner == name && !(writing && p.sight.narrowed && !p.insideScope(of)) {
			return "", nil
		}
	}
	if f.Field == fieldParent && t.id.kind() == api.KindDomain && t.id.uuid() == writer.object.(*api.Orchestrator).Spec.Domain.UUID {
		p.compare[writer.id.objectKey()] = unchanged(writer.id.objectKey(), writer.modRevision)
		return "", nil
	}
	for _, i := range coveredBy(t) {
		var found *record
		p.base.sharesOn(i, func(s *record, share *api.Share) bool {
			if usable && share.Allows(f.Verb) && p.granted(share, r, writer) {
				found = s
			}
			return found == nil
		})
		if found != nil {
			// A share that is revoked or cut at the same moment makes the commit fail.
			p.compare[found.id.objectKey()] = unchanged(found.id.objectKey(), found.modRevision)
			return found.id.uuid(), nil
		}
	}
	switch {
	case !p.sees(t):
		return "", errUnseen
	case !usable:
		return "", fail.forbidden(f.Field, "%s belongs to orchestrator %s, which alone may share it", nameOf(t), owner)
	}
	return "", fail.forbidden(f.Field, "%s belongs to orchestrator %s and no share lets %s use it with verb %s: ask its owner for one", nameOf(t), owner, p.writes(name), f.Verb)
}

// writes names an orchestrator with the narrowing of the writer's credentials.
func (p *plan) writes(name string) string {
	if p.sight.narrowed && name == p.by.Orchestrator {
		return name + " in " + p.by.Scope.String()
	}
	return name
}

// countHere makes a reserved address in a network outside of what narrowed
// credentials are for count to their project, if they have one: in the network's
// it could not be theirs.
func (p *plan) countHere(o api.Object) {
	a, ok := o.(*api.Address)
	if !ok || p.by.Scope == nil || len(p.by.Scope.Projects) != 1 || !a.Spec.Port.IsZero() || !a.Spec.Project.IsZero() {
		return
	}
	if network := p.lookup(api.KindNetwork, a.Meta.Parent); network != nil && !p.insideScope(network) {
		a.Spec.Project = p.by.Scope.Projects[0]
	}
}

// insideScope tells whether an object is, or lies in, what narrowed
// credentials are for.
func (p *plan) insideScope(t *record) bool {
	domain, project := containers(t.object)
	return p.sight.within[domain] || p.sight.within[project]
}

// granted tells whether a share is for an orchestrator that writes a record.
func (p *plan) granted(s *api.Share, r, writer *record) bool {
	switch grantee := s.Spec.Grantee.UUID; s.Spec.GranteeKind {
	case api.GranteeAll:
		return true
	case api.KindOrchestrator:
		return grantee == writer.id.uuid()
	case api.KindProject:
		// In the project, and by its owner: being in it cannot rest on the very
		// object that is shared with it.
		project := p.record(idOf(api.KindProject, grantee))
		return project != nil && project.object.Head().Meta.Owner == writer.object.Head().Meta.Name && grantee == p.projectOf(r)
	case api.KindDomain:
		key := writer.id.objectKey()
		if grantee != writer.object.(*api.Orchestrator).Spec.Domain.UUID {
			return false
		}
		p.compare[key] = unchanged(key, writer.modRevision)
		return true
	}
	return false
}

// projectOf returns the UUID of the project that a record counts to.
func (p *plan) projectOf(r *record) string {
	if a, ok := r.object.(*api.Address); ok && !a.Spec.Port.IsZero() {
		if port := p.lookup(api.KindPort, a.Spec.Port); port != nil {
			return p.ancestor(api.KindProject, api.KindPort, &port.object.Head().Meta)
		}
	} else if ok && !a.Spec.Project.IsZero() {
		if project := p.lookup(api.KindProject, a.Spec.Project); project != nil {
			return project.id.uuid()
		}
	}
	return p.ancestor(api.KindProject, r.id.kind(), &r.object.Head().Meta)
}
