// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	bin := binary(t)
	for _, c := range []struct {
		arguments []string
		words     string
		fails     bool
	}{
		{[]string{"--version"}, "weft-agent version " + version, false},
		{[]string{"run", "--log-format", "xml"}, `"xml" is not text or json`, true},
		{[]string{"run", "--attachment", "xdp"}, `attachment "xdp"`, true},
		{[]string{"run", "--tunnel-address", "h1"}, "read --tunnel-address", true},
	} {
		out, err := exec.Command(bin, c.arguments...).CombinedOutput()
		if (err != nil) != c.fails || !strings.Contains(string(out), c.words) {
			t.Errorf("%v: %v, %s; want %q", c.arguments, err, out, c.words)
		}
	}
}
