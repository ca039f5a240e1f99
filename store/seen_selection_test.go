// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"

	"github.com/weft-network/weft/api"
)

// What refers to an object that somebody sees is shown to them only as far as
// they see that too.
func TestReferrersThatAreSeen(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	net := named("blue-own:p:n")
	w.create(blue, network("n", projectOf(blue)), share("s", projectOf(blue), api.KindNetwork, net, api.GranteeAll, api.Ref{}, api.VerbAttach))
	w.create(blue, port("hidden", projectOf(blue), net))
	w.create(green, port("own", projectOf(green), net))
	id := w.Latest().Lookup(api.KindNetwork, net).Head().Meta.UUID
	for who, want := range map[api.Identity]int{admin: 2, green: 1} {
		s := Seen(w.Latest(), who).(interface {
			Referrers(kind, target api.Kind, uuid string) []api.Object
		})
		found := s.Referrers(api.KindPort, api.KindNetwork, id)
		if len(found) != want {
			t.Errorf("%s sees %d ports that refer to the network, want %d", who.Name, len(found), want)
		}
	}
}

// An object that enters what a watcher sees, and leaves what the watch selects,
// in one transaction, was never shown: it is not told as deleted either.
func TestWatchSelectedTellsNothingOfBefore(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	large := func(name string, mtu int) *api.Network {
		n := network(name, projectOf(blue))
		n.Spec.MTU = mtu
		return n
	}
	w.create(blue, large("n", 9000))
	all := func(target string) *api.Share {
		return share("of-"+target, projectOf(blue), api.KindNetwork, named("blue-own:p:"+target), api.GranteeAll, api.Ref{}, api.VerbSee)
	}
	options := WatchOptions{Kinds: []api.Kind{api.KindNetwork}, Selected: func(o api.Object) bool { return o.(*api.Network).Spec.MTU == 9000 }}
	watch, err := w.WatchSelected(t.Context(), green, 0, options)
	if err != nil {
		t.Fatal(err)
	}
	is(t, until(t, watch, "bookmark"), "bookmark")
	ops := []api.Operation{{Op: api.OpUpdate, Object: large("n", 1500)}, {Op: api.OpCreate, Object: all("n")}}
	if _, err := w.Commit(t.Context(), blue, ops, CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	// From here on it is seen: entering and leaving the selection is told.
	w.update(blue, large("n", 9000))
	w.update(blue, large("n", 1400))
	is(t, until(t, watch, "delete network n"), "put network n, delete network n")
}
