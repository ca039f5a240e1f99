// SPDX-License-Identifier: Apache-2.0

package weft_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxPluginBytes is what the CNI plugin may weigh: a runtime starts it for each verb of each
// container, and installers copy it to every host.
const maxPluginBytes = 9 << 20

// TestPluginStaysSmall: the CNI plugin is static, small, and knows nothing of ours but what
// it says to the agent.
func TestPluginStaysSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./cmd/weft-cni").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{module + "/api", module + "/api/attachment", module + "/cmd/weft-cni"}
	for _, p := range strings.Fields(string(out)) {
		if strings.HasPrefix(p, module+"/") && !slices.Contains(allowed, p) {
			t.Errorf("cmd/weft-cni imports %s", p)
		}
	}
	path := filepath.Join(t.TempDir(), "weft-cni")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/weft-cni")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxPluginBytes {
		t.Errorf("it has %d bytes, at most %d", info.Size(), maxPluginBytes)
	}
}
