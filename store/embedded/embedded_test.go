// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// One process at a time, which finds again what the last one acknowledged, and
// no sockets meanwhile.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	before := sockets(t)
	first, err := Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Client().Put(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := Start(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "another process") || time.Since(began) > 5*time.Second {
		t.Errorf("a second start on the directory: %v after %v", err, time.Since(began))
	}
	if now := sockets(t); now != before {
		t.Errorf("%d sockets are open, %d were before", now, before)
	}
	first.Close()
	second, err := Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if r, err := second.Client().Get(t.Context(), "a"); err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "b" {
		t.Errorf("after a restart: %v, %v", r, err)
	}
}

// sockets counts the sockets this process has open.
func sockets(t *testing.T) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range links {
		if to, _ := os.Readlink(l); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
