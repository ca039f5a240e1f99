// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/command"
)

func TestBackup(t *testing.T) {
	r := startReal(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "monday")
	run := func() (int, string) {
		var out bytes.Buffer
		code := command.Run(t.Context(), command.World{Out: &out, Err: &out}, []string{"--config", r.config, "backup", file})
		return code, out.String()
	}
	if code, text := run(); code != command.ExitOK || !strings.Contains(text, "epoch 1") {
		t.Fatalf("exit code %d: %s", code, text)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if h, err := api.ReadBackup(f, io.Discard, io.Discard); err != nil || h.Revision == 0 {
		t.Errorf("%+v, %v", h, err)
	}
	if code, text := run(); code != command.ExitError || !strings.Contains(text, "the file exists") {
		t.Errorf("over a backup, exit code %d: %s", code, text)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// The store of a real controller is well, and its size is told.
func TestStoreOfAController(t *testing.T) {
	r := startReal(t)
	var out bytes.Buffer
	code := command.Run(t.Context(), command.World{Out: &out, Err: &out}, []string{"--config", r.config, "store"})
	if text := out.String(); code != command.ExitOK || !strings.Contains(text, "(in the controller)") || !strings.Contains(text, "MiB") || !strings.Contains(text, "leader") {
		t.Errorf("exit code %d: %s", code, text)
	}
}
