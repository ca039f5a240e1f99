// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

// Whatever wall clocks do, hours forwards and backwards and each controller's
// its own way: freed addresses rest, writes commit and are there, and revisions
// alone say what is newer.
func TestWallClocksJump(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	stores := []*Store{w.Store, w.open()}
	for _, s := range stores {
		s.now = func() time.Time { return time.Now().Add(time.Duration(r.IntN(21)-10) * time.Hour) }
	}
	made := w.create(admin, network("n", project)).(*api.Network)
	quarantine := 600
	s := subnet("s", "10.0.0.0/26", api.RefTo(made))
	s.Spec.QuarantineSeconds = &quarantine
	w.create(admin, s)
	freed := map[string]bool{}
	var held []*api.Address
	commit := func(op string, o api.Object) api.Object {
		t.Helper()
		result, err := stores[r.IntN(2)].Commit(t.Context(), admin, []api.Operation{{Op: op, Object: o}}, CommitOptions{})
		check(t, err)
		return result.Objects[0]
	}
	var last int64
	for n := range 55 { // 61 addresses in all, and none comes twice
		a := commit(api.OpCreate, address(fmt.Sprint("a", n), api.RefTo(made), "")).(*api.Address)
		if freed[a.Spec.IP.String()] {
			t.Fatalf("%v was freed a moment ago and is given out", a.Spec.IP)
		}
		if a.Meta.Revision <= last {
			t.Fatalf("revision %d after %d", a.Meta.Revision, last)
		}
		last = a.Meta.Revision
		if held = append(held, a); len(held) > 3 {
			i := r.IntN(len(held))
			gone := held[i]
			commit(api.OpDelete, gone)
			freed[gone.Spec.IP.String()] = true
			held = append(held[:i], held[i+1:]...)
		}
	}
}

// A token is refused while a clock says that it has expired, is good again when
// the clock is right again, and ends at its time at the latest by the clock
// that made it; no clock that is ahead for hours deletes one.
func TestTokensAcrossClockJumps(t *testing.T) {
	w := newWorld(t)
	right := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	now := right
	w.Store.now = func() time.Time { return now }
	create := func(name string) api.Token {
		t.Helper()
		token, err := w.CreateToken(t.Context(), admin, api.TokenRequest{Name: name, Role: api.RoleReader, TTLSeconds: 3600})
		check(t, err)
		return token
	}
	good := func(token api.Token) bool {
		_, err := w.Authenticate(t.Context(), token.ID, token.Secret)
		return err == nil
	}
	one := create("one")
	now = right.Add(10 * time.Hour)
	if good(one) {
		t.Error("accepted after its end")
	}
	ahead := create("made ahead") // and sweeps what is expired for long
	now = right.Add(30 * time.Minute)
	if !good(one) {
		t.Error("a clock that was ahead has deleted a token")
	}
	if !good(ahead) {
		t.Error("a token that was made ahead is refused")
	}
	now = right.Add(-10 * time.Hour)
	if back := create("made behind"); !back.ExpiresAt.Equal(now.Add(time.Hour)) {
		t.Errorf("made behind, it ends at %v", back.ExpiresAt)
	}
	now = right.Add(11*time.Hour + time.Second)
	for _, token := range []api.Token{one, ahead} {
		if good(token) {
			t.Errorf("%s is good after all clocks' ends", token.Identity.Name)
		}
	}
	now = now.Add(tokenGrace)
	create("sweeps")
	list, err := w.ListTokens(t.Context(), admin)
	check(t, err)
	if len(list) != 1 {
		t.Errorf("%d tokens are left after the grace", len(list))
	}
}
