// SPDX-License-Identifier: Apache-2.0

package store

import (
	"github.com/weft-network/weft/api"
)

// delta is what a transaction does to one object.
type delta struct {
	old *record // nil if the transaction creates the object
	now *record // nil if the transaction deletes the object; old if it changes nothing
}

// view is a snapshot with the changes of a transaction on top.
type view struct {
	base   *Snapshot
	deltas map[id]*delta
	order  []id          // of the deltas, as first touched
	names  map[string]id // by kindName, of objects the transaction creates
	claims map[string]id // held by objects the transaction creates or changes
}

func newView(base *Snapshot) *view {
	return &view{base: base, deltas: map[id]*delta{}, names: map[string]id{}, claims: map[string]id{}}
}

func (v *view) record(i id) *record {
	if d, ok := v.deltas[i]; ok {
		return d.now
	}
	return v.base.record(i)
}

// lookup finds by UUID or fully qualified name and returns the record or nil.
func (v *view) lookup(kind api.Kind, ref api.Ref) *record {
	if ref.UUID != "" {
		return v.record(idOf(kind, ref.UUID))
	}
	if i, ok := v.names[kindName(kind, ref.Name)]; ok && v.record(i) != nil {
		return v.record(i)
	}
	if r := v.base.byName(kind, ref.Name); r != nil {
		return v.record(r.id) // the transaction may have deleted it
	}
	return nil
}

// set makes r (nil: deleted) the state of an object.
func (v *view) set(i id, r *record) {
	d, ok := v.deltas[i]
	if !ok {
		d = &delta{old: v.base.record(i)}
		v.deltas[i] = d
		v.order = append(v.order, i)
	}
	d.now = r
	if r == nil {
		return
	}
	v.names[kindName(i.kind(), r.object.Head().Meta.FQName)] = i
	for _, c := range r.object.Claims() {
		v.claims[c.Key] = i
	}
}

// children returns the objects of a kind below a parent.
func (v *view) children(kind api.Kind, parent string) []api.Object {
	var objects []api.Object
	v.base.eachChild(kind, parent, func(r *record) bool {
		if _, touched := v.deltas[r.id]; !touched {
			objects = append(objects, r.object)
		}
		return true
	})
	for _, i := range v.order {
		if r := v.deltas[i].now; r != nil && i.kind() == kind && r.object.Head().Meta.Parent.UUID == parent {
			objects = append(objects, r.object)
		}
	}
	return objects
}

// taken tells whether a claim is held, before or within the transaction, or is
// of an address that rests.
func (v *view) taken(claim string) bool {
	_, within := v.claims[claim]
	return within || v.base.holder(prefixClaim+claim) != nil || v.base.resting(prefixClaim+claim) != nil
}

// referrers returns up to limit objects that refer to one.
func (v *view) referrers(i id, limit int) []*record {
	var found []*record
	for _, other := range v.order {
		if r := v.deltas[other].now; r != nil && refers(r, i) && len(found) < limit {
			found = append(found, r)
		}
	}
	seen := map[id]bool{}
	v.base.eachReferrerAtAll(i, func(r *record) bool {
		if _, touched := v.deltas[r.id]; !touched && !seen[r.id] && len(found) < limit {
			seen[r.id] = true
			found = append(found, r)
		}
		return len(found) < limit
	})
	return found
}

// refers tells whether a record has the target; it is targets without making
// their names.
func refers(r *record, to id) bool {
	kind, uuid := to.kind(), to.uuid()
	if r.object.Head().Meta.Parent.UUID == uuid {
		if info, _ := api.KindInfo(r.id.kind()); info.Parent == kind {
			return true
		}
	}
	switch {
	case kind == api.KindOrchestrator && r.orchestrator == uuid && uuid != "":
		return true
	case kind == api.KindShare:
		for _, share := range r.shares {
			if share == uuid {
				return true
			}
		}
	}
	for _, f := range r.object.Refs() {
		if f.Kind == kind && f.Ref.UUID == uuid && uuid != "" {
			return true
		}
	}
	return false
}

// ancestor returns the UUID of the nearest object of a kind above (or at) an
// object that is described by its kind and parent, or "".
func (v *view) ancestor(kind api.Kind, of api.Kind, m *api.Meta) string {
	uuid := m.UUID
	for depth := 0; depth < maxDepth; depth++ {
		if of == kind {
			return uuid
		}
		info, ok := api.KindInfo(of)
		if !ok || info.Parent == "" {
			return ""
		}
		parent := v.record(idOf(info.Parent, m.Parent.UUID))
		if parent == nil {
			return ""
		}
		of, uuid, m = info.Parent, m.Parent.UUID, &parent.object.Head().Meta
	}
	return ""
}

// maxDepth bounds the walk up to the root; kinds are four deep.
const maxDepth = 16
