// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strings"
	"testing"
)

// Both texts can be read back from their comparison, and what is equal and far
// away is left out.
func TestDiffLines(t *testing.T) {
	for _, x := range []struct{ before, after, want string }{
		{"", "", ""},
		{"a\nb\n", "a\nb\n", ""},
		{"", "a\n", "+a"},
		{"a\n", "", "-a"},
		{"a\nb\nc\n", "a\nx\nc\n", " a|-b|+x| c"},
		{"1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\n5\n", "@| 3| 4| 5|-6"},
		{"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n", "x\n1\n2\n3\n4\n5\n6\n7\n8\ny\n", "-0|+x| 1| 2| 3|@| 6| 7| 8|-9|+y"},
	} {
		if got := strings.Join(diffLines(x.before, x.after), "|"); got != x.want {
			t.Errorf("%q to %q: %q, want %q", x.before, x.after, got, x.want)
		}
	}
	long := strings.Repeat("a\n", maxDiffLines+1)
	if n := len(diffLines(long, "b\n")); n != maxDiffLines+2 {
		t.Errorf("a text that is too long: %d lines", n)
	}
}
