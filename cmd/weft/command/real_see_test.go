// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/command"
)

// withEditor runs the program with an editor, which is a shell command.
func withEditor(t *testing.T, config, editor string, args ...string) (string, string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	var out, errOut bytes.Buffer
	w := command.World{In: &bytes.Buffer{}, Out: &out, Err: &errOut, ConfigFile: config, Version: "test", Now: time.Now, Editor: editor}
	code := command.Run(ctx, w, args)
	return out.String(), errOut.String(), code
}

// script writes a shell script that takes its nth step at its nth run, with
// the edited file as $1.
func script(t *testing.T, steps ...string) string {
	t.Helper()
	folder := t.TempDir()
	text := "n=$(cat " + folder + "/n 2>/dev/null || echo 0); echo $((n+1)) > " + folder + "/n\ncp \"$1\" " + folder + "/seen$n\ncase $n in\n"
	for i, s := range steps {
		text += string(rune('0'+i)) + ") " + s + ";;\n"
	}
	path := filepath.Join(folder, "editor")
	if err := os.WriteFile(path, []byte(text+"esac\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return "sh " + path
}

// seen is what the editor was shown at a run.
func seen(t *testing.T, editor string, run string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(strings.TrimPrefix(editor, "sh ")), "seen"+run))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEdit(t *testing.T) {
	config := startReal(t).config
	must(t, config, "", "create", "network", "web", "--mtu", "1400")
	const set = `sed -i "s/mtu: .*/mtu: `
	for _, x := range []struct {
		name   string
		editor string
		out    string
		errs   string
		mtu    string
	}{
		{"as it is", script(t, "true"), "unchanged", "", "mtu: 1400"},
		{"emptied", script(t, `: > "$1"`), "unchanged", "", "mtu: 1400"},
		{"a change", script(t, set+`1450/" "$1"`), "configured", "", "mtu: 1450"},
		{"refused, then right", script(t, set+`7/" "$1"`, set+`1500/" "$1"`), "configured", "", "mtu: 1500"},
		{"not YAML, then given up", script(t, `echo "]" >> "$1"`, "true"), "", "the text is in", "mtu: 1500"},
		{"another object", script(t, `sed -i "s/uuid: .*/uuid: 00000000-0000-4000-8000-000000000001/" "$1"`, "true"), "", "cannot change", "mtu: 1500"},
		{"an editor that fails", "false", "", "run false", "mtu: 1500"},
		{"a line removed", script(t, `sed -i "/mtu:/d" "$1"`), "configured", "", ""},
	} {
		out, errs, code := withEditor(t, config, x.editor, "edit", "network", "web")
		if !strings.Contains(out, x.out) || !strings.Contains(errs, x.errs) || (code == 0) != (x.errs == "") {
			t.Errorf("%s: exit %d\n%s%s", x.name, code, out, errs)
		}
		if text := must(t, config, "", "get", "network", "web", "-o", "yaml"); x.mtu != "" && !strings.Contains(text, x.mtu) || x.mtu == "" && strings.Contains(text, "mtu") {
			t.Errorf("%s: want %q in\n%s", x.name, x.mtu, text)
		}
		if i := strings.Index(errs, "the text is in "); i >= 0 {
			os.RemoveAll(filepath.Dir(strings.TrimSpace(errs[i+len("the text is in "):])))
		}
	}
}

// Somebody else was faster: the editor opens again and shows what they did.
func TestEditMeanwhile(t *testing.T) {
	config := startReal(t).config
	must(t, config, "", "create", "network", "web", "--mtu", "1400")
	file := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(file, []byte("kind: network\nmeta: {name: web, description: theirs}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	opened, written := filepath.Join(t.TempDir(), "opened"), filepath.Join(t.TempDir(), "written")
	for _, pipe := range []string{opened, written} {
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	editor := script(t, `echo >`+opened+`; read x <`+written+`; sed -i "s/mtu: .*/mtu: 1450/" "$1"`, `sed -i "s/mtu: .*/mtu: 1460/" "$1"`)
	done := make(chan string, 1)
	go func() {
		out, errs, _ := withEditor(t, config, editor, "edit", "network/web")
		done <- out + errs
	}()
	if _, err := os.ReadFile(opened); err != nil { // the object was read
		t.Fatal(err)
	}
	must(t, config, "", "apply", "-f", file)
	if err := os.WriteFile(written, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := <-done; !strings.Contains(text, "configured") {
		t.Error(text)
	}
	if text := seen(t, editor, "1"); !strings.Contains(text, "changed meanwhile") || !strings.Contains(text, "# +  description: theirs") || !strings.Contains(text, "mtu: 1450") {
		t.Errorf("the editor was opened again with\n%s", text)
	}
	if text := must(t, config, "", "get", "network", "web", "-o", "yaml"); !strings.Contains(text, "mtu: 1460") {
		t.Errorf("at the end:\n%s", text)
	}
}

// TestEvents: the past as lines, and what happens while it is followed.
func TestEvents(t *testing.T) {
	config := startReal(t).config
	must(t, config, "", "create", "network", "web", "--mtu", "1400")
	must(t, config, "kind: network\nmeta: {name: web}\nspec: {mtu: 1450}\n", "apply", "-f", "-")
	must(t, config, "", "delete", "network", "web")
	out := must(t, config, "", "events", "networks")
	var words []string
	for l := range strings.Lines(out) {
		f := strings.Fields(l)
		words = append(words, f[1]+" "+f[2]+" "+strings.Join(f[3:], " "))
	}
	const web = "network/default-domain:default-project:web"
	want := "CHANGE OWNER OBJECT|created weft " + web + "|changed weft " + web + ": spec.mtu 1400 → 1450|deleted weft " + web
	if got := strings.Join(words, "|"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if out := must(t, config, "", "events", "--last", "1", "-o", "json"); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"type":"delete"`) {
		t.Errorf("the last one:\n%s", out)
	}
}

// TestAudit: who did what, and what was refused.
func TestAudit(t *testing.T) {
	config := startReal(t).config
	must(t, config, "", "create", "network", "web")
	run(t, config, &bytes.Buffer{}, "create", "network", "web")
	must(t, config, "", "create", "network", "db")
	var rows []string
	for l := range strings.Lines(must(t, config, "", "audit", "network", "web")) {
		rows = append(rows, strings.Join(strings.Fields(l)[1:5], " "))
	}
	const web = "network/default-domain:default-project:web"
	if got := strings.Join(rows, "|"); got != "WHO CHANGE OBJECT OUTCOME|admin create "+web+" done|admin create "+web+" conflict" {
		t.Error(got)
	}
	for _, c := range []struct {
		args  string
		lines int // with the header
	}{
		{"--kind networks", 4}, {"network w*", 3}, {"--outcome conflict -o wide", 2}, {"--who nobody", 1}, {"--who weft --limit 1", 2}, {"--until 2020-01-01T00:00:00Z", 1},
	} {
		if out := must(t, config, "", append([]string{"audit"}, strings.Fields(c.args)...)...); strings.Count(out, "\n") != c.lines {
			t.Errorf("audit %s:\n%s", c.args, out)
		}
	}
	if _, errs, code := run(t, config, nil, "audit", "--since", "yesterday"); code != command.ExitUsage || !strings.Contains(errs, "how long ago") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// colleagues are another controller that answers, and one that does not.
type colleagues struct{}

func (colleagues) Name() string { return "c1" }

func (colleagues) Audit(_ context.Context, q api.AuditQuery) ([]api.AuditEntry, []api.AuditController) {
	return []api.AuditEntry{{Time: time.Unix(0, 0), Who: "eve", Op: "delete", Kind: api.KindNetwork, Object: "a:b:c", Outcome: "forbidden", Controller: "c2"}},
		[]api.AuditController{{Name: "c2"}, {Name: "c3", Error: "no route to host"}}
}

// TestAuditOfSeveral: entries of all controllers, and who did not answer.
func TestAuditOfSeveral(t *testing.T) {
	config := startReal(t, func(r *real) { r.others = colleagues{} }).config
	must(t, config, "", "create", "network", "web")
	out, errs, code := run(t, config, nil, "audit", "-o", "wide")
	lines := strings.Split(out, "\n")
	if code != 0 || !strings.HasPrefix(lines[1], "1970-01-01T00:00:00Z  eve ") || !strings.HasSuffix(strings.TrimSpace(lines[1]), "c2") ||
		!strings.HasSuffix(strings.TrimSpace(lines[len(lines)-2]), "c1") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if errs != "controller c3 does not answer, its entries are missing: no route to host\n" {
		t.Error(errs)
	}
	out, errs, _ = run(t, config, nil, "audit", "--local")
	if errs != "" || strings.Contains(out, "eve") || !strings.Contains(out, "web") {
		t.Errorf("%s%s", out, errs)
	}
}
