// SPDX-License-Identifier: Apache-2.0

package weft_test

import (
	"go/ast"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documentedKey is a row of the table in doc/logs.md.
var documentedKey = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|")

// TestLogKeysAreDocumented: what is logged has the keys of doc/logs.md, so that
// one search finds all lines about a host, whoever wrote them; and each of
// those is in use.
func TestLogKeysAreDocumented(t *testing.T) {
	text, err := os.ReadFile("doc/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	unused := map[string]bool{}
	for _, m := range documentedKey.FindAllStringSubmatch(string(text), -1) {
		unused[m[1]] = true
	}
	known := maps.Clone(unused)
	for _, s := range goSources(t) {
		if s.test() || s.generated() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			for _, key := range logKeys(call) {
				if delete(unused, key); !known[key] {
					t.Errorf("%s:%d: the log key %q is not in doc/logs.md: use one that is, or add it", s.path, s.line(call.Pos()), key)
				}
			}
			return true
		})
	}
	if len(unused) > 0 {
		t.Errorf("doc/logs.md has keys that nothing logs: %v", slices.Sorted(maps.Keys(unused)))
	}
}

// logKeys lists the keys of a call of a logger, which is called log or Log.
func logKeys(call *ast.CallExpr) (keys []string) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error", "With"}, method.Sel.Name) {
		return nil
	}
	name := ""
	switch on := method.X.(type) {
	case *ast.Ident:
		name = on.Name
	case *ast.SelectorExpr:
		name = on.Sel.Name
	}
	first := 1
	if method.Sel.Name == "With" {
		first = 0
	}
	if !strings.EqualFold(name, "log") && first == 1 {
		return nil
	}
	for n := first; n < len(call.Args); n += 2 {
		if l, ok := call.Args[n].(*ast.BasicLit); ok {
			if key, err := strconv.Unquote(l.Value); err == nil {
				keys = append(keys, key)
			}
		}
	}
	return keys
}
