// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
)

// Transcripts runs every testdata/*.world of a package as a test. Such a file
// begins with lines of a world; a line "== do" is followed by more of them,
// any other "== WORDS" by what show must answer to the words then. With
// rewrite the answers are written into the file instead of compared.
func Transcripts(t *testing.T, rewrite bool, show func(w *World, words []string) string) {
	files, err := filepath.Glob("testdata/*.world")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".world"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(string(data), show)
			if rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(data) {
				t.Errorf("%s reads differently now:\n%s", file, difference(string(data), got))
			}
		})
	}
}

// replay returns the transcript with the answers as they are.
func replay(text string, show func(w *World, words []string) string) string {
	var out strings.Builder
	w := New("")
	for i, section := range strings.Split(text, "\n== ") {
		head, body, _ := strings.Cut(section, "\n")
		if i == 0 {
			head, body = "", section+"\n"
		} else {
			fmt.Fprintf(&out, "== %s\n", head)
		}
		if i == 0 || head == "do" {
			w.Do(body)
			out.WriteString(strings.TrimRight(body, "\n") + "\n")
			continue
		}
		out.WriteString(w.Names(show(w, strings.Fields(head))))
	}
	return out.String()
}

// Names replaces the UUIDs of the world's objects in a text by their names.
func (w *World) Names(text string) string {
	var pairs []string
	for _, objects := range w.objects {
		for id, o := range objects {
			pairs = append(pairs, id, "<"+strings.TrimPrefix(o.Head().Meta.FQName, "d:p:")+">")
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// Each calls visit with the kind and short name of every object, in order.
func (w *World) Each(visit func(kind api.Kind, name string)) {
	for _, info := range api.Kinds() {
		for _, o := range w.List(info.Kind) {
			visit(info.Kind, strings.TrimPrefix(o.Head().Meta.FQName, "d:p:"))
		}
	}
}

// difference shows the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	a, c := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range a {
		if !slices.Contains(c, l) {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	for _, l := range c {
		if !slices.Contains(a, l) {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	return b.String()
}
