// SPDX-License-Identifier: Apache-2.0

package views_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/views"
	"github.com/weft-network/weft/control/world"
)

// randomWorld is eight ports and some policy; what is edited later differs.
func randomWorld(seed uint64, edits int) *world.World {
	r := rand.New(rand.NewPCG(seed, 6))
	w := world.New("host h1 192.0.2.1\nhost h2 192.0.2.2\nhost h3 192.0.2.3")
	for i := range 8 {
		n := i % 4
		w.Do(fmt.Sprintf("network n%d %d\nsubnet n%d 10.0.0.0/24\nport n%d p%d q%d\naddress n%d 10.0.0.%d p%d\nbind p%d h%d", n, n+1, n, n, i, r.IntN(2), n, i+2, i, i, 1+r.IntN(3)))
	}
	for range edits {
		if r.IntN(3) == 0 {
			w.Do(world.RandomEdit(r))
		} else {
			w.Do(world.RandomSecurity(r))
		}
	}
	return w
}

// What would follow from changes is what follows once they are made, and
// thinking of it changes nothing.
func TestWhatIsThoughtOfIsWhatFollows(t *testing.T) {
	different := 0
	for seed := range uint64(150) {
		before, after := randomWorld(seed, 40), randomWorld(seed, 40+1+int(seed%6))
		changes := &api.Changes{}
		for _, e := range world.Changes(before, after) {
			if e.Type == api.EventDelete {
				changes.Deleted = append(changes.Deleted, api.Target{Kind: e.Kind, UUID: e.Object.Head().Meta.UUID})
			} else {
				changes.Put = append(changes.Put, e.Object)
			}
		}
		now := policy.Derive(routing.Derive(before))
		printed := now.String()
		got, want := views.ThoughtOf(now, changes), policy.Derive(routing.Derive(after))
		if got.String() != want.String() {
			t.Fatalf("seed %d: after %d changes\n%s\nwant\n%s", seed, len(changes.Put)+len(changes.Deleted), got, want)
		}
		if now.String() != printed {
			t.Fatalf("seed %d: what follows now has changed by thinking", seed)
		}
		if got.String() != printed {
			different++
		}
	}
	if different < 50 {
		t.Errorf("only %d of the changes changed anything", different)
	}
}
