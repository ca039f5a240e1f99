// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"unique"

	"github.com/weft-network/weft/api"
)

// Most text of an object is the name or UUID of something that many others name
// too. A decoder gives each its own; here they become the same memory. No value
// changes. Only the follower does it, before anybody else sees the record.

// share makes a record use the words of the objects it refers to, as far as the
// tables have them.
func (t trees) share(r *record) {
	r.shareOwn()
	info, _ := api.KindInfo(r.id.kind())
	if info.Parent != "" {
		t.shareRef(info.Parent, &r.object.Head().Meta.Parent)
	}
	for _, f := range r.object.Refs() {
		t.shareRef(f.Kind, f.Ref)
	}
}

func (t trees) shareRef(kind api.Kind, ref *api.Ref) {
	if ref.UUID == "" {
		return
	}
	if target := t.record(idOf(kind, ref.UUID)); target != nil {
		if whole := api.RefTo(target.object); whole == *ref {
			*ref = whole
		}
	}
}

// shareOwn makes the words of a header that are part of others the same.
func (r *record) shareOwn() {
	h := r.object.Head()
	m := &h.Meta
	if uuid := r.id.uuid(); m.UUID == uuid {
		m.UUID = uuid
	}
	if m.Name == m.UUID {
		m.Name = m.UUID
	} else if strings.HasSuffix(m.FQName, m.Name) {
		m.Name = m.FQName[len(m.FQName)-len(m.Name):]
	}
	if kind := r.id.kind(); h.Kind == kind {
		h.Kind = kind
	}
	m.Owner = unique.Make(m.Owner).Value()
	r.orchestrator = unique.Make(r.orchestrator).Value()
}

// keepWords makes the words by which others know an object those of its state before.
func (r *record) keepWords(old *record) {
	m := &r.object.Head().Meta
	if r.id = old.id; r.name == old.name {
		r.name, m.FQName = old.name, old.name
	}
}

// shareAll is share for all records, which nobody else may have yet.
func (t trees) shareAll() {
	t.named.Ascend(func(r *record) bool {
		t.share(r)
		return true
	})
}
