// SPDX-License-Identifier: Apache-2.0

// Package weft_test holds the rules of the repository as tests: who may import
// whom, how large things may grow, what names are refused.
package weft_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weft-network/weft"

// The sizes a reader can hold: a function fits a screen, a file a sitting.
const (
	maxFunctionLines = 70
	maxFileLines     = 500
)

// mayImport is the direction of the tree: a top folder and the top folders of
// ours it may import. "*" means any.
var mayImport = map[string][]string{
	"api":       {},
	"vrouter":   {},
	"reconcile": {},
	"store":     {"api"},
	"server":    {"api", "store"},
	"control":   {"api", "reconcile"},
	"route":     {"api", "reconcile"},
	"agent":     {"api", "reconcile", "vrouter"},
	"fabric":    {"api", "reconcile"},
	"adapter":   {"api"},
	"ui":        {},
	"cmd":       {"*"},
	"lab":       {"*"},
}

// refusedNames say nothing, so everything would fit under them.
var refusedNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "manager"}

// orchestratorWords stay inside adapter/; these folders must not know them.
var orchestratorWords = regexp.MustCompile(`(?i)\b(neutron|kubelet|kube-proxy|nova|vmware|esxi)\b`)

// source is one parsed Go file.
type source struct {
	path string
	text string
	file *ast.File
	fset *token.FileSet
}

func (s source) generated() bool { return ast.IsGenerated(s.file) }
func (s source) test() bool      { return strings.HasSuffix(s.path, "_test.go") }
func (s source) top() string     { return strings.SplitN(s.path, "/", 2)[0] }
func (s source) line(p token.Pos) int {
	return s.fset.Position(p).Line
}

// eachFile calls visit with every file of the tree that is not ignored.
func eachFile(t *testing.T, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (name == "bin" || name == ".git" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !d.IsDir() && name != ".git" { // in a worktree a file
			visit(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk the tree: %v", err)
	}
}

// goSources parses every Go file of the tree.
func goSources(t *testing.T) []source {
	t.Helper()
	var all []source
	eachFile(t, func(name string) {
		if !strings.HasSuffix(name, ".go") {
			return
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			t.Fatalf("parse %s: %v", name, err)
		}
		all = append(all, source{name, string(text), f, fset})
	})
	return all
}

func TestImportsPointDownTheTree(t *testing.T) {
	for _, s := range goSources(t) {
		if !strings.Contains(s.path, "/") {
			continue
		}
		allowed, known := mayImport[s.top()]
		if !known {
			t.Errorf("%s: %s/ is not a folder of the tree in doc/architecture.md", s.path, s.top())
			continue
		}
		for _, imp := range s.file.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil || !strings.HasPrefix(p, module+"/") {
				continue
			}
			top := strings.SplitN(strings.TrimPrefix(p, module+"/"), "/", 2)[0]
			if top != s.top() && !slices.Contains(allowed, top) && !slices.Contains(allowed, "*") && !testMayImport(s, top) && !definition(s, p) {
				t.Errorf("%s:%d: %s/ may not import %s/", s.path, s.line(imp.Pos()), s.top(), top)
			}
		}
	}
}

// definition lets control ask the definitions of what policy decides and of how members
// are chosen, which are pure and import nothing of ours.
func definition(s source, imported string) bool {
	return s.top() == "control" && (imported == module+"/vrouter/rules" || imported == module+"/vrouter/maglev")
}

// testMayImport lets the CLI's and client's tests run against the real server.
func testMayImport(s source, top string) bool {
	return s.test() && strings.HasPrefix(s.path, "api/client/") && (top == "server" || top == "store")
}

func TestNamesSaySomething(t *testing.T) {
	eachFile(t, func(name string) {
		for _, part := range strings.Split(name, "/") {
			word, _, _ := strings.Cut(part, ".")
			if slices.Contains(refusedNames, strings.TrimSuffix(word, "_test")) {
				t.Errorf("%s: %q says nothing about what is in it", name, word)
			}
		}
	})
	for _, s := range goSources(t) {
		if slices.Contains(refusedNames, s.file.Name.Name) {
			t.Errorf("%s: package name %s says nothing", s.path, s.file.Name.Name)
		}
	}
}

func TestFunctionsFitAScreenAndFilesASitting(t *testing.T) {
	for _, s := range goSources(t) {
		if s.generated() {
			continue
		}
		if n := strings.Count(s.text, "\n"); n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d fit a sitting", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.line(f.End()) - s.line(f.Pos()) + 1; n > maxFunctionLines {
				t.Errorf("%s:%d: %s has %d lines, at most %d fit a screen", s.path, s.line(f.Pos()), f.Name.Name, n, maxFunctionLines)
			}
		}
	}
	eachFile(t, func(name string) {
		if ext := path.Ext(name); ext != ".c" && ext != ".h" && ext != ".proto" && ext != ".sh" {
			return
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		if n := strings.Count(string(text), "\n"); n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d fit a sitting", name, n, maxFileLines)
		}
		for _, long := range longCFunctions(string(text)) {
			t.Errorf("%s: %s", name, long)
		}
	})
}

// longCFunctions finds functions of kernel-style C (the closing brace in
// column one) that do not fit a screen.
func longCFunctions(text string) []string {
	var found []string
	start := 0
	for i, l := range strings.Split(text, "\n") {
		switch {
		case l == "{":
			start = i
		case l == "}" && start > 0:
			if i-start > maxFunctionLines {
				found = append(found, fmt.Sprintf("function ending at line %d has %d lines, at most %d fit a screen", i+1, i-start, maxFunctionLines))
			}
			start = 0
		}
	}
	return found
}

func TestEveryPackageHasOneSentence(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range goSources(t) {
		dir := path.Dir(s.path)
		if s.test() && dir != "." {
			continue
		}
		documented[dir] = documented[dir] || s.file.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

func TestEveryFileCarriesTheLicence(t *testing.T) {
	eachFile(t, func(name string) {
		switch path.Ext(name) {
		case ".go", ".c", ".h", ".proto", ".sh":
		default:
			return
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		head := string(text[:min(len(text), 400)])
		if !strings.Contains(head, "SPDX-License-Identifier: Apache-2.0") && !strings.Contains(head, "DO NOT EDIT") {
			t.Errorf("%s: no SPDX-License-Identifier line", name)
		}
	})
}

func TestWiringIsPlain(t *testing.T) {
	for _, s := range goSources(t) {
		if s.generated() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s:%d: init hides wiring; call it from cmd/", s.path, s.line(n.Pos()))
				}
			case *ast.CallExpr:
				checkCall(t, s, n)
			}
			return true
		})
	}
}

// checkCall refuses calls that belong elsewhere.
func checkCall(t *testing.T, s source, call *ast.CallExpr) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return
	}
	name := pkg.Name + "." + sel.Sel.Name
	at := fmt.Sprintf("%s:%d", s.path, s.line(call.Pos()))
	inside := func(tops ...string) bool { return slices.Contains(tops, s.top()) }
	switch {
	case (name == "os.Getenv" || name == "os.LookupEnv") && !s.test() && !inside("cmd", "lab"):
		t.Errorf("%s: %s: configuration is read in cmd/ and handed on", at, name)
	case strings.HasPrefix(name, "exec.Command") && !s.test() && !inside("cmd", "lab") && path.Dir(s.path) != "agent/haproxy" && path.Dir(s.path) != "agent/proxy":
		t.Errorf("%s: %s: the product calls no programs but HAProxy and keepalived", at, name)
	case name == "time.Sleep" && s.test() && !inside("lab"):
		t.Errorf("%s: a test that sleeps decides by the clock; wait for the fact instead", at)
	case (name == "t.Skip" || name == "t.Skipf" || name == "t.SkipNow") && s.test():
		t.Errorf("%s: a skipped test is a failed one", at)
	}
}

func TestOrchestratorWordsStayInTheirAdapter(t *testing.T) {
	for _, s := range goSources(t) {
		if s.generated() || !slices.Contains([]string{"vrouter", "reconcile", "store", "control", "route", "agent"}, s.top()) {
			continue
		}
		for i, l := range strings.Split(s.text, "\n") {
			if w := orchestratorWords.FindString(l); w != "" {
				t.Errorf("%s:%d: %q belongs inside adapter/", s.path, i+1, w)
			}
		}
	}
}

func TestNothingSpeaksOfOneMachine(t *testing.T) {
	paths := regexp.MustCompile(`(^|[\s"'=(])/(work|root|home)/`)
	eachFile(t, func(name string) {
		if name == "tree_test.go" || strings.HasSuffix(name, ".o") || name == "go.sum" {
			return
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		for i, l := range strings.Split(string(text), "\n") {
			if paths.MatchString(l) {
				t.Errorf("%s:%d: path of one machine: %s", name, i+1, strings.TrimSpace(l))
			}
		}
	})
}
