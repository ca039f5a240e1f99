// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const stagedRule = `kind: security-group-rule
meta: {name: http, parent: web}
spec: {direction: ingress, family: IPv4, match: {protocol: tcp, ports: {from: %}}}
`

// wantLines fails unless a text has each of some pieces.
func wantPieces(t *testing.T, what, text string, pieces ...string) {
	t.Helper()
	for _, p := range pieces {
		if !strings.Contains(text, p) {
			t.Errorf("%s: there is no %q in\n%s", what, p, text)
		}
	}
}

// TestDrafts stages changes in every way, looks at them, reverts one, and
// commits the rest: before that nothing has happened, then all of it.
func TestDrafts(t *testing.T) {
	config := startReal(t).config
	must(t, config, "", "create", "security-group", "web")
	must(t, config, "", "create", "security-group", "old")
	must(t, config, "", "create", "address-group", "offices", "--set", "ranges=[198.51.100.0/24]")
	must(t, config, "", "draft", "create", "opening")
	wantPieces(t, "create", must(t, config, "", "create", "tag", "tier-web", "--set", "type=tier", "--set", "value=web", "--draft", "opening"), "created (staged in opening)")
	wantPieces(t, "add", must(t, config, strings.ReplaceAll(stagedRule, "%", "80"), "draft", "add", "opening", "-f", "-"), "http created (staged in opening)")
	must(t, config, strings.ReplaceAll(stagedRule, "%", "8080"), "apply", "-f", "-", "--draft", "opening") // of what the draft makes: still one change
	must(t, config, "kind: address-group\nmeta: {name: offices}\nspec: {ranges: [198.51.100.0/24, 203.0.113.0/24]}\n", "apply", "-f", "-", "--draft", "opening")
	must(t, config, "kind: firewall-rule\nmeta: {name: r}\nspec: {action: pass, source: {tags: [tier-web]}}\n", "apply", "-f", "-", "--draft", "opening")
	must(t, config, "", "delete", "security-group", "old", "--draft", "opening")
	must(t, config, "", "create", "tag", "mistake", "--set", "type=label", "--draft", "opening")
	must(t, config, "", "delete", "tag", "mistake", "--draft", "opening") // what the draft would make is not made

	wantPieces(t, "list", must(t, config, "", "draft", "list", "opening"), "create  tag", "tier-web", "create  security-group-rule  web:http", "update  address-group", "delete  security-group", "ready")
	if text := must(t, config, "", "draft", "list", "opening"); strings.Contains(text, "mistake") || strings.Count(text, "\n") != 6 {
		t.Errorf("staged:\n%s", text)
	}
	wantPieces(t, "list", must(t, config, "", "draft", "list"), "opening", " 5 ")
	wantPieces(t, "diff", must(t, config, "", "draft", "diff", "opening"), "+      from: 8080", "+  - 203.0.113.0/24", "old delete", "-kind: security-group")
	if text := must(t, config, "", "get", "tags", "-A") + must(t, config, "", "get", "security-group-rules", "-A"); strings.Contains(text, "tier-web") || strings.Contains(text, "http") {
		t.Errorf("something happened before the commit:\n%s", text)
	}
	must(t, config, "", "draft", "revert", "opening", "firewall-rule/r")
	wantPieces(t, "dry run", must(t, config, "", "draft", "commit", "opening", "--dry-run"), "created (dry run)")
	wantPieces(t, "commit", must(t, config, "", "draft", "commit", "opening"), "security-group-rule/default-domain:default-project:web:http created", "offices configured", "old deleted")
	wantPieces(t, "after", must(t, config, "", "get", "security-group-rules", "-A"), "from=8080")
	if _, errOut, code := run(t, config, nil, "draft", "list", "opening"); code != 1 || !strings.Contains(errOut, "weft draft create opening") {
		t.Errorf("a draft is there after its commit: exit %d: %s", code, errOut)
	}
	if _, errOut, code := run(t, config, nil, "get", "firewall-rule", "r"); code != 1 {
		t.Errorf("what was reverted was committed: %s", errOut)
	}
}

// TestStaleDrafts: if something that a draft writes was changed meanwhile, all
// of these are named and nothing is done.
func TestStaleDrafts(t *testing.T) {
	config := startReal(t).config
	for _, name := range []string{"a", "b", "c"} {
		must(t, config, "", "create", "address-group", name, "--set", "ranges=[192.0.2.0/24]")
	}
	must(t, config, "", "draft", "create", "d")
	must(t, config, "kind: address-group\nmeta: {name: a}\nspec: {ranges: []}\n---\nkind: address-group\nmeta: {name: b}\nspec: {ranges: []}\n", "draft", "add", "d", "-f", "-")
	must(t, config, "", "delete", "address-group", "c", "--draft", "d")
	must(t, config, "", "create", "tag", "new", "--set", "type=label", "--draft", "d")
	must(t, config, "kind: address-group\nmeta: {name: a}\nspec: {ranges: [192.0.2.0/25]}\n", "apply", "-f", "-")
	must(t, config, "", "delete", "address-group", "c")
	must(t, config, "", "create", "tag", "new", "--set", "type=x")

	wantPieces(t, "list", must(t, config, "", "draft", "list", "d"), "changed", "gone", "exists", "ready")
	_, errOut, code := run(t, config, nil, "draft", "commit", "d")
	if code != 1 {
		t.Errorf("a draft was committed over others' changes: %s", errOut)
	}
	wantPieces(t, "commit", errOut, "address-group default-domain:default-project:a was changed", "address-group default-domain:default-project:c is gone")
	if strings.Contains(errOut, "project:b") {
		t.Errorf("what was not changed is named: %s", errOut)
	}
	wantPieces(t, "b", must(t, config, "", "get", "address-groups"), "192.0.2.0/25", "192.0.2.0/24")
	if _, errOut, code := run(t, config, nil, "draft", "diff", "d"); code != 1 || !strings.Contains(errOut, "would be refused") {
		t.Errorf("diff: exit %d: %s", code, errOut)
	}
	must(t, config, "", "draft", "revert", "d", "address-group/a", "address-group/c")
	if _, errOut, code := run(t, config, nil, "draft", "commit", "d"); code != 1 || !strings.Contains(errOut, "held by tag") {
		t.Errorf("a create of what exists: exit %d: %s", code, errOut)
	}
	must(t, config, "", "draft", "revert", "d")
}

// TestDraftsRefuse what they are not for, in words.
func TestDraftsRefuse(t *testing.T) {
	config := startReal(t).config
	must(t, config, "", "draft", "create", "d")
	file := filepath.Join(t.TempDir(), "network.yaml")
	if err := os.WriteFile(file, []byte("kind: network\nmeta: {name: net}\nspec: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"draft", "add", "d", "-f", file}, "changes of a network cannot be staged", 2},
		{[]string{"create", "network", "n", "--draft", "d"}, "unknown flag", 2},
		{[]string{"create", "tag", "t", "--set", "type=a", "--draft", "none"}, "weft draft create none", 1},
		{[]string{"draft", "commit", "d"}, "nothing is staged", 1},
		{[]string{"draft", "revert", "d", "tag/t"}, "nothing of tag", 1},
		{[]string{"create", "draft", "e", "--set", "writes=[{op: delete, object: {kind: network, meta: {name: net}}}]"}, "cannot be staged", 1},
		{[]string{"create", "draft", "e", "--set", "writes=[{op: update, object: {kind: tag, meta: {name: t, parent: 'a:b'}, spec: {}}}]"}, "needs uuid", 1},
		{[]string{"create", "tag", "t", "--draft", "d"}, "spec.type", 1},
	} {
		if _, errOut, code := run(t, config, bytes.NewBufferString(""), c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("%v: exit %d, want %d with %q: %s", c.args, code, c.code, c.want, errOut)
		}
	}
}

// TestDraftsAreEdited: what is staged is edited as it is staged.
func TestDraftsAreEdited(t *testing.T) {
	config := startReal(t).config
	must(t, config, "", "create", "service-group", "web", "--set", "services=[{protocol: tcp, ports: {from: 80}}]")
	must(t, config, "", "draft", "create", "d")
	for _, editor := range []string{"sed -i 's/from: 80/from: 81/'", "sed -i 's/from: 81/from: 82/'"} {
		out, errOut, code := withEditor(t, config, editor, "edit", "service-group", "web", "--draft", "d")
		if code != 0 {
			t.Fatalf("%s: exit %d: %s", editor, code, errOut)
		}
		wantPieces(t, editor, out, "configured (staged in d)")
	}
	wantPieces(t, "live", must(t, config, "", "get", "service-group", "web", "-o", "yaml"), "from: 80")
	must(t, config, "", "draft", "commit", "d")
	wantPieces(t, "committed", must(t, config, "", "get", "service-group", "web", "-o", "yaml"), "from: 82")
}
