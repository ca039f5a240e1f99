// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestModellingExamples applies what doc/modelling.md shows of our objects to
// a real server: first without effect, then in earnest, then once more.
func TestModellingExamples(t *testing.T) {
	text, err := os.ReadFile("../../../doc/modelling.md")
	if err != nil {
		t.Fatal(err)
	}
	config := startReal(t).config
	ours, theirs := 0, 0
	for i, part := range strings.Split(string(text), "```yaml\n") {
		if i == 0 {
			continue
		}
		block, _, _ := strings.Cut(part, "```")
		if strings.Contains(block, "apiVersion:") {
			theirs++
			continue
		}
		ours++
		if out, errOut, code := run(t, config, bytes.NewBufferString(block), "apply", "-f", "-", "--dry-run"); code != 0 || !strings.Contains(out, "(dry run)") {
			t.Errorf("block %d: exit %d: %s\n%s", i, code, errOut, block)
			continue
		}
		must(t, config, block, "apply", "-f", "-")
		for line := range strings.Lines(must(t, config, block, "apply", "-f", "-")) {
			if !strings.HasSuffix(line, " unchanged\n") {
				t.Errorf("block %d, applied once more: %s", i, line)
			}
		}
	}
	if ours < 5 || theirs < 2 {
		t.Errorf("doc/modelling.md has %d examples of our objects and %d of others'", ours, theirs)
	}
}
