// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A controller that is told to stop while it waits for its etcd ends without a
// failure.
func TestStoppedBeforeReady(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	c := command()
	c.SetArgs([]string{"--data-dir", dir, "--etcd-endpoints", "http://" + freePort(t), "--api-listen", "127.0.0.1:0", "--stream-listen", "127.0.0.1:0"})
	time.AfterFunc(200*time.Millisecond, cancel)
	if err := c.ExecuteContext(ctx); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "admin.yaml")); err == nil {
		t.Error("it was ready without an etcd")
	}
}
