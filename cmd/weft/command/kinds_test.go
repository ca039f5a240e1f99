// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/reference"
)

const exampleFiles = "../../../api/reference/examples"

// TestEveryKindFromTheCommandLine: what the reference shows is created,
// printed, described, found unchanged and deleted, each kind in the same way.
func TestEveryKindFromTheCommandLine(t *testing.T) {
	config := startReal(t).config
	must(t, config, "", "delete", "host", "h1") // the examples make their own
	out, errOut, code := run(t, config, bytes.NewBufferString(""), "create", "-f", exampleFiles)
	if code != 0 {
		t.Fatalf("create -f: exit %d: %s", code, errOut)
	}
	for _, info := range api.Kinds() {
		warning := string(info.Kind) + ": stored; has no effect yet\n"
		if strings.Contains("\n"+errOut, "\n"+warning) != (info.Effect() != "") {
			t.Errorf("%s: its effect is %q, and what was said is:\n%s", info.Kind, info.Effect(), errOut)
		}
		if !strings.Contains(out, string(info.Kind)+"/") {
			t.Errorf("no %s was created:\n%s", info.Kind, out)
		}
	}
	if !strings.Contains(errOut, "\nmember: stored; spec.") {
		t.Errorf("nothing said of fields that a member has and nothing follows from:\n%s", errOut)
	}
	if _, errOut, code := run(t, config, bytes.NewBufferString(""), "create", "-f", exampleFiles); code != 1 || !strings.Contains(errOut, "held by") {
		t.Errorf("create -f once more: exit %d: %s", code, errOut)
	}
	for line := range strings.Lines(must(t, config, "", "apply", "-f", exampleFiles)) {
		if !strings.HasSuffix(line, " unchanged\n") {
			t.Errorf("apply once more: %s", line)
		}
	}
	for _, info := range api.Kinds() {
		seeKind(t, config, info)
	}
	must(t, config, "", "delete", "-f", exampleFiles)
}

// seeKind looks at the examples of a kind in every way.
func seeKind(t *testing.T, config string, info api.Info) {
	t.Helper()
	objects, err := reference.Examples(info.Kind)
	if err != nil {
		t.Fatal(err)
	}
	table := must(t, config, "", "get", info.Plural, "-A", "-o", "wide")
	if columns := strings.Fields(strings.SplitN(table, "\n", 2)[0]); len(columns) < 5 {
		t.Errorf("table of %s has the columns %v only", info.Plural, columns)
	}
	if strings.Contains(table, "map[") || strings.Contains(table, "{") {
		t.Errorf("table of %s shows what is not for people:\n%s", info.Plural, table)
	}
	for _, o := range objects {
		m := o.Head().Meta
		name := string(info.Kind) + "/" + api.JoinName(m.Parent.Name, m.Name)
		text := must(t, config, "", "describe", name)
		if strings.Contains(text, "stored only") != (info.Effect() != "") {
			t.Errorf("describe %s does not say its effect:\n%s", name, text)
		}
		yaml := must(t, config, "", "get", name, "-o", "yaml")
		if got := must(t, config, yaml, "apply", "-f", "-"); !strings.HasSuffix(got, "unchanged\n") {
			t.Errorf("what get prints of %s is another object: %s", name, got)
		}
	}
}

// TestCreateByFields makes kinds without a command of their own.
func TestCreateByFields(t *testing.T) {
	config := startReal(t).config
	out := must(t, config, "", "create", "tag", "tier-web", "--set", "type=tier", "--set", "value=web")
	if out != "tag default-domain:default-project:tier-web created\n" {
		t.Errorf("create tag: %s", out)
	}
	must(t, config, "", "create", "secg", "web")
	must(t, config, "", "create", "security-group-rule", "web:https", "--set", "direction=ingress", "--set", "family=IPv4",
		"--set", "match.protocol=tcp", "--set", "match.ports={from: 443}")
	must(t, config, "", "create", "firewall-rule", "r", "--set", "action=pass", "--set", "source.tags=[tier-web]")
	text := must(t, config, "", "get", "security-group-rules", "-A")
	if !strings.Contains(text, "ports=from=443 protocol=tcp") {
		t.Errorf("get security-group-rules:\n%s", text)
	}
	for _, bad := range []string{"type", "=x", "type={", "type.x=1"} {
		if _, errOut, code := run(t, config, nil, "create", "tag", "t", "--set", "type=a", "--set", bad); code != 2 {
			t.Errorf("--set %s: exit %d: %s", bad, code, errOut)
		}
	}
}
