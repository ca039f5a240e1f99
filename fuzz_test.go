// SPDX-License-Identifier: Apache-2.0

package weft_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
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
				for _, name := range s.namesIn(f.Body) {
					fuzzed[name] = fuzzed[name] || strings.HasPrefix(name, dir+".")
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

// namesIn are the functions that a body uses, each with the folder of its package and a
// dot before it.
func (s source) namesIn(body *ast.BlockStmt) (names []string) {
	imported := map[string]*string{} // the path by the word for it
	for _, i := range s.file.Imports {
		from := strings.TrimPrefix(strings.Trim(i.Path.Value, `"`), module+"/")
		word := path.Base(from)
		if i.Name != nil {
			word = i.Name.Name
		}
		imported[word] = &from
	}
	named := map[*ast.Ident]bool{} // with a word before them, or that word
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			named[n.Sel] = true // what a value has by that name is no function of ours
			if of, is := n.X.(*ast.Ident); is && imported[of.Name] != nil {
				named[of] = true
				names = append(names, *imported[of.Name]+"."+n.Sel.Name)
			}
		case *ast.Ident:
			if !named[n] {
				names = append(names, path.Dir(s.path)+"."+n.Name)
			}
		}
		return true
	})
	return names
}

// readsText tells whether a function is given bytes or text, or several of them.
func readsText(f *ast.FuncType) bool {
	return slices.ContainsFunc(f.Params.List, func(p *ast.Field) bool { return isText(p.Type) })
}

func isText(of ast.Expr) bool {
	switch of := of.(type) {
	case *ast.Ident:
		return of.Name == "string"
	case *ast.Ellipsis:
		return isText(of.Elt)
	case *ast.ArrayType:
		element, is := of.Elt.(*ast.Ident)
		return of.Len == nil && (is && element.Name == "byte" || isText(of.Elt))
	case *ast.SelectorExpr:
		from, is := of.X.(*ast.Ident)
		return is && (from.Name == "io" && of.Sel.Name == "Reader" || from.Name == "json" && of.Sel.Name == "RawMessage")
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

// TestFuzzedAreFoundByTheirPackage: another package's function, and a value's, of the
// same name stand for none of ours; and whatever has text in it is a parser's.
func TestFuzzedAreFoundByTheirPackage(t *testing.T) {
	text := `package records
import ("other/frame"; own "` + module + `/agent/records")
func FuzzX() { frame.Parse(b); own.ParseLine(s); Decode(v.Unmarshal(x.y.ParseTag)) }
func ParseA(words []string)
func ParseB(b ...[]byte)
func ParseC(r io.Reader)
func DecodeD(n []int, word [4]byte)
func DecodeE(m json.RawMessage)`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "agent/records/x_test.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := source{"agent/records/x_test.go", text, file, fset}
	var fuzzed, parsers []string
	for _, d := range file.Decls {
		f, is := d.(*ast.FuncDecl)
		switch {
		case !is:
		case f.Body != nil:
			for _, name := range s.namesIn(f.Body) {
				if folder, of, _ := strings.Cut(name, "."); folder == "agent/records" && parserName.MatchString(of) {
					fuzzed = append(fuzzed, of)
				}
			}
		case readsText(f.Type):
			parsers = append(parsers, f.Name.Name)
		}
	}
	slices.Sort(fuzzed)
	if got := strings.Join(fuzzed, " "); got != "Decode ParseLine" {
		t.Errorf("fuzzed are %s", got)
	}
	if got := strings.Join(parsers, " "); got != "ParseA ParseB ParseC DecodeE" {
		t.Errorf("parsers are %s", got)
	}
}
