// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
)

// TestNobodyWritesBetweenCheckAndChange: what others write after a check makes it be
// done anew, with the change, and not for ever.
func TestNobodyWritesBetweenCheckAndChange(t *testing.T) {
	checks, disturbed, others := 0, 0, 0
	var disturb func()
	r := startReal(t, func(r *real) {
		r.fake.check = api.Check{Revision: 1, Verdicts: []api.Checked{{Assertion: "never x to y", Holds: true, Pairs: 1}}}
		r.asked = func() {
			checks++
			if disturbed > 0 {
				disturbed--
				disturb()
			}
		}
	})
	disturb = func() {
		others++
		admin := api.Identity{Name: "other", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
		o := &api.AddressGroup{Header: api.Header{Kind: api.KindAddressGroup, Meta: api.Meta{Name: fmt.Sprint("other-", others), Parent: api.Ref{Name: "default-domain:default-project"}}}}
		if _, err := r.store.Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: o}}, store.CommitOptions{}); err != nil {
			t.Error(err)
		}
	}
	promises := filepath.Join(t.TempDir(), "promises.yaml")
	if err := os.WriteFile(promises, []byte("never: {from: a, to: b}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, r.config, "", "draft", "create", "d")
	must(t, r.config, strings.ReplaceAll(strictRule, "offices", "staged"), "draft", "add", "d", "-f", "-")
	change := map[string]func() (string, string, int){
		"offices": func() (string, string, int) {
			return run(t, r.config, bytes.NewBufferString(strictRule), "apply", "--check", promises, "-f", "-")
		},
		"staged": func() (string, string, int) {
			return run(t, r.config, nil, "draft", "commit", "d", "--check", promises)
		},
	}
	for name, do := range change {
		checks, disturbed = 0, 1000
		out, errOut, code := do()
		if code != 1 || checks < 2 || out != "" || !strings.Contains(errOut, "nothing was changed") {
			t.Errorf("%s while others write all the time: exit %d after %d checks: %s%s", name, code, checks, out, errOut)
		}
		if _, _, code := run(t, r.config, nil, "get", "address-group", name); code != 1 {
			t.Errorf("%s is there", name)
		}
		checks, disturbed = 0, 2
		out, errOut, code = do()
		if code != 0 || checks != 3 || strings.Count(out, "never x to y") != 1 || !strings.Contains(out, name+" created") {
			t.Errorf("%s after two others wrote: exit %d after %d checks: %s%s", name, code, checks, out, errOut)
		}
	}
}

// TestOlderControllerGatesNothing: an answer that does not say on what it rests gates no
// change, and so there is none.
func TestOlderControllerGatesNothing(t *testing.T) {
	f, config := startFake(t)
	f.furnish(t)
	f.check = api.Check{Revision: 42, Verdicts: []api.Checked{{Assertion: "never x to y", Holds: true, Pairs: 1}}}
	promises := filepath.Join(t.TempDir(), "promises.yaml")
	if err := os.WriteFile(promises, []byte("never: {from: a, to: b}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	change := func() (string, string, int) {
		return run(t, config, bytes.NewBufferString(strictRule), "apply", "--check", promises, "-f", "-")
	}
	out, errOut, code := change()
	if code != 1 || out != "" || !strings.Contains(errOut, "the controller is older") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	if _, _, code := run(t, config, nil, "get", "address-group", "offices"); code != 1 {
		t.Error("offices is there")
	}
	f.check.Base = 42
	if out, errOut, code := change(); code != 0 || !strings.Contains(out, "offices created") {
		t.Errorf("by a controller that says it: exit %d: %s%s", code, out, errOut)
	}
}
