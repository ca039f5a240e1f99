// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const sample = `// a == b in a comment
#include "load.h"
#define TWICE(x) \
	((x) + 1)
enum { SIZE = 8 };
struct pair { int a[4]; };
__noinline __attribute__((unused)) int f(struct packet *p, const __u8 *head)
{
	__be16 id = *(__be16 *)(head + 4);
	if (p->fragment && id != 5)
		return end(p, REASON_NO_ROUTE);
	p->source = p->destination;
	struct pair x = { .a = { 1 }, .b = id };
	return NEXT;
}
#ifdef WEFT_TRACE
static int g(void) { return 1 < 2; }
#else
static int g(void) { return 3 > 4; }
#endif
`

// changed is the line that a mutant makes of another.
func changed(m Mutant, source string) string {
	before, after := strings.Split(source, "\n"), strings.Split(m.apply(source), "\n")
	for i := range before {
		if i >= len(after) || before[i] != after[i] {
			return strings.TrimSpace(after[i])
		}
	}
	return ""
}

func TestMutantsOfASample(t *testing.T) {
	var lines []string
	for _, m := range mutate("sample.h", sample) {
		lines = append(lines, changed(m, sample))
	}
	for _, want := range []string{
		"enum { SIZE = 9 };", "enum { SIZE = 7 };",
		"__be16 id = *(__be16 *)(head - 4);", "__be16 id = *(__be16 *)(head + 5);",
		"if (!(p->fragment && id != 5))", "if (p->fragment || id != 5)", "if (p->fragment && id == 5)", "if (p->later && id != 5)",
		"return end(p, REASON_MALFORMED);", "return -1 /* NEXT */;", "return TC_ACT_SHOT;",
		";", "p->destination = p->destination;", "p->source = p->source;",
		"struct pair x = {  .b = id };", "struct pair x = { .a = { 1 },  };",
		"static int g(void) { return 3 >= 4; }",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no mutant makes %q", want)
		}
	}
	for _, never := range []string{"comment", "include", "TWICE", "int a[", "1 <"} {
		for _, line := range lines {
			if strings.Contains(line, never) {
				t.Errorf("a mutant changes what is no product code: %q", line)
			}
		}
	}
}

// TestIDsOutliveOtherEdits: a reason written for a mutant stays with it when
// lines come and go elsewhere, and two mutants never share one.
func TestIDsOutliveOtherEdits(t *testing.T) {
	ids := map[string]string{}
	for _, m := range mutate("sample.h", sample) {
		if other, there := ids[m.ID]; there {
			t.Errorf("%s and %s have the same id", m, other)
		}
		ids[m.ID] = m.Change
	}
	moved := strings.Replace(sample, "enum {", "// another line\n\nenum {", 1)
	for _, m := range mutate("sample.h", moved) {
		if ids[m.ID] != m.Change {
			t.Errorf("%s was not there before the lines moved", m)
		}
	}
}

// TestMutantKnowsItsFunction: by its lines a glance finds the objects that hold it.
func TestMutantKnowsItsFunction(t *testing.T) {
	for _, m := range mutate("sample.h", sample) {
		if m.Place == "f" && (m.first != 8 || m.last != 14) {
			t.Errorf("%s is in lines %d to %d, want 8 to 14", m, m.first, m.last)
		}
		in := code{lines: map[string]map[int]bool{"sample.h": {9: true}, "other.h": {18: true}}}
		if held := in.holds(m); held != (m.Place == "f") {
			t.Errorf("%s is held: %t", m, held)
		}
	}
}

// TestEveryFileHasMutants runs over the real C: every file of the packet path
// is changed somewhere, by each kind of change.
func TestEveryFileHasMutants(t *testing.T) {
	dir := filepath.Join("..", "..", "vrouter", "bpf")
	all, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]int{}
	ids := map[string]bool{}
	for _, m := range all {
		files[m.File]++
		if ids[m.ID] {
			t.Errorf("%s: its id is another's", m)
		}
		ids[m.ID] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()] == 0 && !slices.Contains(contracts, e.Name()) {
			t.Errorf("%s has no mutant", e.Name())
		}
	}
	for _, sign := range []string{"[==]", "[!=]", "[<=]", "[&&]", "[||]", "[+]", "[-]", "[<<]", "drop `", "REASON_", "[true]"} {
		if !slices.ContainsFunc(all, func(m Mutant) bool { return strings.Contains(m.Change, sign) }) {
			t.Errorf("no mutant changes %s", sign)
		}
	}
}

// TestObjectsAreThoseOfGoGenerate: what is mutated is what is embedded.
func TestObjectsAreThoseOfGoGenerate(t *testing.T) {
	vrouter := filepath.Join("..", "..", "vrouter")
	objects, err := readObjects(vrouter)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.file())
		if !slices.Contains(o.reads, o.source) || !slices.Contains(o.reads, "kernel.h") {
			t.Errorf("%s reads %v", o.name, o.reads)
		}
	}
	files, err := filepath.Glob(filepath.Join(vrouter, "*_bpfel.o"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := filepath.Base(f); name != "layout_bpfel.o" && !slices.Contains(names, name) {
			t.Errorf("object %s is embedded and not mutated", name)
		}
	}
}

// TestStepsNameTests: a step whose tests were renamed would find nothing, and
// its mutants would survive.
func TestStepsNameTests(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "vrouter", "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	for _, s := range steps {
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(s.tests, -1) {
			if !strings.Contains(text.String(), "func "+name) {
				t.Errorf("no test of vrouter is called %s", name)
			}
		}
	}
}

func TestReport(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	text := "| id | where | change | reason |\n|---|---|---|---|\n| `01234567` | a.h, f | x | it cannot be seen |\n| `89abcdef` | a.h, f | y | |\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	reasons, err := ReadReasons(page)
	if err != nil || len(reasons) != 1 || reasons["01234567"] != "it cannot be seen" {
		t.Errorf("read %v, %v", reasons, err)
	}
	r := Report{Reasons: reasons, Trials: []Trial{
		{Mutant: Mutant{ID: "01234567", File: "a.h"}, Result: Survived}, {Mutant: Mutant{ID: "89abcdef", File: "b.h", Change: "`a | b`"}, Result: Survived},
		{Mutant: Mutant{ID: "00000000", File: "a.h"}, Result: Killed, By: "TestX", Step: 1}, {Mutant: Mutant{ID: "00000001", File: "a.h"}, Result: Killed, By: byTime, Step: 2, Took: 5 * time.Second},
		{Mutant: Mutant{ID: "00000002", File: "a.h"}, Result: SameCode},
	}}
	if got := r.Survival(); got != 50 {
		t.Errorf("%v of a hundred survived, want 50", got)
	}
	if u := r.Unexplained(); len(u) != 1 || u[0].Mutant.ID != "89abcdef" {
		t.Errorf("unexplained are %v", u)
	}
	if text := r.String(); !strings.Contains(text, "step by step: 1 1 0") || !strings.Contains(text, "took 1s") || !strings.Contains(text, "tried again: 00000001.") {
		t.Errorf("times are missing:\n%s", text)
	}
	written := filepath.Join(t.TempDir(), "again.md")
	if err := os.WriteFile(written, []byte(r.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := ReadReasons(written); err != nil || len(again) != 1 {
		t.Errorf("reasons read back from the report are %v, %v\n%s", again, err, r)
	}
}
