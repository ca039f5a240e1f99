// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/weft-network/weft/api"
)

// The tables of the in-memory twin and their indexes.
const (
	tableObject = "object"
	tableToken  = "token"
	tableRest   = "rest"

	indexID     = "id"     // object: kind/uuid
	indexName   = "name"   // object: kind and fully qualified name; prefix query by kind
	indexParent = "parent" // object: kind and the parent's UUID
	indexTarget = "target" // object: everything it refers to, with the referrer's kind; prefix query by target
	indexClaim  = "claim"  // object: everything it holds exclusively
	indexAbove  = "above"  // object: kind and name of what must be seen because of it
	indexEntry  = "entry"  // object: what a foreign document is found by
)

// keyIndex is an index over strings that a function takes from a row.
type keyIndex[T any] struct{ keys func(T) []string }

// ends marks the end of a key, so that no key is a prefix of another.
const ends = "\x00"

func (k keyIndex[T]) FromObject(row any) (bool, [][]byte, error) {
	var out [][]byte
	for _, key := range k.keys(row.(T)) {
		out = append(out, []byte(key+ends))
	}
	return len(out) > 0, out, nil
}

func (k keyIndex[T]) FromArgs(args ...any) ([]byte, error) {
	return []byte(args[0].(string) + ends), nil
}

func (k keyIndex[T]) PrefixFromArgs(args ...any) ([]byte, error) {
	return []byte(args[0].(string)), nil
}

// oneKeyIndex is a keyIndex with exactly one key a row.
type oneKeyIndex[T any] struct{ keyIndex[T] }

func (k oneKeyIndex[T]) FromObject(row any) (bool, []byte, error) {
	return true, []byte(k.keys(row.(T))[0] + ends), nil
}

// kindName is the key of a name within its kind; no kind contains a blank.
func kindName(kind api.Kind, fqName string) string { return string(kind) + " " + fqName }

// refersTo is the key of the objects of a kind that refer to the target.
func refersTo(target id, referrer api.Kind) string { return string(target) + " " + string(referrer) }

func schema() *memdb.DBSchema {
	one := func(key func(*record) string) memdb.Indexer {
		return oneKeyIndex[*record]{keyIndex[*record]{func(r *record) []string { return []string{key(r)} }}}
	}
	return &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		tableObject: {Name: tableObject, Indexes: map[string]*memdb.IndexSchema{
			indexID: {Name: indexID, Unique: true, Indexer: one(func(r *record) string { return string(r.id) })},
			// Names and claims are unique in etcd; here two rows may share one
			// between two changes of the same revision, as it moves.
			indexName: {Name: indexName, Indexer: one(func(r *record) string {
				return kindName(r.id.kind(), r.object.Head().Meta.FQName)
			})},
			indexParent: {Name: indexParent, Indexer: one(func(r *record) string {
				return string(idOf(r.id.kind(), r.object.Head().Meta.Parent.UUID))
			})},
			indexTarget: {Name: indexTarget, AllowMissing: true, Indexer: keyIndex[*record]{func(r *record) []string {
				var keys []string
				for _, t := range r.targets() {
					keys = append(keys, refersTo(t.target, r.id.kind()))
				}
				return keys
			}}},
			indexAbove: {Name: indexAbove, AllowMissing: true, Indexer: keyIndex[*record]{showsAbove}},
			indexClaim: {Name: indexClaim, AllowMissing: true, Indexer: keyIndex[*record]{func(r *record) []string {
				var keys []string
				for _, h := range heldKeys(r) {
					if !strings.HasPrefix(h.key, prefixRef) {
						keys = append(keys, h.key)
					}
				}
				return keys
			}}},
			indexEntry: {Name: indexEntry, AllowMissing: true, Indexer: keyIndex[*record]{documentEntries}},
		}},
		tableToken: {Name: tableToken, Indexes: map[string]*memdb.IndexSchema{
			indexID: {Name: indexID, Unique: true, Indexer: oneKeyIndex[*token]{keyIndex[*token]{
				func(t *token) []string { return []string{t.ID} }}}},
		}},
		tableRest: {Name: tableRest, Indexes: map[string]*memdb.IndexSchema{
			indexID: {Name: indexID, Unique: true, Indexer: oneKeyIndex[*rest]{keyIndex[*rest]{
				func(r *rest) []string { return []string{r.key} }}}},
		}},
	}}
}

// Snapshot is every object at one revision. It implements api.Snapshot.
type Snapshot struct {
	revision int64
	// changed is the last revision that changed an object, a status or the epoch;
	// other keys have revisions too.
	changed int64
	// rested is the last revision that changed which addresses rest, or at which
	// this controller read everything.
	rested int64
	epoch  uint64
	floor  int          // the lowest schema whose controllers may take part
	db     *memdb.MemDB // a snapshot of its own: nobody writes it
	since  *since       // of one that was followed; see Since
}

// Revision is the store's revision of which this is the state.
func (s *Snapshot) Revision() int64 { return s.revision }

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
	return objectOf(s.named(kind, ref.Name))
}

// List returns the objects of a kind, ordered by fully qualified name.
func (s *Snapshot) List(kind api.Kind) []api.Object {
	var objects []api.Object
	s.each(indexName+"_prefix", kindName(kind, ""), func(r *record) bool {
		objects = append(objects, r.object)
		return true
	})
	return objects
}

// Children returns the objects of a kind that have the parent, in no order.
func (s *Snapshot) Children(kind api.Kind, parent string) []api.Object {
	var objects []api.Object
	s.each(indexParent, string(idOf(kind, parent)), func(r *record) bool {
		objects = append(objects, r.object)
		return true
	})
	return objects
}

// Referrers returns the objects of a kind that refer to an object, by whatever
// field, in no order.
func (s *Snapshot) Referrers(kind api.Kind, target api.Kind, uuid string) []api.Object {
	var objects []api.Object
	s.each(indexTarget, refersTo(idOf(target, uuid), kind), func(r *record) bool {
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
	s.each(indexEntry, documentEntry(owner, key, value), func(r *record) bool {
		found = append(found, r.object.(*api.ForeignDocument))
		return true
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

func (s *Snapshot) record(i id) *record { return first[*record](s.db, tableObject, indexID, string(i)) }

func (s *Snapshot) named(kind api.Kind, fqName string) *record {
	return first[*record](s.db, tableObject, indexName, kindName(kind, fqName))
}

// holder returns the record that holds a name, claim or foreign key.
func (s *Snapshot) holder(key string) *record {
	return first[*record](s.db, tableObject, indexClaim, key)
}

// each calls visit for the records of an index entry until it returns false.
func (s *Snapshot) each(index, key string, visit func(*record) bool) {
	it, err := s.db.Txn(false).Get(tableObject, index, key)
	if err != nil {
		panic(fmt.Sprintf("store: read index %s: %v", index, err))
	}
	for row := it.Next(); row != nil; row = it.Next() {
		if !visit(row.(*record)) {
			return
		}
	}
}

func first[T any](db *memdb.MemDB, table, index, key string) T {
	row, err := db.Txn(false).First(table, index, key)
	if err != nil {
		panic(fmt.Sprintf("store: read index %s of %s: %v", index, table, err))
	}
	t, _ := row.(T)
	return t
}

// change is one key of etcd that was put or deleted.
type change struct {
	key     string
	value   []byte
	deleted bool
	mod     int64
}

// tables is the writing side of the twin. Only the follower has one.
type tables struct {
	db      *memdb.MemDB
	epoch   uint64
	floor   int
	changed int64 // see Snapshot
	rested  int64
}

func newTables() *tables {
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		panic(fmt.Sprintf("store: schema of the tables: %v", err))
	}
	return &tables{db: db}
}

// snapshot returns the state as of a revision that is wholly applied.
func (t *tables) snapshot(revision int64) *Snapshot {
	return &Snapshot{revision: revision, changed: t.changed, rested: t.rested, epoch: t.epoch, floor: t.floor, db: t.db.Snapshot()}
}

// apply takes the changes of one revision and returns the events they are,
// deletions last. A row that cannot be decoded is an error and changes nothing.
func (t *tables) apply(revision int64, changes []change) ([]api.Event, error) {
	txn := t.db.Txn(true)
	defer txn.Abort() // without effect after Commit
	touched := map[id]bool{}
	var order []id
	before := t.db.Snapshot()
	for _, phase := range []string{prefixObject, prefixStatus} {
		for _, c := range changes {
			name, ok := strings.CutPrefix(c.key, phase)
			if !ok {
				continue
			}
			if _, known := api.KindInfo(id(name).kind()); !known {
				continue // a newer controller has kinds this one does not
			}
			if err := applyObject(txn, phase, id(name), c); err != nil {
				return nil, err
			}
			if !touched[id(name)] {
				touched[id(name)] = true
				order = append(order, id(name))
			}
		}
	}
	meta := *t
	for _, c := range changes {
		if err := meta.applyMeta(c); err != nil {
			return nil, err
		}
		if err := applyOther(txn, c); err != nil {
			return nil, err
		}
	}
	txn.Commit()
	t.epoch, t.floor = meta.epoch, meta.floor
	for _, c := range changes {
		if c.key == keyDeleted || c.key == keyEpoch || strings.HasPrefix(c.key, prefixObject) || strings.HasPrefix(c.key, prefixStatus) {
			t.changed = max(t.changed, c.mod)
		}
		if strings.HasPrefix(c.key, prefixRest) {
			t.rested = revision
		}
	}
	return eventsBetween(before, t.db, order, revision), nil
}

func applyObject(txn *memdb.Txn, prefix string, i id, c change) error {
	row, err := txn.First(tableObject, indexID, string(i))
	if err != nil {
		return fmt.Errorf("read %s from the tables: %w", i, err)
	}
	old, _ := row.(*record)
	var now *record
	switch {
	case prefix == prefixObject && c.deleted:
		if old == nil {
			return nil
		}
		return txn.Delete(tableObject, old)
	case prefix == prefixObject:
		if now, err = decodeRecord(i, c.value, c.mod); err != nil {
			return err
		}
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
	return txn.Insert(tableObject, now)
}

// applyMeta reads the numbers that are about the store as a whole.
func (t *tables) applyMeta(c change) (err error) {
	switch {
	case c.deleted:
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

func applyOther(txn *memdb.Txn, c change) error {
	if strings.HasPrefix(c.key, prefixRest) {
		return applyRest(txn, c)
	}
	name, ok := strings.CutPrefix(c.key, prefixToken)
	if !ok {
		return nil
	}
	if c.deleted {
		if _, err := txn.DeleteAll(tableToken, indexID, name); err != nil {
			return fmt.Errorf("delete token %s from the tables: %w", name, err)
		}
		return nil
	}
	t, err := decodeToken(c.value)
	if err != nil {
		return err
	}
	return txn.Insert(tableToken, t)
}

// eventsBetween describes the difference of some objects between two states.
func eventsBetween(before, after *memdb.MemDB, ids []id, revision int64) []api.Event {
	var puts, deletes []api.Event
	for _, i := range ids {
		old := first[*record](before, tableObject, indexID, string(i))
		now := first[*record](after, tableObject, indexID, string(i))
		switch {
		case now != nil:
			puts = append(puts, api.Event{Type: api.EventPut, Revision: revision, Kind: i.kind(), Object: now.object, Was: objectOf(old)})
		case old != nil:
			deletes = append(deletes, api.Event{Type: api.EventDelete, Revision: revision, Kind: i.kind(), Object: old.object, Was: old.object})
		}
	}
	return append(puts, deletes...)
}
