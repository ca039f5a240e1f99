// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"slices"
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

// askAll reads a table of each host, several at a time.
func askAll(ctx context.Context, c *client.Client, hosts []api.Ref, table string) ([]api.Table, []error) {
	return askOneByOne(ctx, c, hosts, func(int) string { return table })
}

// askOneByOne is askAll with a question for each host.
func askOneByOne(ctx context.Context, c *client.Client, hosts []api.Ref, table func(host int) string) ([]api.Table, []error) {
	tables, failures := make([]api.Table, len(hosts)), make([]error, len(hosts))
	slots := make(chan struct{}, askHosts)
	var wait sync.WaitGroup
	for i, h := range hosts {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			tables[i], failures[i] = c.HostTable(ctx, h, table(i))
		})
	}
	wait.Wait()
	return tables, failures
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
	well := !slices.ContainsFunc(rows, func(r api.WhyRow) bool { return r.Status != "ok" })
	if rows == nil {
		rows = []api.WhyRow{}
	}
	done, err := s.encode(output, map[string]any{"rows": rows})
	if !done && err == nil {
		err = s.printer.Print(whyTable(rows))
	}
	if err == nil && !well {
		return errNotWell
	}
	return err
}

func whyTable(rows []api.WhyRow) api.Table {
	t := api.Table{Columns: []string{"STAGE", "STATUS", "WHERE", "WHAT", "DETAIL"}}
	for _, r := range rows {
		status, detail := whyWords(r)
		t.Rows = append(t.Rows, []string{string(r.Stage), status, r.Where, r.What, detail})
	}
	return t
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
