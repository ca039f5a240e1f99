// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/cmd/weft/command"
)

// must runs a command line that succeeds and returns what it prints.
func must(t *testing.T, config, in string, args ...string) string {
	t.Helper()
	out, errOut, code := run(t, config, bytes.NewBufferString(in), args...)
	if code != command.ExitOK {
		t.Fatalf("weft %s: exit %d: %s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// TestRoundTrip: what get prints, apply takes: unchanged while the objects are
// there, and the same objects again after they were deleted.
func TestRoundTrip(t *testing.T) {
	f, config := startFake(t)
	f.furnish(t)
	must(t, config, "", "create", "network", "web", "--subnet", "10.0.1.0/24", "--subnet", "2001:db8::/64", "-l", "a=b")
	must(t, config, "", "create", "port", "p", "--network", "web", "--host", "h1", "--description", "yes: \"quoted\"\n# not a comment")
	must(t, config, "", "create", "network-policy", "n", "--rule", "pass web <> any", "--attach", "web")
	must(t, config, "", "create", "share", "s", "--target", "network/web", "--to", "project/default-project", "--verb", "see")
	for _, format := range []string{"json", "yaml"} {
		t.Run(format, func(t *testing.T) {
			var all []string
			for _, kind := range []string{"networks", "subnets", "ports", "addresses", "bindings", "np", "npa", "shares"} {
				all = append(all, must(t, config, "", "get", kind, "-o", format))
			}
			for _, text := range all {
				if out := must(t, config, text, "apply", "-f", "-"); strings.Contains(out, "configured") || strings.Contains(out, "created") {
					t.Errorf("applying what is there changes it:\n%s", out)
				}
			}
			file := all[0]
			if format == "yaml" {
				file = strings.Join(all, "---\n")
			}
			before := must(t, config, "", "get", "networks", "-A", "-o", "wide")
			if format == "yaml" {
				must(t, config, file, "delete", "-f", "-")
				if out := must(t, config, file, "apply", "-f", "-"); strings.Count(out, "created") != 10 {
					t.Errorf("applying what was deleted:\n%s", out)
				}
			}
			if after := must(t, config, "", "get", "networks", "-A", "-o", "wide"); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestApplyMoreThanOneTransaction: many objects are made in an order that works.
func TestApplyMoreThanOneTransaction(t *testing.T) {
	f, config := startFake(t)
	f.furnish(t)
	var b strings.Builder
	for i := range 130 {
		fmt.Fprintf(&b, "---\nkind: subnet\nmeta: {name: v4, parent: n%d}\nspec: {cidr: 10.0.0.0/24}\n---\nkind: network\nmeta: {name: n%d}\n", i, i)
	}
	out, errOut, code := run(t, config, bytes.NewBufferString(b.String()), "apply", "-f", "-")
	if code != 0 || strings.Count(out, " created\n") != 260 || !strings.Contains(errOut, "260 changes do not fit") {
		t.Fatalf("exit %d, %d created, stderr %q", code, strings.Count(out, " created\n"), errOut)
	}
	if _, errOut, code := run(t, config, bytes.NewBufferString(b.String()), "delete", "-f", "-", "--dry-run"); code != 1 || !strings.Contains(errOut, "260 changes are more than the 100") {
		t.Errorf("dry run of too many: exit %d, %q", code, errOut)
	}
	if out := must(t, config, b.String(), "delete", "-f", "-"); strings.Count(out, " deleted\n") != 260 {
		t.Errorf("deleted:\n%s", out)
	}
}

// TestWatch: the table as it is, then one line for each row that changes, also
// when what changes is an object that the row tells of.
func TestWatch(t *testing.T) {
	f, config := startFake(t)
	f.furnish(t)
	watchStory(t, config)
}

// watchStory watches ports while they change.
func watchStory(t *testing.T, config string) {
	t.Helper()
	must(t, config, "", "create", "network", "web", "--subnet", "10.0.1.0/24")
	must(t, config, "", "create", "port", "p1", "--network", "web", "-l", "tier=web")
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	reader, writer := io.Pipe()
	var errOut bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		w := command.World{In: strings.NewReader(""), Out: writer, Err: &errOut, ConfigFile: config, Now: time.Now}
		ended <- command.Run(ctx, w, []string{"get", "ports", "--watch", "-l", "tier=web"})
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("want %q, but the watch ended: %s", want, errOut.String())
		}
		if got := essence(lines.Text()); got != want {
			t.Fatalf("want %q\ngot  %q", want, got)
		}
	}
	expect("CHANGE NAME NETWORK ADDRESSES MAC HOST STATE")
	expect("put p1 web 10.0.1.2 # - unbound")
	must(t, config, "", "create", "binding", "p1", "--host", "h1")
	expect("put p1 web 10.0.1.2 # h1 waiting")
	must(t, config, "", "create", "port", "other", "--network", "web")
	must(t, config, "", "create", "address", "web:more", "--ip", "10.0.1.99", "--port", "p1")
	expect("put p1 web 10.0.1.2,10.0.1.99 # h1 waiting")
	must(t, config, "kind: address\nmeta: {name: more, parent: web}\nspec: {port: null}\n", "apply", "-f", "-")
	expect("put p1 web 10.0.1.2 # h1 waiting")
	must(t, config, "kind: port\nmeta: {name: p1, labels: {tier: null}}\n", "apply", "-f", "-")
	expect("delete p1 web 10.0.1.2 # h1 waiting")
	must(t, config, "kind: port\nmeta: {name: other, labels: {tier: web}}\n", "apply", "-f", "-")
	expect("put other web 10.0.1.3 # - unbound")
	cancel()
	if code := <-ended; code != command.ExitOK {
		t.Errorf("interrupted watch: exit %d, %s", code, errOut.String())
	}
}

func TestWatchForPrograms(t *testing.T) {
	f, config := startFake(t)
	f.furnish(t)
	must(t, config, "", "create", "network", "web")
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	reader, writer := io.Pipe()
	go func() {
		w := command.World{In: strings.NewReader(""), Out: writer, Err: io.Discard, ConfigFile: config, Now: time.Now}
		command.Run(ctx, w, []string{"get", "networks", "--watch", "-o", "json"})
		writer.Close()
	}()
	lines := bufio.NewScanner(reader)
	for _, step := range []struct{ want, then string }{
		{`{"type":"put",`, "create network x"},
		{`{"type":"put",`, "delete network x"},
		{`{"type":"delete",`, "whoami"},
	} {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), step.want) {
			t.Fatalf("want %s…, got %s", step.want, lines.Text())
		}
		must(t, config, "", strings.Fields(step.then)...)
	}
}

func TestCompletion(t *testing.T) {
	f, config := startFake(t)
	f.furnish(t)
	must(t, config, "", "create", "network", "web")
	must(t, config, "", "create", "network", "db")
	must(t, config, "", "create", "network-policy", "np", "--rule", "pass any <> any")
	for _, c := range []struct{ args, want string }{
		{"get ", strings.Join(plurals(), " ")},
		{"get network ", "db web"},
		{"delete networks web ", "db"},
		{"routes ", "db web"},
		{"attach ", "np"},
		{"attach np ", "db web"},
		{"get nothing ", ""},
		{"get networks -o ", "json yaml wide name"},
	} {
		out := must(t, config, "", append([]string{"__complete"}, strings.Split(c.args, " ")...)...)
		var got []string
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, ":") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("weft %s<Tab>: want %q, got %q", c.args, c.want, strings.Join(got, " "))
		}
	}
	if out := must(t, config, "", "completion", "bash"); !strings.Contains(out, "__weft") {
		t.Errorf("completion bash prints %.100q", out)
	}
}

func TestTokenConfig(t *testing.T) {
	_, config := startFake(t)
	out := must(t, config, "", "token", "create", "k8s", "--role", "member", "-o", "config")
	if !strings.Contains(out, "token: weft1.t1.secret.") || !strings.Contains(out, "server: https://") || strings.Contains(out, "key:") {
		t.Errorf("configuration for the token:\n%s", out)
	}
}

func TestUnknownToken(t *testing.T) {
	_, config := startFake(t)
	data, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	wrong := config + ".wrong"
	if err := os.WriteFile(wrong, bytes.ReplaceAll(data, []byte(fakeToken), []byte("weft1.other.secret.")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errOut, code := run(t, wrong, nil, "whoami")
	if want := "error: GET /v1/whoami: the token is not known\n  check token or certificate in " + wrong + "\n"; code != 1 || errOut != want {
		t.Errorf("exit %d, want %q, got %q", code, want, errOut)
	}
}

func plurals() []string {
	var all []string
	for _, info := range api.Kinds() {
		all = append(all, info.Plural)
	}
	return all
}

// TestReferenceIsCurrent: doc/cli.md is what the program says of itself.
func TestReferenceIsCurrent(t *testing.T) {
	want := must(t, "", "", "reference")
	got, err := os.ReadFile("../../../doc/cli.md")
	if err != nil || string(got) != want {
		t.Errorf("doc/cli.md is out of date (%v): go generate ./cmd/weft", err)
	}
}

// TestEveryKindCanBeListed: a new kind must say what its table shows.
func TestEveryKindCanBeListed(t *testing.T) {
	f, config := startFake(t)
	f.furnish(t)
	for _, info := range api.Kinds() {
		for _, word := range []string{string(info.Kind), info.Plural, info.Short} {
			must(t, config, "", "get", word, "-A")
		}
		must(t, config, "", "create", string(info.Kind), "--help")
	}
}
