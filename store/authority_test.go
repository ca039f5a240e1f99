// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// The first controller's authority is everybody's; a second one is refused.
func TestOneAuthority(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ claim, refused string }{
		{"aaaa", ""}, {"aaaa", ""}, {"bbbb", "copy the pki directory"},
	} {
		err := ClaimAuthority(t.Context(), w.client, c.claim)
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("claim %s: %v, want %q", c.claim, err, c.refused)
		}
	}
	if known, err := Authority(t.Context(), w.client); err != nil || known != "aaaa" {
		t.Errorf("the authority is %q, %v", known, err)
	}
}

// Every controller gives the same state the same revision, one that has
// followed it and one that has just read it, also when the last change was a
// deletion and other keys were written since.
func TestFollowersAgreeOnRevisions(t *testing.T) {
	w := newWorld(t)
	w.create(admin, network("a", project), network("b", project))
	w.remove(admin, network("b", project))
	if _, err := w.client.Put(t.Context(), PrefixPeer+"x", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Snapshot(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	var seen []api.Snapshot
	for _, s := range []*Store{w.Store, w.open()} {
		seen = append(seen, <-s.Follow(t.Context()))
	}
	if seen[0].Revision() != seen[1].Revision() {
		t.Errorf("revisions %d and %d of the same state", seen[0].Revision(), seen[1].Revision())
	}
	sameObjects(t, seen[0], seen[1])
}
