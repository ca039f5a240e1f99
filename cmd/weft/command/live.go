// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newRoutes(s *session) *cobra.Command {
	var host, output string
	c := &cobra.Command{
		Use:   "routes NETWORK",
		Short: "Show the routes of a network and where they come from",
		Long: `Show the routes of a network as they were derived: where packets for a prefix
go, which object made the route and, if it was made in another network, which
network-policy leaked it here. With --host, the routes that host has.

For what is in a host's kernel see "weft get routes --host HOST".`,
		Example:           "  weft routes web\n  weft routes web --host h1",
		GroupID:           groupSee,
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeKind(api.KindNetwork),
		RunE: func(c *cobra.Command, args []string) error {
			return s.routes(c.Context(), args[0], host, output)
		},
	}
	c.Flags().StringVar(&host, "host", "", "only what this `HOST` has")
	outputFlag(c, &output, formatJSON, formatYAML, formatWide)
	return c
}

func (s *session) routes(ctx context.Context, network, host, output string) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	n, err := s.ref(api.KindNetwork, network)
	if err != nil {
		return err
	}
	var h api.Ref
	if host != "" {
		if h, err = s.ref(api.KindHost, host); err != nil {
			return err
		}
	}
	answer, err := c.Routes(ctx, n, h)
	if err != nil {
		return err
	}
	slices.SortStableFunc(answer.Items, func(a, b api.Route) int { return a.Prefix.Compare(b.Prefix) })
	if done, err := s.encode(output, answer); done {
		return err
	}
	return s.printer.Print(routeTable(answer.Items, output == formatWide))
}

// routeTable shows routes, names as seen from the network's project.
func routeTable(routes []api.Route, wide bool) api.Table {
	t := api.Table{Columns: []string{"PREFIX", "NEXT-HOP", "MAC", "ORIGIN", "LEAKED-BY"}}
	if wide {
		t.Columns = append(t.Columns, "FROM-NETWORK", "HOST")
	}
	for _, r := range routes {
		project := projectName(r.Network.Name)
		origin := string(r.OriginKind) + "/" + refName(project, r.Origin)
		row := []string{r.Prefix.String(), strings.ReplaceAll(r.NextHop, project+":", ""), string(r.MAC), origin, refName(project, r.LeakedBy)}
		if wide {
			row = append(row, refName(project, r.OriginNetwork), r.Host.String())
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

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
