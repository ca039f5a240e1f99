// SPDX-License-Identifier: Apache-2.0

// Package documented compares what a process exports with the page that
// describes it. It is for tests.
package documented

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Compare fails if the table of a process in a page is not exactly what it
// exports; with update it rewrites the table. The table follows a line that
// names the process, "### <process>", and ends at the next such line. Each
// metric must have a value.
func Compare(t *testing.T, page, process string, from *prometheus.Registry, parts []prometheus.Collector, update bool) {
	t.Helper()
	rows := rows(t, from)
	if described := names(parts); len(rows) != len(described)+1 { // and weft_build_info
		t.Errorf("%d metrics have a value here, %d are exported: make the others have one", len(rows), len(described)+1)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), "### "+process+"\n")
	if !found {
		t.Fatalf("%s has no line ### %s", page, process)
	}
	body, tail, more := strings.Cut(rest, "\n### ")
	if more {
		tail = "\n### " + tail
	}
	intro, _, _ := strings.Cut(body, "| `weft_")
	want := head + "### " + process + "\n" + intro + strings.Join(rows, "\n") + "\n" + tail
	switch {
	case want == string(text):
	case update:
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what is exported (rewrite its table with -update); want\n%s", page, strings.Join(rows, "\n"))
	}
}

// rows are the lines of the table, by name. The runtime's and the process's own
// metrics are left out.
func rows(t *testing.T, from *prometheus.Registry) []string {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "weft_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp()))
	}
	return rows
}

var fqName = regexp.MustCompile(`fqName: "(\w+)"`)

func names(parts []prometheus.Collector) []string {
	var all []string
	for _, p := range parts {
		descs := make(chan *prometheus.Desc, 64)
		p.Describe(descs)
		close(descs)
		for d := range descs {
			all = append(all, fqName.FindStringSubmatch(d.String())[1])
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
