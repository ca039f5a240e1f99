// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/weft-network/weft/agent/state"
)

// One agent uses a directory at a time, and takes away only what it put there.
func TestLockAndRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(path); !errors.Is(err, state.ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	d.Close()
	if d, err = state.Open(path); err != nil {
		t.Fatalf("after the other closed it: %v", err)
	}
	foreign := filepath.Join(path, "note")
	for _, f := range []string{foreign, d.Desired()} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(path)
	if err != nil || len(left) != 1 || left[0].Name() != "note" {
		t.Errorf("left: %v %v", left, err)
	}
}
