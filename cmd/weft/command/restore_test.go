// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-network/weft/cmd/weft/command"
)

// weft restore hands everything to weft-controller, says what it says, and
// fails when it does or when there is none.
func TestRestoreRunsTheController(t *testing.T) {
	controller := filepath.Join(t.TempDir(), "weft-controller")
	script := "#!/bin/sh\necho \"$@\"\nif [ \"$3\" = bad ]; then echo it is damaged >&2; exit 1; fi\n"
	if err := os.WriteFile(controller, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		controller, line, out, errors string
		code                          int
	}{
		{controller, "restore good --data-dir d", "restore --from good --data-dir d\n", "", command.ExitOK},
		{controller, "restore good --data-dir d --pki-dir p --etcd-member a=https://a:2380 --etcd-member b=https://b:2380",
			"restore --from good --data-dir d --pki-dir p --etcd-member a=https://a:2380 --etcd-member b=https://b:2380\n", "", command.ExitOK},
		{controller, "restore bad --data-dir d", "restore --from bad --data-dir d\n", "it is damaged", command.ExitError},
		{"", "restore good --data-dir d", "", "neither beside this program nor in the path", command.ExitError},
		{controller, "restore good", "", "data-dir", command.ExitUsage},
	} {
		var out, errors bytes.Buffer
		w := command.World{In: &bytes.Buffer{}, Out: &out, Err: &errors, Controller: c.controller}
		code := command.Run(t.Context(), w, strings.Fields(c.line))
		if code != c.code || out.String() != c.out || !strings.Contains(errors.String(), c.errors) {
			t.Errorf("weft %s: %d, %q, %q; want %d, %q, %q", c.line, code, out.String(), errors.String(), c.code, c.out, c.errors)
		}
	}
}
