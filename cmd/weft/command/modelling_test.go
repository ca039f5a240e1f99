// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// TestModellingExamples applies what doc/modelling.md shows of our objects to
// a real server: first without effect, then in earnest, then once more. What it says
// of who may talk to whom must then hold, of somebody.
func TestModellingExamples(t *testing.T) {
	text, err := os.ReadFile("../../../doc/modelling.md")
	if err != nil {
		t.Fatal(err)
	}
	config := startReal(t, func(r *real) { r.judges = true }).config
	ours, theirs, said := 0, 0, 0
	for i, part := range strings.Split(string(text), "```yaml\n") {
		if i == 0 {
			continue
		}
		block, _, _ := strings.Cut(part, "```")
		switch {
		case strings.Contains(block, "apiVersion:"):
			theirs++
		case strings.HasPrefix(block, "- "):
			said++
			holds(t, config, i, block)
		default:
			ours++
			applies(t, config, i, block)
		}
	}
	if ours < 11 || theirs < 2 || said < 6 {
		t.Errorf("doc/modelling.md has %d examples of our objects, %d of others', and %d of what follows", ours, theirs, said)
	}
}

func applies(t *testing.T, config string, i int, block string) {
	t.Helper()
	if out, errOut, code := run(t, config, bytes.NewBufferString(block), "apply", "-f", "-", "--dry-run"); code != 0 || !strings.Contains(out, "(dry run)") {
		t.Errorf("block %d: exit %d: %s\n%s", i, code, errOut, block)
		return
	}
	must(t, config, block, "apply", "-f", "-")
	for line := range strings.Lines(must(t, config, block, "apply", "-f", "-")) {
		if !strings.HasSuffix(line, " unchanged\n") {
			t.Errorf("block %d, applied once more: %s", i, line)
		}
	}
}

// holds checks sentences, each of which is about one pair.
func holds(t *testing.T, config string, i int, block string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "said.yaml")
	if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, code := run(t, config, nil, "check", file, "-o", "json")
	var check api.Check
	if err := json.Unmarshal([]byte(out), &check); err != nil || code != 0 {
		t.Errorf("block %d: exit %d, %v: %s%s", i, code, err, out, errOut)
	}
	for _, v := range check.Verdicts {
		if !v.Holds || v.Pairs != 1 {
			t.Errorf("block %d: %+v", i, v)
		}
	}
	if len(check.Verdicts) != strings.Count(block, "\n") {
		t.Errorf("block %d: %d sentences were checked:\n%s", i, len(check.Verdicts), block)
	}
}
