// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// Bounds of asking all hosts for a table.
const (
	// askHosts is how many hosts are asked at a time: enough to be quick,
	// too few to bother a controller.
	askHosts = 16
	// askTimeout is one host's answer. A host that needs longer is not well.
	askTimeout = 10 * time.Second
)

func newDrops(s *session) *cobra.Command {
	var host, output string
	var all bool
	c := &cobra.Command{
		Use:   "drops",
		Short: "Show dropped packets by host, stage and reason",
		Long: `Show how many packets each host dropped, at which stage and for which reason,
as its agent counts them now. With --all also packets that ended at the vRouter
because nothing more was needed (verdict consumed), such as multicast listener
reports. Hosts that do not answer are named on the standard error; the exit code
is 0 unless none answers.`,
		Example: "  weft drops\n  weft drops --host h1 --all",
		GroupID: groupSee,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.drops(c.Context(), host, all, output)
		},
	}
	c.Flags().StringVar(&host, "host", "", "only this `HOST`")
	c.Flags().BoolVar(&all, "all", false, "also what was consumed, and counters that are zero")
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

func (s *session) drops(ctx context.Context, only string, all bool, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	var hosts []api.Ref
	if only != "" {
		ref, err := s.ref(api.KindHost, only)
		if err != nil {
			return err
		}
		hosts = []api.Ref{ref}
	} else {
		answer, err := c.List(ctx, api.KindHost, client.ListOptions{})
		if err != nil {
			return err
		}
		for _, h := range answer.Items {
			hosts = append(hosts, api.RefTo(h))
		}
	}
	if len(hosts) == 0 {
		fmt.Fprintln(s.Err, "no host has joined")
	}
	tables, failures := askAll(ctx, c, hosts, api.HostTableDrops)
	t := api.Table{Columns: dropColumns, Rows: [][]string{}}
	silent := 0
	for i, h := range hosts {
		if failures[i] != nil {
			silent++
			fmt.Fprintf(s.Err, "host %s does not answer: %s\n", h, oneLine(failures[i].Error()))
			continue
		}
		t.Rows = append(t.Rows, dropRows(h.String(), tables[i], all)...)
	}
	switch {
	case silent > 0 && silent == len(hosts):
		return errNotWell
	case len(t.Rows) == 0 && output == formatTable:
		fmt.Fprintf(s.Err, "no drops on %d of %d hosts\n", len(hosts)-silent, len(hosts))
		return nil
	}
	return s.printTable(output, t)
}

// askAll reads a table of each host, several at a time.
func askAll(ctx context.Context, c *client.Client, hosts []api.Ref, table string) ([]api.Table, []error) {
	tables, failures := make([]api.Table, len(hosts)), make([]error, len(hosts))
	slots := make(chan struct{}, askHosts)
	var wait sync.WaitGroup
	for i, h := range hosts {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			tables[i], failures[i] = c.HostTable(ctx, h, table)
		})
	}
	wait.Wait()
	return tables, failures
}

// verdictConsumed is the vRouter's word for a packet that ended there and was
// not refused anything.
const verdictConsumed = "consumed"

// dropColumns are the columns of weft drops; all but the first are the agent's.
var dropColumns = []string{"HOST", "STAGE", "REASON", "VERDICT", "INTERFACE", "PORT", "PACKETS", "BYTES", "TEXT"}

// dropRows brings an agent's table into our columns, by their names: an agent
// may be of another version.
func dropRows(host string, t api.Table, all bool) [][]string {
	index := map[string]int{}
	for i, name := range t.Columns {
		name = strings.ToUpper(name)
		if name == "FRAMES" { // what the vRouter counts are packets to people
			name = "PACKETS"
		}
		index[name] = i
	}
	cell := func(row []string, name string) string {
		if i, ok := index[name]; ok && i < len(row) {
			return row[i]
		}
		return ""
	}
	var rows [][]string
	for _, r := range t.Rows {
		packets, consumed := cell(r, "PACKETS"), cell(r, "VERDICT") == verdictConsumed
		if !all && (consumed || packets == "" || packets == "0") {
			continue
		}
		row := []string{host}
		for _, name := range dropColumns[1:] {
			row = append(row, cell(r, name))
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b []string) int {
		return cmp.Or(strings.Compare(a[1], b[1]), strings.Compare(a[2], b[2]), strings.Compare(a[3], b[3]))
	})
	return rows
}

const whyLong = `Show how far an object has come: each row of the chain from what was asked for
(intent), over what follows from it (derived) and what its host should have
(desired), to what is in the host's kernel. The first row whose status is not ok
is where to look.

The exit code is 1 if a row is not ok.`

func newWhy(s *session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:               "why KIND NAME",
		Short:             "Show the chain from an object to the kernel",
		Long:              whyLong,
		Example:           "  weft why port web-1\n  weft why network/web",
		GroupID:           groupSee,
		Args:              arguments(1, 2),
		ValidArgsFunction: s.completeTargets,
		RunE:              func(c *cobra.Command, args []string) error { return s.why(c.Context(), args, output) },
	}
	outputFlag(c, &output, formatJSON, formatYAML)
	return c
}

func (s *session) why(ctx context.Context, args []string, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	targets, err := s.parseTargets(args)
	if err != nil {
		return err
	}
	if len(targets) != 1 {
		return usagef("want one object: weft why KIND NAME")
	}
	rows, err := c.Why(ctx, targets[0].info.Kind, targets[0].ref)
	if err != nil {
		return err
	}
	well := true
	t := api.Table{Columns: []string{"STAGE", "STATUS", "WHERE", "WHAT", "DETAIL"}}
	for _, r := range rows {
		well = well && r.Status == "ok"
		status, detail := whyWords(r)
		t.Rows = append(t.Rows, []string{string(r.Stage), status, r.Where, r.What, detail})
	}
	if rows == nil {
		rows = []api.WhyRow{}
	}
	done, err := s.encode(output, map[string]any{"rows": rows})
	if !done && err == nil {
		err = s.printer.Print(t)
	}
	if err == nil && !well {
		return errNotWell
	}
	return err
}

// whyWords keeps the status to one word; an error is told in the last column,
// where there is room for it.
func whyWords(r api.WhyRow) (status, detail string) {
	switch r.Status {
	case "ok", "pending", "missing":
		return r.Status, r.Detail
	}
	if r.Detail == "" {
		return "error", r.Status
	}
	return "error", r.Status + "; " + r.Detail
}
