// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
)

// Snapshot is every object at one revision. It implements api.Snapshot.
type Snapshot struct {
	revision int64
	// changed is the last revision that changed an object, a status or the epoch;
	// other keys have revisions too.
	changed int64
	// rested is the last revision that changed which addresses rest, or at which
	// this controller read everything.
	rested int64
	// written is the last revision at which a transaction wrote objects from which
	// anything follows.
	written int64
	epoch   uint64
	floor   int    // the lowest schema whose controllers may take part
	trees          // nobody writes them
	since   *since // of one that was followed; see Since
}

// Revision is the store's revision of which this is the state.
func (s *Snapshot) Revision() int64 { return s.revision }

// Changed is the revision that made this state: up to its own nothing else came
// that those who follow hear of.
func (s *Snapshot) Changed() int64 { return s.changed }

// asChanged returns the same state under the revision that made it, which is
// the same at every controller.
func (s *Snapshot) asChanged() *Snapshot {
	c := *s
	c.revision = s.changed
	return &c
}

// Get returns the object or nil.
func (s *Snapshot) Get(kind api.Kind, uuid string) api.Object {
	return objectOf(s.record(idOf(kind, uuid)))
}

// Lookup finds by UUID or fully qualified name and returns the object or nil.
func (s *Snapshot) Lookup(kind api.Kind, ref api.Ref) api.Object {
	if ref.UUID != "" {
		return s.Get(kind, ref.UUID)
	}
	return objectOf(s.byName(kind, ref.Name))
}

// List returns the objects of a kind, ordered by fully qualified name.
func (s *Snapshot) List(kind api.Kind) []api.Object {
	var objects []api.Object
	s.eachOfKind(kind, func(r *record) bool {
		objects = append(objects, r.object)
		return true
	})
	return objects
}

// Children returns the objects of a kind that have the parent, in no order.
func (s *Snapshot) Children(kind api.Kind, parent string) []api.Object {
	var objects []api.Object
	s.eachChild(kind, parent, func(r *record) bool {
		objects = append(objects, r.object)
		return true
	})
	return objects
}

// Referrers returns the objects of a kind that refer to an object, by whatever
// field, in no order.
func (s *Snapshot) Referrers(kind api.Kind, target api.Kind, uuid string) []api.Object {
	var objects []api.Object
	s.eachReferrer(idOf(target, uuid), kind, func(r *record) bool {
		objects = append(objects, r.object)
		return true
	})
	return objects
}

// Foreign returns the object that has an identity in its owner, or nil.
func (s *Snapshot) Foreign(owner, kind, foreignID string) api.Object {
	return objectOf(s.holder(foreignKey(owner, &api.Foreign{Kind: kind, ID: foreignID})))
}

// Documents returns the foreign documents of an owner whose index has an entry,
// in no order.
func (s *Snapshot) Documents(owner, key, value string) []*api.ForeignDocument {
	var found []*api.ForeignDocument
	s.eachDocument(documentEntry(owner, key, value), func(d *api.ForeignDocument) {
		found = append(found, d)
	})
	return found
}

// documentEntry is one entry of a document's index. The parts have no control
// characters.
func documentEntry(owner, key, value string) string { return owner + "\x01" + key + "\x01" + value }

func documentEntries(r *record) []string {
	d, ok := r.object.(*api.ForeignDocument)
	if !ok {
		return nil
	}
	var entries []string
	for key, value := range d.Spec.Index {
		entries = append(entries, documentEntry(d.Meta.Owner, key, value))
	}
	return entries
}

func objectOf(r *record) api.Object {
	if r == nil {
		return nil
	}
	return r.object
}

// kindName is the key of a name within its kind; no kind contains a blank.
func kindName(kind api.Kind, fqName string) string { return string(kind) + " " + fqName }

// change is one key of etcd that was put or deleted.
type change struct {
	key     string
	value   []byte
	deleted bool
	mod     int64
}

// tables is the writing side of the twin. Only the follower has one.
type tables struct {
	trees
	epoch   uint64
	floor   int
	changed int64 // see Snapshot
	rested  int64
	written int64
}

func newTables() *tables { return &tables{trees: newTrees()} }

// snapshot returns the state as of a revision that is wholly applied.
func (t *tables) snapshot(revision int64) *Snapshot {
	return &Snapshot{revision: revision, changed: t.changed, rested: t.rested, written: t.written, epoch: t.epoch, floor: t.floor, trees: t.trees.clone()}
}

// apply takes the changes of one revision and returns the events they are,
// deletions last. A row that cannot be decoded is an error and changes nothing.
func (t *tables) apply(revision int64, changes []change) ([]api.Event, error) {
	before := *t
	before.trees = t.trees.clone()
	touched, err := t.absorb(revision, changes)
	if err != nil {
		*t = before
		return nil, err
	}
	return eventsBetween(before.trees, t.trees, touched, revision), nil
}

// absorb takes changes and lists the objects they are about, each once. After an
// error it has taken some of them.
func (t *tables) absorb(revision int64, changes []change) ([]id, error) {
	seen := map[id]bool{}
	var touched []id
	for _, phase := range []string{prefixObject, prefixStatus} {
		for _, c := range changes {
			name, ok := strings.CutPrefix(c.key, phase)
			if !ok {
				continue
			}
			if _, known := api.KindInfo(id(name).kind()); !known {
				continue // a newer controller has kinds this one does not
			}
			if err := t.applyObject(phase, id(name), c); err != nil {
				return nil, err
			}
			if !seen[id(name)] {
				seen[id(name)] = true
				touched = append(touched, id(name))
			}
		}
	}
	for _, c := range changes {
		if err := t.applyMeta(c); err != nil {
			return nil, err
		}
		if err := t.applyOther(c); err != nil {
			return nil, err
		}
		if c.key == keyDeleted || c.key == keyEpoch || strings.HasPrefix(c.key, prefixObject) || strings.HasPrefix(c.key, prefixStatus) {
			t.changed = max(t.changed, c.mod)
		}
		if strings.HasPrefix(c.key, prefixRest) {
			t.rested = revision
		}
	}
	return touched, nil
}

func (t *tables) applyObject(prefix string, i id, c change) error {
	old := t.record(i)
	var now *record
	var err error
	switch {
	case prefix == prefixObject && c.deleted:
		if old != nil {
			t.drop(old)
		}
		return nil
	case prefix == prefixObject:
		if now, err = decodeRecord(i, c.value, c.mod); err != nil {
			return err
		}
		if old != nil { // who refers to it has its words already
			now.keepWords(old)
		}
		t.share(now)
		if old != nil && old.statusJSON != "" {
			now, err = now.withStatus(old.statusJSON)
		}
	case old == nil: // the status of an object that went in this same revision
		return nil
	default:
		now, err = old.withStatus(string(c.value))
	}
	if err != nil {
		return err
	}
	t.put(old, now)
	return nil
}

// applyMeta reads the numbers that are about the store as a whole.
func (t *tables) applyMeta(c change) (err error) {
	switch {
	case c.deleted:
	case c.key == keyWritten:
		t.written = c.mod
	case c.key == keyEpoch:
		if t.epoch, err = strconv.ParseUint(string(c.value), 10, 64); err != nil {
			return fmt.Errorf("read %s: %w", keyEpoch, err)
		}
	case c.key == keySchema:
		if t.floor, err = strconv.Atoi(string(c.value)); err != nil {
			return fmt.Errorf("read %s: %w", keySchema, err)
		}
	}
	return nil
}

func (t *tables) applyOther(c change) error {
	if strings.HasPrefix(c.key, prefixRest) {
		return t.applyRest(c)
	}
	name, ok := strings.CutPrefix(c.key, prefixToken)
	if !ok {
		return nil
	}
	if c.deleted {
		t.tokens.Delete(&token{ID: name})
		return nil
	}
	k, err := decodeToken(c.value)
	if err != nil {
		return err
	}
	t.tokens.ReplaceOrInsert(k)
	return nil
}

// eventsBetween describes the difference of some objects between two states.
func eventsBetween(before, after trees, ids []id, revision int64) []api.Event {
	var puts, deletes []api.Event
	for _, i := range ids {
		old, now := before.record(i), after.record(i)
		switch {
		case now != nil:
			puts = append(puts, api.Event{Type: api.EventPut, Revision: revision, Kind: i.kind(), Object: now.object, Was: objectOf(old)})
		case old != nil:
			deletes = append(deletes, api.Event{Type: api.EventDelete, Revision: revision, Kind: i.kind(), Object: old.object, Was: old.object})
		}
	}
	return append(puts, deletes...)
}
