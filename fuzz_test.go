// SPDX-License-Identifier: Apache-2.0

package weft_test

import (
	"go/ast"
	"path"
	"regexp"
	"strings"
	"testing"
)

// parserName is how what reads bytes or text from outside is called.
var parserName = regexp.MustCompile(`^(Parse|Decode|Unmarshal)([A-Z]|$)`)

// notFuzzed are parsers that no Fuzz function calls by name, and why.
var notFuzzed = map[string]string{
	"api.ParseKind":                  "finds a word in a list",
	"vrouter.ParseAttachment":        "finds a word in a list",
	"vrouter/rules.ParseLayer":       "finds a word in a list",
	"vrouter/rules.ParseAction":      "finds a word in a list",
	"api.Event.UnmarshalJSON":        "FuzzEvent, through encoding/json",
	"api.Ref.UnmarshalJSON":          "FuzzRef, through encoding/json",
	"api.Document.UnmarshalJSON":     "FuzzDecode, through encoding/json",
	"api.AddressRange.UnmarshalText": "FuzzAddressRange: it is ParseAddressRange; FuzzDecode, through encoding/json",
}

// TestParsersAreFuzzed: each exported function that reads bytes or text is called by a
// Fuzz function of its package.
func TestParsersAreFuzzed(t *testing.T) {
	parsers, fuzzed := map[string]string{}, map[string]bool{}
	for _, s := range goSources(t) {
		dir := path.Dir(s.path)
		for _, d := range s.file.Decls {
			f, is := d.(*ast.FuncDecl)
			switch {
			case !is || s.generated():
			case s.test() && strings.HasPrefix(f.Name.Name, "Fuzz"):
				for _, name := range namesIn(f.Body) {
					fuzzed[dir+"."+name] = true
				}
			case !s.test() && parserName.MatchString(f.Name.Name) && readsText(f.Type):
				parsers[dir+"."+receiver(f)+f.Name.Name] = s.path
			}
		}
	}
	if len(parsers) < 20 {
		t.Errorf("%d parsers are there; this test looks for them in the wrong way", len(parsers))
	}
	for parser, file := range parsers {
		if _, excepted := notFuzzed[parser]; !fuzzed[parser] && !excepted {
			t.Errorf("%s: %s is called by no Fuzz function: write one, or say in notFuzzed why not", file, parser)
		} else if fuzzed[parser] && excepted {
			t.Errorf("%s is fuzzed: it is no exception any more", parser)
		}
	}
	for parser := range notFuzzed {
		if _, there := parsers[parser]; !there {
			t.Errorf("notFuzzed names %s, which is not there", parser)
		}
	}
}

// namesIn are the names that are used in a body; of another package's without it, as in
// tests that stand beside their package.
func namesIn(body *ast.BlockStmt) (names []string) {
	ast.Inspect(body, func(n ast.Node) bool {
		if id, is := n.(*ast.Ident); is {
			names = append(names, id.Name)
		}
		return true
	})
	return names
}

// readsText tells whether a function is given bytes or text.
func readsText(f *ast.FuncType) bool {
	for _, p := range f.Params.List {
		switch of := p.Type.(type) {
		case *ast.Ident:
			if of.Name == "string" {
				return true
			}
		case *ast.ArrayType:
			if element, is := of.Elt.(*ast.Ident); is && of.Len == nil && element.Name == "byte" {
				return true
			}
		}
	}
	return false
}

// receiver is the type of a method with a dot, or nothing.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if p, is := of.(*ast.StarExpr); is {
		of = p.X
	}
	if id, is := of.(*ast.Ident); is {
		return id.Name + "."
	}
	return ""
}
