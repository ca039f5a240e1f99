// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/weft-network/weft/api"
)

// schemaVersion is the newest version of the stored form of objects that this
// controller understands. A record carries the oldest version whose controllers
// may write it: fields that are mere data, which older ones keep, do not raise
// it; fields that hold keys, or change what rules mean, do for the objects that
// have them. doc/upgrade.md has the whole. History:
//
//	1: first.
const schemaVersion = 1

// record is one object as the store holds it. Records and their objects are
// immutable once made.
type record struct {
	id     id
	name   string     // fully qualified, of one that was read from etcd; its place in the tables
	object api.Object // with status and revision filled in
	// shares maps a field that refers to another owner's object to the share
	// that allows it; shareOwner needs no share.
	shares map[string]string
	// orchestrator is the UUID of the owner; empty for the administrators',
	// which cannot be deleted.
	orchestrator string
	schema       int
	modRevision  int64  // of the object key; 0 for a record not yet written
	statusJSON   string // as stored, to see whether a new one differs
	// unknown is what a newer controller wrote that this one does not know.
	unknown *remains
}

// target is one reference of a record.
type target struct {
	target id
	field  string
}

// targets lists everything the record refers to.
func (r *record) targets() []target {
	m := &r.object.Head().Meta
	var ts []target
	if !m.Parent.IsZero() {
		info, _ := api.KindInfo(r.id.kind())
		ts = append(ts, target{idOf(info.Parent, m.Parent.UUID), fieldParent})
	}
	for _, f := range r.object.Refs() {
		if !f.Ref.IsZero() {
			ts = append(ts, target{idOf(f.Kind, f.Ref.UUID), f.Field})
		}
	}
	if r.orchestrator != "" {
		ts = append(ts, target{idOf(api.KindOrchestrator, r.orchestrator), fieldOwner})
	}
	for _, field := range slices.Sorted(maps.Keys(r.shares)) {
		ts = append(ts, target{idOf(api.KindShare, r.shares[field]), shareField(field)})
	}
	return ts
}

// shareField is the field of the reference from an object to a share that one
// of its own fields relies on.
func shareField(field string) string { return "share:" + field }

// stored is the JSON form of a record.
type stored struct {
	Schema       int               `json:"schema"`
	Orchestrator string            `json:"orchestrator,omitempty"`
	Shares       map[string]string `json:"shares,omitempty"`
	Object       json.RawMessage   `json:"object"`
}

// encode returns the stored form: header and spec, neither status nor revision,
// and what newer controllers know beside.
func (r *record) encode() []byte {
	data, err := r.encodeWhole()
	if err != nil { // update has refused that
		panic(fmt.Sprintf("store: encode %s: %v", r.id, err))
	}
	return data
}

func (r *record) encodeWhole() ([]byte, error) {
	whole, err := r.unknown.into(r.encodeKnown(), "object")
	return []byte(whole), err
}

func (r *record) encodeKnown() json.RawMessage {
	body := mustJSON(withoutStatus(r.object))
	return mustJSON(stored{Schema: schemaVersion, Orchestrator: r.orchestrator, Shares: r.shares, Object: body})
}

// decodeRecord reads the stored form of the object with the given identity.
func decodeRecord(i id, data []byte, modRevision int64) (*record, error) {
	var s stored
	strict, err := decodeStored(data, &s)
	if err != nil {
		return nil, fmt.Errorf("decode stored %s: %w", i, err)
	}
	r := &record{id: i, shares: s.Shares, orchestrator: s.Orchestrator, schema: s.Schema}
	o, err := api.Decode(s.Object, true)
	if err != nil { // a newer controller may have written it
		strict = false
		if o, err = api.Decode(s.Object, false); err != nil {
			return nil, fmt.Errorf("decode stored %s (schema %d, this controller knows %d): %w", i, s.Schema, schemaVersion, err)
		}
	}
	r.object, r.name = o, o.Head().Meta.FQName
	if !strict {
		r.unknown = unknownIn(data, r.encodeKnown())
	}
	o.Head().Meta.Revision, r.modRevision = modRevision, modRevision
	return r, nil
}

// decodeStored tells whether there is nothing in the stored form that this
// version does not know, as is nearly always so; the object is not looked at.
func decodeStored(data []byte, s *stored) (strict bool, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err == nil {
		return true, nil
	}
	*s = stored{}
	return false, json.Unmarshal(data, s)
}

// withStatus returns a copy of the record with another status.
func (r *record) withStatus(statusJSON string) (*record, error) {
	c := *r
	c.object = statusless(r.object)
	c.statusJSON = statusJSON
	if statusJSON != "" {
		if err := json.Unmarshal([]byte(statusJSON), c.object.StatusBody()); err != nil {
			return nil, fmt.Errorf("decode stored status of %s: %w", r.id, err)
		}
	}
	return &c, nil
}

// withoutStatus returns a copy without what only the store adds. It shares with
// the object what that points to, and so is not for changing.
func withoutStatus(o api.Object) api.Object {
	c := statusless(o)
	c.Head().Meta.Revision = 0
	return c
}

// statusless returns a copy with an empty status, which shares everything else
// with the object.
func statusless(o api.Object) api.Object {
	c := api.New(o.Head().Kind)
	reflect.ValueOf(c).Elem().Set(reflect.ValueOf(o).Elem())
	clearStatus(c)
	return c
}

func clearStatus(o api.Object) { reflect.ValueOf(o.StatusBody()).Elem().SetZero() }

// mustJSON encodes one of our own types, which cannot fail.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: encode %T: %v", v, err))
	}
	return data
}
