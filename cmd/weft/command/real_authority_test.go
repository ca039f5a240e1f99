// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/server/authority"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
)

// keep runs the keeper of the controller's authorities. It knows of no hosts.
func (r real) keep(t *testing.T, ca *pki.CA, log *slog.Logger) *authority.Keeper {
	t.Helper()
	k, err := authority.Open(t.Context(), authority.Options{
		CA: ca, Authorities: store.NewAuthorities(r.etcd.Client(), "c1"), Name: "c1", Now: time.Now, Log: log,
		Hosts: func() []api.Ref { return nil }, Adopted: func(context.Context) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); k.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return k
}

// TestRealAuthority: an administrator replaces the authority with the command
// line alone, and other contexts renew themselves or are named.
func TestRealAuthority(t *testing.T) {
	r := startReal(t)
	text, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(other, text, 0o600); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token.yaml")
	if err := os.WriteFile(token, []byte(must(t, r.config, "", "token", "create", "t", "--role", "reader", "-o", "config")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(t, r.config, "", "authority", "show"); !regexp.MustCompile(`(?m)^[0-9a-f]{64} +all +20`).MatchString(out) {
		t.Errorf("before:\n%s", out)
	}
	if _, errOut, code := run(t, r.config, nil, "authority", "finish"); code != 1 || !strings.Contains(errOut, "weft authority rotate begins one") {
		t.Errorf("finish without a rotation: exit %d, %s", code, errOut)
	}
	must(t, r.config, "", "authority", "rotate")
	deadline := time.Now().Add(20 * time.Second)
	for out := ""; !strings.Contains(out, "replacing since"); {
		if out = must(t, r.config, "", "authority", "show"); time.Now().After(deadline) {
			t.Fatalf("the rotation does not go on:\n%s", out)
		}
	}
	_, errOut, code := run(t, other, nil, "authority", "finish")
	if code != 1 || !strings.Contains(errOut, "client admin of weft (serial ") {
		t.Errorf("finish while administrators would be locked out: exit %d, %s", code, errOut)
	}
	out := must(t, r.config, "", "certificate", "renew")
	if !strings.Contains(out, "context default has a new certificate, valid until") {
		t.Errorf("renew: %s", out)
	}
	if out := must(t, token, "", "certificate", "renew"); !strings.Contains(out, "knows whom to trust now") {
		t.Errorf("renew with a token: %s", out)
	}
	renewed, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := client.ParseConfig(renewed); err != nil || strings.Count(c.CA, "BEGIN CERTIFICATE") != 2 || c.Token == "" {
		t.Errorf("the context with a token is now %s, %v", renewed, err)
	}
	must(t, r.config, "", "authority", "finish")
	for _, config := range []string{r.config, token} {
		must(t, config, "", "whoami")
	}
	if _, errOut, code := run(t, other, nil, "whoami"); code != 1 || !strings.Contains(errOut, "certificate") {
		t.Errorf("a certificate of the dropped authority: exit %d, %s", code, errOut)
	}
	pem := must(t, r.config, "", "authority", "show", "--certificates")
	if strings.Count(pem, "BEGIN CERTIFICATE") != 1 {
		t.Errorf("whom to trust after the rotation:\n%s", pem)
	}
}
