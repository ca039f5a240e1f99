// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weft-network/weft/api"
)

// plainTables are what trees must be equal to: all records, looked through.
type plainTables map[id]*record

func (p plainTables) all(is func(*record) bool) []id {
	var found []id
	for i, r := range p {
		if is(r) {
			found = append(found, i)
		}
	}
	slices.Sort(found)
	return found
}

// treeWorld makes random records of few names, so that they often meet.
type treeWorld struct {
	*rand.Rand
	mod int64
}

func (w *treeWorld) uuid(kind api.Kind) string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.IntN(12)+100*len(kind))
}

func (w *treeWorld) ref(kind api.Kind) api.Ref {
	return api.Ref{UUID: w.uuid(kind), Name: fmt.Sprintf("d:p:n%d", w.IntN(6))}
}

// object is a random state of an object of some kind.
func (w *treeWorld) object() api.Object {
	kinds := []api.Kind{api.KindDomain, api.KindProject, api.KindPort, api.KindAddress, api.KindBinding, api.KindShare, api.KindForeignDocument}
	kind := kinds[w.IntN(len(kinds))]
	o := api.New(kind)
	m := &o.Head().Meta
	m.UUID, m.Name, m.Owner = w.uuid(kind), fmt.Sprint("n", w.IntN(6)), fmt.Sprint("owner", w.IntN(2))
	m.FQName = m.Name
	if info, _ := api.KindInfo(kind); info.Parent != "" {
		m.Parent = w.ref(info.Parent)
		m.FQName = api.JoinName(m.Parent.Name, m.Name)
	}
	if w.IntN(3) == 0 {
		m.Foreign = &api.Foreign{Orchestrator: m.Owner, Kind: "k", ID: fmt.Sprint(w.IntN(5))}
	}
	switch o := o.(type) {
	case *api.Port:
		o.Spec.Network, o.Spec.MAC = w.ref(api.KindNetwork), api.MACFromUUID(m.UUID)
		o.Spec.SecurityGroups = []api.Ref{w.ref(api.KindSecurityGroup), w.ref(api.KindSecurityGroup)}
	case *api.Address:
		o.Spec.Subnet, o.Spec.Port = w.ref(api.KindSubnet), w.ref(api.KindPort)
	case *api.Binding:
		o.Spec.Host, o.Spec.Active = w.ref(api.KindHost), w.IntN(2) == 0
	case *api.Share:
		o.Spec.TargetKind, o.Spec.Target = api.KindPort, w.ref(api.KindPort)
		o.Spec.GranteeKind, o.Spec.Grantee = api.KindProject, w.ref(api.KindProject)
	case *api.ForeignDocument:
		o.Spec.Index = map[string]string{"a": fmt.Sprint(w.IntN(3)), "b": fmt.Sprint(w.IntN(3))}
	}
	return o
}

// record is what would be read from etcd for a random object.
func (w *treeWorld) record(t *testing.T) *record {
	made := &record{object: w.object(), schema: 1}
	made.id = idOf(made.object.Head().Kind, made.object.Head().Meta.UUID)
	if w.IntN(2) == 0 {
		made.orchestrator = w.uuid(api.KindOrchestrator)
		made.shares = map[string]string{"spec.x": w.uuid(api.KindShare)}
	}
	w.mod++
	r, err := decodeRecord(made.id, made.encode(), w.mod)
	check(t, err)
	return r
}

// compareTables asks trees everything that may be asked of them.
func compareTables(t *testing.T, got trees, want plainTables) {
	t.Helper()
	same := func(what string, each func(func(*record) bool), is func(*record) bool) {
		t.Helper()
		var found []id
		each(func(r *record) bool {
			if want[r.id] != r {
				t.Fatalf("%s: %s is not its newest state", what, r.id)
			}
			found = append(found, r.id)
			return true
		})
		slices.Sort(found)
		if what == "all referrers" { // may come twice
			found = slices.Compact(found)
		}
		if all := want.all(is); !slices.Equal(found, all) {
			t.Fatalf("%s: got %v, want %v", what, found, all)
		}
	}
	for i, r := range want {
		if got.record(i) != r {
			t.Fatalf("%s is not found by its identity", i)
		}
		if n := got.byName(i.kind(), r.name); n == nil || n.name != r.name || n.id.kind() != i.kind() {
			t.Fatalf("%s is not found by its name %s, but %v", i, r.name, n)
		}
		parent := r.object.Head().Meta.Parent.UUID
		same("children", func(v func(*record) bool) { got.eachChild(i.kind(), parent, v) },
			func(o *record) bool { return o.id.kind() == i.kind() && o.object.Head().Meta.Parent.UUID == parent })
		for _, to := range r.targets() {
			refers := func(o *record) bool {
				return slices.ContainsFunc(o.targets(), func(x target) bool { return x.target == to.target })
			}
			same("referrers", func(v func(*record) bool) { got.eachReferrer(to.target, i.kind(), v) },
				func(o *record) bool { return o.id.kind() == i.kind() && refers(o) })
			same("all referrers", func(v func(*record) bool) { got.eachReferrerAtAll(to.target, v) }, refers)
		}
		for _, key := range r.claimKeys() {
			if holder := got.holder(key); holder == nil || !slices.Contains(holder.claimKeys(), key) {
				t.Fatalf("%s is held by %s, and %v is found", key, i, holder)
			}
		}
		for _, above := range showsAbove(r) {
			same("below", func(v func(*record) bool) { got.eachBelow(above, v) },
				func(o *record) bool { return slices.Contains(showsAbove(o), above) })
		}
		for _, entry := range documentEntries(r) {
			same("documents", func(v func(*record) bool) {
				got.eachDocument(entry, func(d *api.ForeignDocument) { v(want[idOf(api.KindForeignDocument, d.Meta.UUID)]) })
			}, func(o *record) bool { return slices.Contains(documentEntries(o), entry) })
		}
	}
	for _, info := range api.Kinds() {
		last := ""
		same("kind", func(v func(*record) bool) {
			got.eachOfKind(info.Kind, func(r *record) bool {
				if r.name < last {
					t.Fatalf("%s comes after %s", r.name, last)
				}
				last = r.name
				return v(r)
			})
		}, func(r *record) bool { return r.id.kind() == info.Kind })
	}
}

// Trees answer as if one looked through all records, also where hashes are the
// same by chance, and what was cloned stays as it was.
func TestTreesEqualAScan(t *testing.T) {
	for _, world := range []struct {
		name string
		mask uint64
	}{{"hashes of 64 bits", ^uint64(0)}, {"hashes that meet", 0x301}} {
		t.Run(world.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			w := &treeWorld{Rand: rand.New(rand.NewPCG(seed, 0))}
			tables, want := newTrees(), plainTables{}
			tables.sum = func(s maphash.Seed, text string) uint64 { return maphash.String(s, text) & world.mask }
			type state struct {
				trees trees
				want  plainTables
			}
			var kept []state
			for step := range 1500 {
				r := w.record(t)
				old := want[r.id]
				switch {
				case old != nil && w.IntN(3) == 0:
					tables.drop(old)
					delete(want, r.id)
				case old != nil && w.IntN(2) == 0:
					status, err := old.withStatus("{}")
					check(t, err)
					tables.put(old, status)
					want[r.id] = status
				default:
					tables.put(old, r)
					want[r.id] = r
				}
				if step%100 == 0 {
					compareTables(t, tables, want)
					kept = append(kept, state{tables.clone(), maps.Clone(want)})
				}
			}
			for _, s := range kept {
				compareTables(t, s.trees, s.want)
			}
			for _, r := range want {
				tables.drop(r)
			}
			if left := tables.hashed.Len() + tables.named.Len(); left != 0 {
				t.Errorf("%d entries are left when all records are gone", left)
			}
		})
	}
}
