// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// Who follows the objects hears of it when an address ceases to rest, though no
// object changes; otherwise nobody would count it as free.
func TestFollowersHearOfTheEndOfRests(t *testing.T) {
	w := newWorld(t)
	w.create(admin, network("n", project), subnet("s", "10.0.0.0/24", netN), address("a", netN, ""))
	w.remove(admin, address("a", netN, ""))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	follow := w.Follow(ctx)
	resting := func() (int, int64) {
		s := <-follow
		if s == nil {
			t.Fatal("no further state came")
		}
		return len(s.(*Snapshot).Resting(s.Lookup(api.KindNetwork, netN).Head().Meta.UUID)), s.Revision()
	}
	before, at := resting()
	w.endRests()
	after, then := resting()
	if before != 1 || after != 0 || at != then {
		t.Errorf("%d rest at revision %d and %d at %d, want 1 and 0 at the same", before, at, after, then)
	}
}

// Where networks share an address space, an address rests also when its own
// subnet goes with it: another network would give it out at once.
func TestSharedAddressesRestWithoutTheirSubnet(t *testing.T) {
	w := newWorld(t)
	w.create(admin, &api.IPAM{Header: head(api.KindIPAM, "ipam", project)})
	a, b := named(inProject+"a"), named(inProject+"b")
	for _, net := range []api.Ref{a, b} {
		n := network(api.BaseName(net.Name), project)
		n.Spec.IPAM = named(inProject + "ipam")
		w.create(admin, n, subnet("s", "10.0.0.0/24", net))
	}
	w.create(admin, address("x", a, "10.0.0.2"))
	w.remove(admin, address("x", a, ""), subnet("s", "10.0.0.0/24", a))
	w.gives(admin, b, "10.0.0.3")
}

// A commit that is given up names no holder that the writer may not see.
func TestDiagnosisNamesOnlyWhatIsSeen(t *testing.T) {
	w := newWorld(t)
	w.orchestrators()
	n := network("n", projectOf(green))
	n.Spec.VNI = 77
	p, err := w.evaluate(w.latest(), green, []api.Operation{{Op: api.OpCreate, Object: n}}, false)
	if err != nil {
		t.Fatal(err)
	}
	taken := network("secret", projectOf(blue))
	taken.Spec.VNI = 77
	uuid := w.create(blue, taken).Head().Meta.UUID
	if text := w.diagnose(t.Context(), p).Error(); !strings.Contains(text, "vni/77 is held") || strings.Contains(text, "secret") || strings.Contains(text, uuid) {
		t.Error(text)
	}
}
