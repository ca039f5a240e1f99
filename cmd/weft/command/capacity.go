// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newCapacity(s *session) *cobra.Command {
	var host, output string
	var all bool
	c := &cobra.Command{
		Use:   "capacity",
		Short: "Show how full the hosts' tables are, and the memory they take",
		Long: `Show how full the tables of the packet path are and how much kernel memory they
take, by what they are for: for each host and feature the memory of its tables and
the one that is fullest. With --all, every table, as weft get capacity --host shows
those of one host. A table that is nine tenths full is a condition of its host, and
one that is full refuses rows, which says so at the ports concerned.

The agent's own memory is none of this: see process_resident_memory_bytes of its
metrics. The exit code is 1 if a table is full.`,
		Example: "  weft capacity\n  weft capacity --host h1 --all",
		GroupID: groupSee,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.capacity(c.Context(), host, all, output) },
	}
	c.Flags().StringVar(&host, "host", "", "only this `HOST`")
	c.Flags().BoolVar(&all, "all", false, "every table")
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

func (s *session) capacity(ctx context.Context, only string, all bool, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	hosts, err := s.hostsToAsk(ctx, c, only)
	if err != nil {
		return err
	}
	tables, failures := askAll(ctx, c, hosts, api.HostTableCapacity)
	sum := api.Table{Columns: []string{"HOST", "FEATURE", "MEMORY", "FULLEST", "USE"}, Rows: [][]string{}}
	if all {
		sum.Columns = nil
	}
	full, silent := false, 0
	for i, h := range hosts {
		if failures[i] != nil {
			silent++
			fmt.Fprintf(s.Err, "host %s does not answer: %s\n", h, oneLine(failures[i].Error()))
			continue
		}
		t := tables[i]
		at := func(name string) int { return slices.Index(t.Columns, name) }
		full = full || at("FULL") >= 0 && slices.ContainsFunc(t.Rows, func(r []string) bool { return r[at("FULL")] == "yes" })
		if !all {
			sum.Rows = append(sum.Rows, byFeature(h.String(), t)...)
			continue
		}
		if sum.Columns == nil {
			sum.Columns = append([]string{"HOST"}, t.Columns...)
		}
		for _, r := range t.Rows {
			if len(r)+1 == len(sum.Columns) { // else of an agent of another version
				sum.Rows = append(sum.Rows, append([]string{h.String()}, r...))
			}
		}
	}
	if err := s.printTable(output, sum); err != nil {
		return err
	}
	if full || silent > 0 && silent == len(hosts) {
		return errNotWell
	}
	return nil
}

// byFeature sums up a host's tables.
func byFeature(host string, t api.Table) (rows [][]string) {
	type feature struct {
		memory float64
		table  string
		use    float64
	}
	features := map[string]*feature{}
	var order []string
	for _, r := range t.Rows {
		cell := func(name string) string {
			if i := slices.Index(t.Columns, name); i >= 0 && i < len(r) {
				return r[i]
			}
			return ""
		}
		name := cell("FEATURE")
		f := features[name]
		if f == nil {
			f = &feature{table: "-"}
			features[name] = f
			order = append(order, name)
		}
		memory, _ := strconv.ParseFloat(strings.TrimSuffix(cell("MEMORY"), " MB"), 64) // "-" where the kernel does not tell
		f.memory += memory
		if use, err := strconv.ParseFloat(strings.TrimSuffix(cell("USE"), "%"), 64); err == nil && (use > f.use || f.table == "-") {
			f.table, f.use = cell("TABLE"), use
		}
	}
	for _, name := range order {
		f := features[name]
		rows = append(rows, []string{host, name, fmt.Sprintf("%.1f MB", f.memory), f.table, fmt.Sprintf("%.1f%%", f.use)})
	}
	return rows
}
