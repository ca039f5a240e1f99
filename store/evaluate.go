// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

// referrersNamed is how many referrers a refused deletion names.
const referrersNamed = 10

// plan is a transaction worked out against one snapshot: what it changes, and
// what must still hold in etcd for it to commit.
type plan struct {
	*view
	by        api.Identity
	writer    *record // the orchestrator that writes
	sight     *sight  // what the writer may see
	now       time.Time
	random    bool // allocate at random: somebody else was faster before
	allocator *allocator

	objects  []id                    // one for each operation
	exists   map[id]bool             // targets that must exist
	compare  map[string]clientv3.Cmp // further comparisons, by what they are about
	guards   map[string]bool         // guards to compare and touch
	reserved []string                // claims reserved with the allocator
	rests    []*rest                 // of addresses the transaction frees
	wakes    map[string]*rest        // rests the transaction ends, by claim key
	// unchangedSince, if not 0, is after when no other transaction may have written.
	unchangedSince int64
}

// evaluate works out a transaction. It reads only base and changes nothing but
// reservations, which the caller releases, also after an error.
func (s *Store) evaluate(base *Snapshot, by api.Identity, ops []api.Operation, random bool) (*plan, error) {
	p := &plan{
		view: newView(base), by: by, now: s.timestamp(), random: random, allocator: s.allocator,
		exists: map[id]bool{}, compare: map[string]clientv3.Cmp{}, guards: map[string]bool{}, wakes: map[string]*rest{},
	}
	if err := base.outdated(); err != nil {
		return p, err
	}
	p.sight = base.sightOf(by)
	if p.writer = base.byName(api.KindOrchestrator, by.Orchestrator); p.writer == nil {
		return p, api.Errorf(api.CodeForbidden, "write: there is no orchestrator %q to write as", by.Orchestrator)
	}
	for n, op := range ops {
		i, err := p.operate(op)
		if err != nil {
			return p, atOperation(err, n, len(ops))
		}
		p.objects = append(p.objects, i)
	}
	return p, p.finish()
}

// atOperation says which of several operations an error is about.
func atOperation(err error, n, of int) error {
	var e *api.Error
	if of == 1 || !errors.As(err, &e) {
		return err
	}
	c := *e
	c.Message = fmt.Sprintf("operation %d of %d: %s", n+1, of, e.Message)
	return &c
}

func (p *plan) operate(op api.Operation) (id, error) {
	if op.Object == nil {
		return "", api.Errorf(api.CodeInvalid, "%q: the object is missing", op.Op)
	}
	kind := op.Object.Head().Kind
	if _, ok := api.KindInfo(kind); !ok {
		return "", api.Errorf(api.CodeInvalid, "%s object: %q is not a kind of object", op.Op, kind)
	}
	switch op.Op {
	case api.OpCreate:
		return p.create(fresh(op.Object))
	case api.OpUpdate:
		return p.update(fresh(op.Object))
	case api.OpDelete:
		return p.remove(op.Object)
	}
	return "", api.Errorf(api.CodeInvalid, "%q is not an operation: create, update or delete", op.Op).About(kind, "", "op")
}

// fresh returns a copy that may be changed, without the caller's idea of status.
func fresh(o api.Object) api.Object {
	c := api.Clone(o)
	clearStatus(c)
	return c
}

func (p *plan) create(o api.Object) (id, error) {
	h := o.Head()
	m := &h.Meta
	if m.UUID == "" {
		m.UUID = uuid.NewString()
	}
	if m.Name == "" {
		m.Name = m.UUID
	}
	fail := failing("create", h.Kind, firstOf(m.Name, m.UUID))
	if administered(h.Kind) && !administrator(p.by) {
		return "", fail.forbidden("meta.kind", "only Weft's administrators make a %s", h.Kind)
	}
	m.Owner, m.Generation, m.Revision = p.by.Orchestrator, 1, 0
	m.CreatedAt, m.UpdatedAt = p.now, p.now
	if m.Foreign != nil && m.Foreign.Orchestrator == "" {
		m.Foreign.Orchestrator = m.Owner
	}
	p.countHere(o)
	r := &record{id: idOf(h.Kind, m.UUID), object: o}
	if p.by.Orchestrator != api.AdministratorsName {
		r.orchestrator = p.writer.id.uuid()
		p.exists[p.writer.id] = true
	}
	if err := p.settle(r, nil, false, fail); err != nil {
		return "", err
	}
	if p.record(r.id) != nil {
		return "", fail.conflict("meta.uuid", "its UUID %s is taken by %s", m.UUID, p.nameOf(p.record(r.id)))
	}
	if d := p.deltas[r.id]; d != nil && d.old != nil {
		return "", fail.conflict("meta.uuid", "the same transaction deletes an object with this UUID: use two transactions")
	}
	p.set(r.id, r)
	return r.id, nil
}

func (p *plan) update(o api.Object) (id, error) {
	h := o.Head()
	fail := failing("update", h.Kind, p.describe(h))
	old, err := p.locate(h, fail)
	if err != nil {
		return "", err
	}
	edited, err := p.mayWrite(api.OpUpdate, old, h.Meta.Revision, fail)
	if err != nil {
		return "", err
	}
	was, m := &old.object.Head().Meta, &h.Meta
	if m.UUID == "" {
		m.UUID = was.UUID
	}
	if m.Name == "" {
		m.Name = was.Name
	}
	if m.Parent.IsZero() {
		m.Parent = was.Parent
	}
	m.Owner, m.CreatedAt, m.Generation, m.Revision = was.Owner, was.CreatedAt, was.Generation, was.Revision
	if m.Foreign != nil && m.Foreign.Orchestrator == "" {
		m.Foreign.Orchestrator = m.Owner
	}
	inherit(old.object, o)
	r := &record{id: old.id, object: o, orchestrator: old.orchestrator, unknown: old.unknown}
	if edited && !reflect.DeepEqual(m.Foreign, was.Foreign) {
		return "", fail.forbidden("meta.foreign", "it belongs to orchestrator %s; a share lets %s edit the object, not its identity there", was.Owner, p.by.Orchestrator)
	}
	if err := p.settle(r, old, edited, fail); err != nil {
		return "", err
	}
	m.UpdatedAt = was.UpdatedAt
	if _, err := r.encodeWhole(); err != nil {
		return "", fail.newer("%v", err)
	}
	if bytes.Equal(r.encode(), old.encode()) {
		p.set(old.id, old)
		return old.id, nil
	}
	m.UpdatedAt = p.now
	if !bytes.Equal(specOf(o), specOf(old.object)) {
		m.Generation++
	}
	if old.statusJSON != "" {
		if r, err = r.withStatus(old.statusJSON); err != nil {
			return "", err
		}
	}
	p.set(r.id, r)
	return r.id, nil
}

func (p *plan) remove(o api.Object) (id, error) {
	h := o.Head()
	fail := failing("delete", h.Kind, p.describe(h))
	old, err := p.locate(h, fail)
	if err != nil {
		return "", err
	}
	if _, err := p.mayWrite(api.OpDelete, old, h.Meta.Revision, fail); err != nil {
		return "", err
	}
	if old.id.kind() == api.KindOrchestrator && old.object.Head().Meta.Name == api.AdministratorsName {
		return "", fail.forbidden("", "it is the administrators' own, without which nobody could write")
	}
	if protected(old.object) {
		return "", fail.conflict("meta.labels", "it is protected against deletion by accident: take its label %s away first, if you mean it", api.LabelProtected)
	}
	p.set(old.id, nil)
	if old.id.kind() == api.KindHost {
		p.dropReservations(old.id)
	}
	return old.id, nil
}

// describe names the object a request means, as well as the request can.
func (p *plan) describe(h *api.Header) string {
	return firstOf(h.Meta.FQName, h.Meta.Name, h.Meta.UUID)
}

// locate finds the object that a request means: by UUID, by fully qualified
// name, or by parent and name.
func (p *plan) locate(h *api.Header, fail failure) (*record, error) {
	m := &h.Meta
	ref := api.Ref{UUID: m.UUID, Name: m.FQName}
	if ref.IsZero() && m.Name != "" {
		ref.Name = m.Name
		if info, _ := api.KindInfo(h.Kind); info.Parent != "" {
			ref.Name = api.JoinName(p.nameOfParent(info.Parent, m.Parent), m.Name)
		}
	}
	if ref.IsZero() {
		return nil, fail.invalid("meta.uuid", "say which: give meta.uuid, meta.fqName, or meta.name and meta.parent")
	}
	r := p.lookup(h.Kind, ref)
	if r == nil || !p.sees(r) {
		return nil, fail.missing("there is no such %s%s", h.Kind, p.sight.caveat())
	}
	return r, nil
}

// nameOfParent returns a parent's fully qualified name, also of one that the
// transaction itself deletes: parents may go before children in it.
func (p *plan) nameOfParent(kind api.Kind, parent api.Ref) string {
	if parent.UUID == "" {
		return parent.Name
	}
	for _, r := range []*record{p.record(idOf(kind, parent.UUID)), p.base.record(idOf(kind, parent.UUID))} {
		if r != nil {
			return r.object.Head().Meta.FQName
		}
	}
	return parent.UUID
}

// settle completes and checks an object that is created (old is nil) or
// updated: defaults, its own rules, references, shares, other objects' rules.
func (p *plan) settle(r, old *record, edited bool, fail failure) error {
	o, h := r.object, r.object.Head()
	problems := api.ValidateHeader(h)
	if f := h.Meta.Foreign; f != nil && f.Orchestrator != h.Meta.Owner {
		problems.Addf("meta.foreign.orchestrator", "%q is not the owner %s", f.Orchestrator, h.Meta.Owner)
	}
	if len(problems) == 0 {
		fill(o)
		problems = o.Validate()
	}
	if len(problems) > 0 {
		return fail.problems(problems)
	}
	denied, err := p.resolve(r, old, edited, fail)
	if err != nil {
		return err
	}
	if !edited {
		if err := p.inScope(r, fail); err != nil {
			return err
		}
	}
	// Once more, now that two names of one object are seen to be the same.
	if problems := o.Validate(); len(problems) > 0 {
		return fail.problems(problems)
	}
	if old != nil {
		problems := append(api.ValidateHeaderUpdate(old.object.Head(), h), o.ValidateUpdate(old.object)...)
		if len(problems) > 0 {
			return fail.problems(problems)
		}
	}
	if denied != nil {
		return denied
	}
	if err := p.rules(r, old, fail); err != nil {
		return err
	}
	for _, g := range o.Guards() {
		if old == nil || !bytes.Equal(specOf(o), specOf(old.object)) {
			p.guards[g] = true
		}
	}
	return nil
}

// resolve completes every reference with UUID and name, and the object's own
// fully qualified name, and finds the shares that allow them. Targets that are
// not the transaction's must exist. A target that may not be seen is as one
// that does not exist; one that may only be seen is a denial, which is told
// when nothing else is wrong.
func (p *plan) resolve(r, old *record, edited bool, fail failure) (denied, err error) {
	h := r.object.Head()
	info, _ := api.KindInfo(h.Kind)
	var problems api.Problems
	refs := r.object.Refs()
	if info.Parent != "" {
		refs = append([]api.FieldRef{{Field: fieldParent, Kind: info.Parent, Ref: &h.Meta.Parent, Verb: api.VerbAttach}}, refs...)
	}
	r.shares = map[string]string{}
	for _, f := range refs {
		if f.Ref.IsZero() {
			continue
		}
		t, given := p.lookup(f.Kind, *f.Ref), *f.Ref
		why, share := errUnseen, ""
		if t != nil {
			*f.Ref = api.RefTo(t.object) // complete, for what depends on the parent
			share, why = p.refersTo(r, old, f, t, edited, fail)
			if err := understood(t); err != nil && why == nil && !old.refersAlready(f.Field, t) {
				return nil, fail.newer("%s: %v", f.Field, err)
			}
		}
		switch {
		case why == errUnseen:
			problems.Addf(f.Field, "there is no %s %s%s", f.Kind, given, p.sight.caveat())
			continue
		case why != nil && denied == nil:
			denied = why
		case share != "":
			r.shares[f.Field] = share
		}
		if given.Name != "" && given.Name != f.Ref.Name {
			problems.Addf(f.Field, "%s %s is named %s, not %s", f.Kind, given.UUID, f.Ref.Name, given.Name)
		}
		p.exists[t.id] = true
	}
	if len(problems) > 0 {
		return nil, fail.problems(problems)
	}
	h.Meta.FQName = api.JoinName(h.Meta.Parent.Name, h.Meta.Name)
	return denied, nil
}

// finish checks what depends on the transaction as a whole.
func (p *plan) finish() error {
	for _, i := range p.order {
		d := p.deltas[i]
		if d.old == nil || d.now != nil {
			continue
		}
		if err := p.unreferred(d.old); err != nil {
			return err
		}
	}
	if err := p.unclaimed(); err != nil {
		return err
	}
	p.restFreed()
	return nil
}

// unreferred refuses to delete what others still refer to.
func (p *plan) unreferred(r *record) error {
	by := p.referrers(r.id, referrersNamed)
	if len(by) == 0 {
		return nil
	}
	m := &r.object.Head().Meta
	e := api.Errorf(api.CodeConflict, "delete %s: others still refer to it: delete them first", nameOf(r)).About(r.id.kind(), m.FQName, "")
	for _, other := range by {
		e.Referrers = append(e.Referrers, p.user(other))
	}
	return e
}

// unclaimed refuses names, claims and identities that others hold.
func (p *plan) unclaimed() error {
	holders := map[string]*record{}
	for _, i := range p.order {
		r := p.deltas[i].now
		if r == nil {
			continue
		}
		verb := "update"
		if p.deltas[i].old == nil {
			verb = "create"
		}
		fail := failing(verb, i.kind(), r.object.Head().Meta.FQName)
		for _, k := range heldKeys(r) {
			other := holders[k.key]
			if other == nil {
				if other = p.base.holder(k.key); other != nil && p.deltas[other.id] != nil {
					other = nil // the transaction's own: then it is among holders, or gives it up
				}
			}
			if other != nil && other.id != i {
				return fail.conflict(k.field, "%s is held by %s", k.what, p.nameOf(other))
			}
			if err := p.wake(r, k, fail); err != nil {
				return err
			}
			holders[k.key] = r
		}
	}
	return nil
}

// specOf returns the JSON of an object's spec.
func specOf(o api.Object) []byte {
	var parts struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(mustJSON(o), &parts); err != nil {
		panic(fmt.Sprintf("store: read own encoding of %T: %v", o, err))
	}
	return parts.Spec
}

// empty tells whether the plan changes nothing.
func (p *plan) empty() bool {
	for d := range maps.Values(p.deltas) {
		if d.old != d.now {
			return false
		}
	}
	return true
}

func administrator(by api.Identity) bool {
	return by.Orchestrator == api.AdministratorsName && by.Role == api.RoleAdmin && by.Scope == nil
}
