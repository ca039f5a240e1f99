// SPDX-License-Identifier: Apache-2.0

package store

import (
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store/embedded"
)

// install starts a controller's store on the world's etcd and ends it again.
func (w *world) install() {
	w.t.Helper()
	s, err := Open(w.t.Context(), w.client, Options{MaxTxnOps: embedded.MaxTxnOps, Local: w.etcd, DefaultNetworks: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Error(err)
		return
	}
	s.Close()
}

// defaults are the default networks that a store has, by name, with their VNIs.
func (w *world) defaults() map[string]uint32 {
	w.t.Helper()
	snapshot, err := w.Snapshot(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]uint32{}
	for _, n := range api.ListOf[*api.Network](snapshot, api.KindNetwork) {
		if n.Meta.Parent.Name == project.Name && slices.Contains(DefaultNetworks, n.Meta.Name) {
			if n.Meta.Owner != api.AdministratorsName {
				w.t.Errorf("%s belongs to %s", n.Meta.FQName, n.Meta.Owner)
			}
			found[n.Meta.FQName] = n.Spec.VNI
		}
	}
	return found
}

// A new store has Tungsten's default networks, under VNIs that nobody's first
// networks get, and nobody but the administrators sees them unless shared.
func TestDefaultNetworks(t *testing.T) {
	w := newWorld(t)
	w.install()
	w.orchestrators()
	found := w.defaults()
	for i, name := range []string{"ip-fabric", "default-virtual-network", "__link_local__", "dci-network"} {
		if got, want := found["default-domain:default-project:"+name], uint32(api.MaxVNI-i); got != want {
			t.Errorf("%s has VNI %d, want %d", name, got, want)
		}
	}
	if n := w.create(admin, network("first", project)).(*api.Network); n.Spec.VNI != 1 {
		t.Errorf("the first network of people has VNI %d", n.Spec.VNI)
	}
	fabric := named("default-domain:default-project:ip-fabric")
	w.refused(api.CodeInvalid, "there is no network", blue, api.OpCreate, port("p", projectOf(blue), fabric))
	share := &api.Share{Header: head(api.KindShare, "fabric", project), Spec: api.ShareSpec{
		TargetKind: api.KindNetwork, Target: fabric, GranteeKind: api.GranteeAll, Verbs: []api.Verb{api.VerbAttach},
	}}
	w.create(admin, share)
	w.create(blue, port("p", projectOf(blue), fabric))
}

// They are not deleted by accident, nor made again once deleted on purpose;
// a name that is in use is left to who has it.
func TestDefaultNetworksAreMadeOnce(t *testing.T) {
	w := newWorld(t)
	w.install()
	w.defaults() // waits for them
	fabric := w.Latest().Lookup(api.KindNetwork, named("default-domain:default-project:ip-fabric")).(*api.Network)
	e := w.refused(api.CodeConflict, "weft/protected", admin, api.OpDelete, fabric)
	if e.Field != "meta.labels" {
		t.Errorf("field %q", e.Field)
	}
	w.refused(api.CodeConflict, "others still refer to it", admin, api.OpDelete, &api.Project{Header: head(api.KindProject, "default-project", named("default-domain"))})
	bare := api.Clone(fabric)
	bare.Meta.Labels = nil
	w.remove(admin, w.update(admin, bare))
	w.install()
	if found := w.defaults(); len(found) != 3 {
		t.Errorf("after another start: %v", found)
	}
}

// A store from before there were default networks gets them, once, whichever of
// its controllers starts first. Names and VNIs that are taken stay whose they are.
func TestDefaultNetworksOfAnOldStore(t *testing.T) {
	w := newWorld(t)
	mine := network("ip-fabric", project)
	mine.Spec.VNI = 77
	taken := network("taken", project)
	taken.Spec.VNI = api.MaxVNI - 1
	w.create(admin, mine, taken)
	var starts sync.WaitGroup
	for range 4 {
		starts.Go(w.install)
	}
	starts.Wait()
	found := w.defaults()
	if len(found) != len(DefaultNetworks) || found["default-domain:default-project:ip-fabric"] != 77 || found["default-domain:default-project:dci-network"] != api.MaxVNI-3 {
		t.Errorf("networks: %v", found)
	}
	if vni := found["default-domain:default-project:default-virtual-network"]; vni == 0 || vni == api.MaxVNI-1 {
		t.Errorf("the network whose VNI was taken has %d", vni)
	}
}
