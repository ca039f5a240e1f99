// SPDX-License-Identifier: Apache-2.0

package weft_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// acceptanceIDs is how many ids each source document has: S0-01 to S0-33, …
var acceptanceIDs = []int{33, 24, 24, 22, 12}

// coverageRow reads "| S0-01 | what | state | tests and notes |".
var coverageRow = regexp.MustCompile(`^\| (S[0-4]-[0-9]{2}) \| ([^|]+) \| (done|part|not) \| ([^|]*) \|$`)

// testName finds the names of tests in a row's last column.
var testName = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")

func TestCoverageNamesEveryAcceptanceIDAndRealTests(t *testing.T) {
	text, err := os.ReadFile("doc/coverage.md")
	if err != nil {
		t.Fatalf("read coverage: %v", err)
	}
	var want, have []string
	for seed, n := range acceptanceIDs {
		for i := 1; i <= n; i++ {
			want = append(want, fmt.Sprintf("S%d-%02d", seed, i))
		}
	}
	tests := testFunctions(t)
	for i, l := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(l, "| S") {
			continue
		}
		m := coverageRow.FindStringSubmatch(l)
		if m == nil {
			t.Errorf("doc/coverage.md:%d: want | id | what | done, part or not | tests |, have %s", i+1, l)
			continue
		}
		have = append(have, m[1])
		named := testName.FindAllStringSubmatch(m[4], -1)
		if m[3] != "not" && len(named) == 0 {
			t.Errorf("doc/coverage.md:%d: %s is %s but names no test", i+1, m[1], m[3])
		}
		for _, n := range named {
			if !tests[n[1]] {
				t.Errorf("doc/coverage.md:%d: %s names %s, which is no test of this tree", i+1, m[1], n[1])
			}
		}
	}
	if !slices.Equal(want, have) {
		t.Errorf("doc/coverage.md must list the %d ids in order; it lists %d: %v", len(want), len(have), have)
	}
}

// testFunctions collects the names of all tests of the tree.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	for _, s := range goSources(t) {
		if !s.test() {
			continue
		}
		for _, m := range declared.FindAllStringSubmatch(s.text, -1) {
			names[m[1]] = true
		}
	}
	return names
}
