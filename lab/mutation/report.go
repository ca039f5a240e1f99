// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

var reasonRow = regexp.MustCompile("(?m)^\\| `([0-9a-f]{8})` \\|.*\\| *([^|]*?) *\\|$")

// ReadReasons reads why mutants may survive from the rows of a page: the first
// cell is the id and the last the reason. A row without one explains nothing.
func ReadReasons(page string) (map[string]string, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, fmt.Errorf("read reasons of survivors: %w", err)
	}
	reasons := map[string]string{}
	for _, m := range reasonRow.FindAllStringSubmatch(string(text), -1) {
		if m[2] != "" {
			reasons[m[1]] = m[2]
		}
	}
	return reasons, nil
}

// Report is the outcome of a run.
type Report struct {
	Trials  []Trial
	Reasons map[string]string
}

func (r Report) count(file string, result Result) int {
	n := 0
	for _, t := range r.Trials {
		if t.Result == result && (file == "" || t.Mutant.File == file) {
			n++
		}
	}
	return n
}

// Survival is the percentage of those that could run and were not the original.
func (r Report) Survival() float64 {
	survived := r.count("", Survived)
	if ran := survived + r.count("", Killed); ran > 0 {
		return 100 * float64(survived) / float64(ran)
	}
	return 0
}

// survivors are in order of file and line.
func (r Report) survivors() []Trial {
	var all []Trial
	for _, t := range r.Trials {
		if t.Result == Survived {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b Trial) int {
		if n := strings.Compare(a.Mutant.File, b.Mutant.File); n != 0 {
			return n
		}
		return a.Mutant.start - b.Mutant.start
	})
	return all
}

// Unexplained are the survivors that the page gives no reason for.
func (r Report) Unexplained() []Trial {
	return slices.DeleteFunc(r.survivors(), func(t Trial) bool { return r.Reasons[t.Mutant.ID] != "" })
}

// times says which step killed how many, and what a mutant took.
func (r Report) times() string {
	if len(r.Trials) == 0 {
		return ""
	}
	killed := make([]int, len(steps))
	var took time.Duration
	var late []string // a busy machine may have killed them
	for _, t := range r.Trials {
		if t.Result == Killed {
			killed[t.Step-1]++
			if t.By == byTime {
				late = append(late, t.Mutant.ID)
			}
		}
		took += t.Took
	}
	text := fmt.Sprintf("Killed step by step: %s. A mutant took %s on average.", strings.Trim(fmt.Sprint(killed), "[]"), (took / time.Duration(len(r.Trials))).Round(100*time.Millisecond))
	if len(late) > 0 {
		text += " Killed by time alone, to be tried again: " + strings.Join(late, ", ") + "."
	}
	return text
}

// String is the report as tables of Markdown.
func (r Report) String() string {
	var b strings.Builder
	b.WriteString("| file | mutants |")
	for _, result := range Results {
		fmt.Fprintf(&b, " %s |", result)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(Results)) + "\n")
	files := map[string]bool{}
	var names []string
	for _, t := range r.Trials {
		if !files[t.Mutant.File] {
			files[t.Mutant.File] = true
			names = append(names, t.Mutant.File)
		}
	}
	slices.Sort(names)
	for _, name := range append(names, "") {
		total, label := 0, name
		var cells strings.Builder
		for _, result := range Results {
			n := r.count(name, result)
			total += n
			fmt.Fprintf(&cells, " %d |", n)
		}
		if name == "" {
			label = "all"
		}
		fmt.Fprintf(&b, "| %s | %d |%s\n", label, total, &cells)
	}
	fmt.Fprintf(&b, "\nSurvived: %.1f %% of those that ran. %s\n\n| id | where | change | reason |\n|---|---|---|---|\n", r.Survival(), r.times())
	for _, t := range r.survivors() {
		m := t.Mutant
		change := strings.ReplaceAll(m.Change, "|", "¦") // a bar would end the cell
		fmt.Fprintf(&b, "| `%s` | %s, %s | %s | %s |\n", m.ID, m.File, m.Place, change, r.Reasons[m.ID])
	}
	return b.String()
}
