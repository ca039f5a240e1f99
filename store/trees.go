// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/google/btree"

	"github.com/weft-network/weft/api"
)

// The tables of the in-memory twin are B-trees whose nodes are copied when they
// change, so that a state of all of them costs nothing to keep. What an object
// is found by, besides its name, is one tree of hashes: 16 bytes an entry, where
// a radix tree of the words themselves takes some five hundred. Who reads
// compares the words with the record itself, so two of the same hash are no harm.

// degree is half of what a node has at most: a node of entries is 1 KiB.
const degree = 32

// entry says that a record is found by something.
type entry struct {
	hash   uint64
	record *record // nil, where one looks for the first of a hash
}

func (a entry) less(b entry) bool {
	switch {
	case a.hash != b.hash:
		return a.hash < b.hash
	case a.record == nil || b.record == nil:
		return a.record == nil && b.record != nil
	}
	return a.record.id < b.record.id
}

// before orders records by kind and fully qualified name. Names are unique in
// etcd; here two records may share one between two changes of the same revision,
// as it moves.
func (r *record) before(other *record) bool {
	if c := cmp.Compare(r.id.kind(), other.id.kind()); c != 0 {
		return c < 0
	}
	if c := strings.Compare(r.name, other.name); c != 0 {
		return c < 0
	}
	return r.id < other.id
}

// seeds make one hash for each way to find a record. They differ from process to
// process, so nobody can choose words of the same hash.
var seeds = struct{ id, target, claim, above, document maphash.Seed }{
	maphash.MakeSeed(), maphash.MakeSeed(), maphash.MakeSeed(), maphash.MakeSeed(), maphash.MakeSeed(),
}

// kindBits are the low bits of a target's hash; they tell the referrer's kind.
const kindBits = 8

// hashTarget is where the referrers of a target begin, those of a kind together.
func (t trees) hashTarget(target id) uint64 {
	return t.sum(seeds.target, string(target)) &^ (1<<kindBits - 1)
}

// hashKind is the part of the hash that tells the referrer's kind.
func (t trees) hashKind(kind api.Kind) uint64 {
	return t.sum(seeds.target, string(kind)) & (1<<kindBits - 1)
}

// hashes lists everything that a record is found by besides its name.
func (t trees) hashes(r *record) []uint64 {
	found := []uint64{t.sum(seeds.id, string(r.id))}
	for _, to := range r.targets() {
		found = append(found, t.hashTarget(to.target)|t.hashKind(r.id.kind()))
	}
	for _, key := range r.claimKeys() {
		found = append(found, t.sum(seeds.claim, key))
	}
	for _, name := range showsAbove(r) {
		found = append(found, t.sum(seeds.above, name))
	}
	for _, key := range documentEntries(r) {
		found = append(found, t.sum(seeds.document, key))
	}
	return found
}

// claimKeys lists the keys, besides its name, that a record holds exclusively.
func (r *record) claimKeys() []string {
	var keys []string
	for _, c := range r.object.Claims() {
		keys = append(keys, prefixClaim+c.Key)
	}
	if m := &r.object.Head().Meta; m.Foreign != nil {
		keys = append(keys, foreignKey(m.Owner, m.Foreign))
	}
	return keys
}

// trees are the tables. Only the follower writes, and only trees that no
// snapshot has: these have clones.
type trees struct {
	hashed *btree.BTreeG[entry]
	named  *btree.BTreeG[*record]
	tokens *btree.BTreeG[*token]
	rests  *btree.BTreeG[*rest]
	sum    func(maphash.Seed, string) uint64 // maphash.String
}

func newTrees() trees {
	return trees{
		hashed: btree.NewG(degree, entry.less),
		named:  btree.NewG(degree, (*record).before),
		tokens: btree.NewG(degree, func(a, b *token) bool { return a.ID < b.ID }),
		rests:  btree.NewG(degree, func(a, b *rest) bool { return a.key < b.key }),
		sum:    maphash.String,
	}
}

// clone returns the same state, which nobody changes any more when it is given
// to readers. It costs a few hundred bytes.
func (t trees) clone() trees {
	return trees{t.hashed.Clone(), t.named.Clone(), t.tokens.Clone(), t.rests.Clone(), t.sum}
}

// record returns that of an object, or nil.
func (t trees) record(i id) *record {
	return t.hash(t.sum(seeds.id, string(i)), func(r *record) bool { return r.id == i })
}

// byName returns the record of a kind with a fully qualified name, or nil.
func (t trees) byName(kind api.Kind, fqName string) *record {
	var found *record
	t.named.AscendGreaterOrEqual(&record{id: idOf(kind, ""), name: fqName}, func(r *record) bool {
		if r.id.kind() == kind && r.name == fqName {
			found = r
		}
		return false
	})
	return found
}

// byKindName is byName of what kindName makes.
func (t trees) byKindName(name string) *record {
	kind, fqName, _ := strings.Cut(name, " ")
	return t.byName(api.Kind(kind), fqName)
}

// eachOfKind calls visit for the records of a kind, ordered by fully qualified
// name, until it returns false.
func (t trees) eachOfKind(kind api.Kind, visit func(*record) bool) {
	t.named.AscendGreaterOrEqual(&record{id: idOf(kind, "")}, func(r *record) bool {
		return r.id.kind() == kind && visit(r)
	})
}

// eachReferrer calls visit for the records of a kind that refer to a target by
// whatever field, the parent too, until it returns false.
func (t trees) eachReferrer(target id, kind api.Kind, visit func(*record) bool) {
	t.eachHash(t.hashTarget(target)|t.hashKind(kind), 0, func(r *record) bool {
		return r.id.kind() != kind || !refers(r, target) || visit(r)
	})
}

// eachReferrerAtAll is eachReferrer for all kinds, and may visit a record twice.
func (t trees) eachReferrerAtAll(target id, visit func(*record) bool) {
	t.eachHash(t.hashTarget(target), kindBits, func(r *record) bool {
		return !refers(r, target) || visit(r)
	})
}

// eachChild calls visit for the records of a kind that have the parent, until it
// returns false.
func (t trees) eachChild(kind api.Kind, parent string, visit func(*record) bool) {
	below := func(r *record) bool {
		return r.object.Head().Meta.Parent.UUID != parent || visit(r)
	}
	if info, ok := api.KindInfo(kind); !ok || info.Parent == "" || parent == "" {
		t.eachOfKind(kind, below)
	} else {
		t.eachHash(t.hashTarget(idOf(info.Parent, parent))|t.hashKind(kind), 0, func(r *record) bool {
			return r.id.kind() != kind || below(r)
		})
	}
}

// eachBelow calls visit for the records because of which something, as
// kindName, must be seen, until it returns false.
func (t trees) eachBelow(above string, visit func(*record) bool) {
	t.eachHash(t.sum(seeds.above, above), 0, func(r *record) bool {
		return !slices.Contains(showsAbove(r), above) || visit(r)
	})
}

// eachDocument calls visit for the foreign documents that have an entry.
func (t trees) eachDocument(key string, visit func(*api.ForeignDocument)) {
	t.eachHash(t.sum(seeds.document, key), 0, func(r *record) bool {
		if slices.Contains(documentEntries(r), key) {
			visit(r.object.(*api.ForeignDocument))
		}
		return true
	})
}

// holder returns the record that holds the key of a name, claim or foreign
// identity, or nil.
func (t trees) holder(key string) *record {
	if name, ok := strings.CutPrefix(key, prefixName); ok {
		return t.nameHolder(name)
	}
	return t.hash(t.sum(seeds.claim, key), func(r *record) bool {
		return slices.Contains(r.claimKeys(), key)
	})
}

// nameHolder is holder of what a name's key has after its prefix.
func (t trees) nameHolder(key string) *record {
	parts := strings.SplitN(key, "/", 3)
	if len(parts) < 3 {
		return nil
	}
	kind, parent, fqName := api.Kind(parts[0]), parts[1], parts[2]
	if parent != rootParent {
		info, _ := api.KindInfo(kind)
		above := t.record(idOf(info.Parent, parent))
		if above == nil {
			return nil
		}
		fqName = api.JoinName(above.name, fqName)
	}
	return t.byName(kind, fqName)
}

// hash returns the first record of a hash that is the one looked for, or nil.
func (t trees) hash(hash uint64, is func(*record) bool) *record {
	var found *record
	t.eachHash(hash, 0, func(r *record) bool {
		if is(r) {
			found = r
		}
		return found == nil
	})
	return found
}

// eachHash calls visit for the records of the hashes that differ from one in so
// many low bits at most, ordered by hash and identity, until it returns false.
func (t trees) eachHash(hash uint64, bits int, visit func(*record) bool) {
	t.hashed.AscendGreaterOrEqual(entry{hash: hash}, func(e entry) bool {
		return e.hash>>bits == hash>>bits && visit(e.record)
	})
}

// put makes a record the state of its object in place of the old one, which may
// be nil.
func (t trees) put(old, now *record) {
	if old != nil {
		kept := map[uint64]bool{}
		for _, h := range t.hashes(now) {
			kept[h] = true
		}
		for _, h := range t.hashes(old) {
			if !kept[h] {
				t.hashed.Delete(entry{h, old})
			}
		}
		if old.name != now.name {
			t.named.Delete(old)
		}
	}
	for _, h := range t.hashes(now) {
		t.hashed.ReplaceOrInsert(entry{h, now})
	}
	t.named.ReplaceOrInsert(now)
}

// drop takes a record out.
func (t trees) drop(old *record) {
	for _, h := range t.hashes(old) {
		t.hashed.Delete(entry{h, old})
	}
	t.named.Delete(old)
}
