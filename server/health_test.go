// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weft-network/weft/api"
)

// Probes need no credentials and are told no more than yes or no; Weft's own
// are told why. A controller that is not ready is alive.
func TestHealth(t *testing.T) {
	w := newWorld(t)
	w.tenants()
	var why atomic.Pointer[error]
	w.server.checks = []Check{{"derived", func(context.Context) error {
		if e := why.Load(); e != nil {
			return *e
		}
		return nil
	}}}
	_, blue := w.with(api.TokenRequest{Name: "x", Role: api.RoleAdmin, Orchestrator: "blue"})
	ask := func(as, path string) (int, api.Health, string) {
		t.Helper()
		var status int
		var body string
		switch as {
		case "weft":
			status, body = w.raw("GET", path, "")
		case "blue":
			status, body = w.send(&tls.Config{RootCAs: w.ca.Pool()}, "Bearer "+blue.Secret, "GET", path, "")
		case "wrong":
			status, body = w.send(&tls.Config{RootCAs: w.ca.Pool()}, "Bearer weft1.a.b.c", "GET", path, "")
		default:
			status, body = w.send(&tls.Config{RootCAs: w.ca.Pool()}, "", "GET", path, "")
		}
		var h api.Health
		check(t, json.Unmarshal([]byte(body), &h))
		return status, h, body
	}
	for _, as := range []string{"nobody", "wrong", "blue", "weft"} {
		if status, h, body := ask(as, "/healthz"); status != 200 || h.Status != api.HealthOK || (h.Revision != 0) != (as == "weft") {
			t.Errorf("%s, /healthz: %d %s", as, status, body)
		}
		if status, h, body := ask(as, "/readyz"); status != 200 || h.Status != api.HealthReady || len(h.Checks) != 2 {
			t.Errorf("%s, /readyz: %d %s", as, status, body)
		}
	}
	err := errors.New("nothing is known of host h-secret")
	why.Store(&err)
	for _, as := range []string{"nobody", "wrong", "blue", "weft"} {
		status, h, body := ask(as, "/readyz")
		if status != 503 || h.Status != api.HealthNotReady || len(h.Checks) != 2 || !h.Checks[0].OK || h.Checks[1].OK {
			t.Errorf("%s, /readyz with a check that fails: %d %s", as, status, body)
		}
		if strings.Contains(body, "h-secret") != (as == "weft") {
			t.Errorf("%s is told %s", as, body)
		}
		if status, h, body := ask(as, "/livez"); status != 200 || h.Status != api.HealthOK || fmt.Sprint(h.Checks) != "[]" {
			t.Errorf("%s, /livez: %d %s", as, status, body)
		}
	}
}

// Without its store a controller is alive, not ready, and not well.
func TestHealthWithoutStore(t *testing.T) {
	w := newWorld(t)
	w.store.Close()
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/healthz": 504} {
		if status, body := w.send(&tls.Config{RootCAs: w.ca.Pool()}, "", "GET", path, ""); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
}
