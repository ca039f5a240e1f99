// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	bin := binary(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"identity.json": `{"host":{"name":"h1"}}`, "host.key": "", "host.crt": "", "ca.crt": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		arguments []string
		words     string
		fails     bool
	}{
		{[]string{"--version"}, "weft-agent version " + version, false},
		{[]string{"run", "--log-format", "xml"}, `"xml" is not text or json`, true},
		{[]string{"run", "--attachment", "xdp"}, `attachment "xdp"`, true},
		{[]string{"run", "--name", "h2", "--state-dir", dir, "--bpf-dir", dir + "/bpf"}, "is that of host h1, not of h2", true},
		{[]string{"run", "--tunnel-address", "h1"}, "read --tunnel-address", true},
	} {
		out, err := exec.Command(bin, c.arguments...).CombinedOutput()
		if (err != nil) != c.fails || !strings.Contains(string(out), c.words) {
			t.Errorf("%v: %v, %s; want %q", c.arguments, err, out, c.words)
		}
	}
}
