// SPDX-License-Identifier: Apache-2.0

package store

import (
	"reflect"
	"testing"
	"unsafe"

	"github.com/weft-network/weft/api"
)

// The name of a network is in memory once, however many refer to it, both where
// objects came one by one and where they were read at the start. Nothing is
// different for who reads.
func TestReferencesShareTheirWords(t *testing.T) {
	w := newWorld(t)
	n := w.create(admin, network("net", project))
	w.create(admin, port("p1", project, named("default-domain:default-project:net")), port("p2", project, named("default-domain:default-project:net")))
	n = api.Clone(n)
	n.Head().Meta.DisplayName = "changed" // which makes no other words of it
	w.update(admin, n)
	w.create(admin, subnet("v4", "10.0.0.0/24", api.RefTo(n)))
	w.create(admin, address("a", api.RefTo(n), ""))
	for name, s := range map[string]*Store{"followed": w.Store, "loaded": w.open()} {
		snapshot, err := s.linearizable(t.Context(), 0)
		check(t, err)
		for _, o := range []api.Object{
			snapshot.Lookup(api.KindPort, named("default-domain:default-project:p1")),
			snapshot.Lookup(api.KindPort, named("default-domain:default-project:p2")),
			snapshot.Lookup(api.KindAddress, named("default-domain:default-project:net:a")),
		} {
			ref := o.Head().Meta.Parent
			if p, ok := o.(*api.Port); ok {
				ref = p.Spec.Network
			}
			target := snapshot.Get(api.KindNetwork, n.Head().Meta.UUID).Head().Meta
			if ref != (api.Ref{UUID: target.UUID, Name: target.FQName}) {
				t.Errorf("%s: %s refers to %v, not to %v", name, o.Head().Meta.FQName, ref, target)
			}
			if unsafe.StringData(ref.Name) != unsafe.StringData(target.FQName) || unsafe.StringData(ref.UUID) != unsafe.StringData(target.UUID) {
				t.Errorf("%s: %s has words of its own for what it refers to", name, o.Head().Meta.FQName)
			}
		}
	}
	for _, o := range examples(t) {
		r := &record{id: idOf(o.Head().Kind, o.Head().Meta.UUID), object: api.Clone(o)}
		r.shareOwn()
		if !reflect.DeepEqual(r.object, o) {
			t.Errorf("%s is another one after sharing", o.Head().Meta.Name)
		}
	}
}
