// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func fakeExpediter(t *testing.T, knob string) *expediter {
	t.Helper()
	e := &expediter{knob: filepath.Join(t.TempDir(), "knob"), marker: filepath.Join(t.TempDir(), "marker")}
	if knob != "" {
		if err := os.WriteFile(e.knob, []byte(knob+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func (e *expediter) reads(t *testing.T) (knob string, marked bool) {
	t.Helper()
	raw, err := os.ReadFile(e.knob)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	_, err = os.Stat(e.marker)
	return string(raw), err == nil
}

func TestExpeditedOnlyWhileAttaching(t *testing.T) {
	e := fakeExpediter(t, "0")
	failed := errors.New("attach")
	err := e.during(func() error {
		if knob, marked := e.reads(t); knob != "1" || !marked {
			t.Errorf("while attaching the knob reads %q, marked %v; want 1 with a marker", knob, marked)
		}
		if err := e.during(func() error { return nil }); err != nil { // another port
			t.Error(err)
		}
		if knob, _ := e.reads(t); knob != "1" {
			t.Errorf("after the first of two the knob reads %q, want 1", knob)
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v, want the error of attaching", err)
	}
	if knob, marked := e.reads(t); knob != "0" || marked {
		t.Errorf("afterwards the knob reads %q, marked %v; want 0 without marker", knob, marked)
	}
}

func TestExpeditedBySomebodyElse(t *testing.T) {
	e := fakeExpediter(t, "1")
	if err := e.during(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := e.recover(); err != nil {
		t.Fatal(err)
	}
	if knob, marked := e.reads(t); knob != "1\n" || marked {
		t.Errorf("the knob reads %q, marked %v; it is not ours to change", knob, marked)
	}
}

func TestExpeditedByWhoWasKilled(t *testing.T) {
	e := fakeExpediter(t, "0")
	e.begin() // and no end
	later := &expediter{knob: e.knob, marker: e.marker}
	if err := later.recover(); err != nil {
		t.Fatal(err)
	}
	if knob, marked := later.reads(t); knob != "0" || marked {
		t.Errorf("after the next start the knob reads %q, marked %v; want 0 without marker", knob, marked)
	}
}

func TestNothingToExpediteWith(t *testing.T) {
	e := fakeExpediter(t, "")
	ran := false
	if err := e.during(func() error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("ran %v, error %v; want it to run all the same", ran, err)
	}
}
