// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// saysReady closes its channel when the log says that the controller is ready.
type saysReady chan struct{}

func (s saysReady) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("msg=ready")) {
		close(s)
	}
	return len(line), nil
}

// A second controller on the directory of a running one is refused and leaves
// all of it alone, above all the administrators' way in.
func TestSecondControllerChangesNothing(t *testing.T) {
	o := options{dataDir: t.TempDir(), apiListen: []string{"127.0.0.1:0"}, streamListen: []string{"127.0.0.1:0"}}
	o.pkiDir = filepath.Join(o.dataDir, "pki")
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(saysReady), make(chan error, 1)
	go func() { ended <- run(ctx, o, slog.New(slog.NewTextHandler(ready, nil))) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	files := []string{"admin.yaml", "pki/ca.pem", "pki/server.pem"}
	before := contents(t, o.dataDir, files)
	o.advertise = []string{"second.example"}
	if err := run(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another process is using it") {
		t.Errorf("the second controller: %v", err)
	}
	for n, after := range contents(t, o.dataDir, files) {
		if after != before[n] {
			t.Errorf("%s is now\n%s\nand was\n%s", files[n], after, before[n])
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func contents(t *testing.T, dir string, files []string) (all []string) {
	t.Helper()
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	return all
}
