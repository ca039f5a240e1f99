// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mutant is one change of one place in the C.
type Mutant struct {
	ID     string // follows from the text of the line, and so outlives edits elsewhere
	File   string // in vrouter/bpf
	Line   int
	Place  string // function, or "enum"
	Change string // for people
	start  int
	end    int
	with   string
	first  int // line of its function
	last   int
}

func (m Mutant) String() string {
	return fmt.Sprintf("%s %s:%d %s: %s", m.ID, m.File, m.Line, m.Place, m.Change)
}

// apply returns the source with the change.
func (m Mutant) apply(source string) string { return source[:m.start] + m.with + source[m.end:] }

// contracts are files that say what the kernel, Go and C agree on, where a
// change is one of the agreement and generated Go would change with it, or what
// only the trace build has.
var contracts = []string{"kernel.h", "tables.h", "reasons.h", "layout.c", "stages.h", "way.h", "learned.h", "tables_half_open.h"}

// List returns the mutants of all C files in a directory, in order of file and place.
func List(dir string) ([]Mutant, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list C files: %w", err)
	}
	var all []Mutant
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if (ext != ".c" && ext != ".h") || slices.Contains(contracts, e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read C file: %w", err)
		}
		all = append(all, mutate(e.Name(), string(text))...)
	}
	return all, nil
}

// mutate lists the mutants of one file.
func mutate(file, source string) []Mutant {
	f := &unit{name: file, source: source, tokens: lex(source)}
	for i := range f.tokens {
		if f.tokens[i].place != "" {
			f.at(i)
		}
	}
	seen := map[string]int{}
	places := extents(f.tokens)
	out := f.out[:0]
	for _, m := range f.out {
		begin := strings.LastIndexByte(source[:m.start], '\n') + 1
		line := strings.TrimSpace(source[begin : begin+until(source[begin:], "\n")])
		indent := begin + until(source[begin:], line)
		key := fmt.Sprintf("%s|%s|%s|%d|%d|%s", file, m.Place, line, m.start-indent, m.end-m.start, m.with)
		seen[key]++
		sum := sha256.Sum256(fmt.Appendf(nil, "%s|%d", key, seen[key]))
		m.first, m.last = places[m.Place].first, places[m.Place].last
		m.ID = hex.EncodeToString(sum[:4])
		out = append(out, m)
	}
	return out
}

// extent is the lines of a function.
type extent struct{ first, last int }

// extents are those of all functions. Lines of one name in several places are one.
func extents(tokens []token) map[string]extent {
	all := map[string]extent{}
	for _, t := range tokens {
		e, there := all[t.place]
		if !there {
			e.first = t.line
		}
		e.last = t.line
		all[t.place] = e
	}
	return all
}
