// SPDX-License-Identifier: Apache-2.0

package reconcile_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weft-network/weft/reconcile"
)

func same(a, b string) bool { return a == b }

// seeded returns a random source and prints its seed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestPlan(t *testing.T) {
	want := map[int]string{1: "a", 2: "b", 3: "c"}
	have := map[int]string{2: "b", 3: "old", 5: "x", 4: "x"}
	got := fmt.Sprint(reconcile.Plan(want, have, cmp.Compare[int], same))
	if expect := "[{update 1 a} {update 3 c} {delete 5 } {delete 4 }]"; got != expect {
		t.Errorf("plan %s, want %s", got, expect)
	}
}

func TestBackoff(t *testing.T) {
	b := reconcile.Backoff{First: time.Second, Max: 5 * time.Second}
	var got []time.Duration
	for n := 1; n <= 5; n++ {
		got = append(got, b.After(n))
	}
	want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("pauses %v, want %v", got, want)
	}
	if last := (reconcile.Backoff{}).After(1 << 30); last != reconcile.MaxPause {
		t.Errorf("pause after very many failures %v", last)
	}
}

func newSync(target reconcile.Target[int, string], batch int) *reconcile.Sync[int, string] {
	return reconcile.New(target, reconcile.Options[int, string]{Name: "row", Compare: cmp.Compare[int], Equal: same, Batch: batch})
}

// Whatever is wanted, removed, failing or restarted in between, the target ends
// as wanted; rows of others, never wanted, stay until the sweep and go with it.
func TestSyncEndsAsWanted(t *testing.T) {
	r := seeded(t)
	for range 200 {
		target := reconcile.NewMemory[int, string](r)
		leftovers := map[int]string{100: "left", 101: "left"}
		maps.Copy(target.Rows, leftovers)
		now := time.Unix(0, 0)
		want := map[int]string{}
		s := newSync(target, 3)
		load(t, s)
		for range 60 {
			k := r.IntN(12)
			switch r.IntN(5) {
			case 0, 1:
				want[k] = fmt.Sprint("v", r.IntN(3))
			case 2:
				delete(want, k)
			case 3:
				s.Updates(t.Context(), now)
				s.Deletes(t.Context(), now)
			case 4:
				s = newSync(target, 3) // the agent restarted: desired rows are known, actual ones are read
				load(t, s)
			}
			s.Want(want)
			now = now.Add(50 * time.Millisecond)
		}
		now = settle(t, s, now)
		for k := range leftovers {
			if _, there := target.Rows[k]; !there {
				t.Fatalf("row %d was swept before it was allowed", k)
			}
		}
		s.Sweep()
		settle(t, s, now)
		if !maps.Equal(target.Rows, want) {
			t.Fatalf("target has %v, want %v", target.Rows, want)
		}
		for k := range want {
			if st, ok := s.Status(k); !ok || st.State != reconcile.Done || st.Error != "" {
				t.Fatalf("status of %d: %+v", k, st)
			}
		}
		before := target.Ops
		s.Want(want)
		s.Updates(t.Context(), now)
		s.Deletes(t.Context(), now)
		if target.Ops != before {
			t.Fatalf("%d operations with nothing to do", target.Ops-before)
		}
	}
}

func load(t *testing.T, s *reconcile.Sync[int, string]) {
	t.Helper()
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// settle lets time pass until nothing is left to do.
func settle(t *testing.T, s *reconcile.Sync[int, string], now time.Time) time.Time {
	t.Helper()
	for range 10000 {
		s.Updates(t.Context(), now)
		s.Deletes(t.Context(), now)
		if s.Settled() {
			return now
		}
		if next, ok := s.NextAttempt(); ok && next.After(now) {
			now = next
		}
	}
	t.Fatal("does not settle")
	return now
}

// broken fails until it is repaired.
type broken struct {
	*reconcile.Memory[int, string]
	down bool
}

func (b *broken) Update(ctx context.Context, k int, v string) error {
	if b.down {
		return errors.New("table full")
	}
	return b.Memory.Update(ctx, k, v)
}

func TestFailureIsAStatusAndRetried(t *testing.T) {
	target := &broken{reconcile.NewMemory[int, string](nil), true}
	s := newSync(target, 0)
	now := time.Unix(100, 0)
	s.Put(1, "a")
	if st, _ := s.Status(1); st.State != reconcile.Pending {
		t.Errorf("before the first attempt: %+v", st)
	}
	s.Updates(t.Context(), now)
	s.Updates(t.Context(), now) // not due yet
	st, _ := s.Status(1)
	if want := (reconcile.Status{State: reconcile.Failed, Error: "update row 1: table full", Attempts: 1, Next: now.Add(reconcile.FirstPause)}); st != want {
		t.Errorf("after a failure: %+v, want %+v", st, want)
	}
	target.down = false
	if s.Updates(t.Context(), st.Next) != 1 || target.Rows[1] != "a" {
		t.Errorf("not repaired: %v", target.Rows)
	}
	if st, _ := s.Status(1); st != (reconcile.Status{State: reconcile.Done}) {
		t.Errorf("after the repair: %+v", st)
	}
}

// A row waits for what it needs, and stays for what needs it.
func TestReadyAndFree(t *testing.T) {
	target := reconcile.NewMemory[int, string](nil)
	missing, used := errors.New("row 7 is missing"), errors.New("row 8 uses it")
	s := reconcile.New(target, reconcile.Options[int, string]{
		Name: "row", Compare: cmp.Compare[int], Equal: same,
		Ready: func(int, string) error { return missing },
		Free:  func(int) error { return used },
	})
	now := time.Unix(0, 0)
	s.Put(1, "a")
	s.Updates(t.Context(), now)
	if st, _ := s.Status(1); st.State != reconcile.Pending || st.Error != "row 7 is missing" || target.Ops != 0 {
		t.Errorf("waiting row: %+v after %d operations", st, target.Ops)
	}
	missing = nil
	s.Updates(t.Context(), now)
	s.Remove(1)
	s.Deletes(t.Context(), now)
	if _, there := target.Rows[1]; !there || s.Settled() {
		t.Error("a row was deleted while used")
	}
	used = nil
	s.Deletes(t.Context(), now)
	if len(target.Rows) != 0 || !s.Settled() {
		t.Errorf("left: %v", target.Rows)
	}
}

func TestBatchIsBounded(t *testing.T) {
	target := reconcile.NewMemory[int, string](nil)
	s := newSync(target, 4)
	for k := range 10 {
		s.Put(k, "a")
	}
	if n := s.Updates(t.Context(), time.Unix(0, 0)); n != 4 || len(target.Rows) != 4 {
		t.Errorf("%d updates in one batch of 4", n)
	}
	for k := range 4 {
		if _, there := target.Rows[k]; !there {
			t.Errorf("row %d is not among the first", k)
		}
	}
}
