// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

const routesLong = `Show the routes of a network as they were derived: where packets for a prefix
go, since when, which object made the route and, if it was made in another
network, which network-policy or route-target leaked it here. With --host, the
routes as that host has them.

STATE is primary for a route of the network itself, secondary for a leaked one,
and infeasible for a static route that leads nowhere; "+" marks a further next
hop of the prefix, which hosts do not use. REMOTE and LABEL are the tunnel
address and VNI by which other hosts reach the next hop, PREF is the local
preference and AGE the time since what the route follows from changed.

For what is in a host's kernel see "weft get routes --host HOST".`

func newRoutes(s *session) *cobra.Command {
	var host, output string
	c := &cobra.Command{
		Use:               "routes NETWORK",
		Short:             "Show the routes of a network and where they come from",
		Long:              routesLong,
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
	if err := s.printer.Print(routeTable(answer.Items, output == formatWide, s.Now())); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Out, api.CountRoutes(answer.Items))
	return err
}

// routeTable shows routes, names as seen from the network's project.
func routeTable(routes []api.Route, wide bool, now time.Time) api.Table {
	t := api.Table{Columns: []string{"PREFIX", "STATE", "NEXT-HOP", "REMOTE", "LABEL", "PREF", "AGE", "ORIGIN", "LEAKED-BY"}}
	if wide {
		t.Columns = append(t.Columns, "MAC", "ENCAPSULATION", "LAST-MODIFIED", "FROM-NETWORK", "HOST", "REASON")
	}
	for _, r := range routes {
		project := projectName(r.Network.Name)
		row := append([]string{r.Prefix.String(), routeState(r), strings.ReplaceAll(r.NextHop, project+":", "") + memberWords(r)}, tunnelCells(r)...)
		row = append(row, number(r.LocalPreference), routeAge(r.LastModified, now), string(r.OriginKind)+"/"+refName(project, r.Origin), leakCell(project, r))
		if wide {
			encapsulation, modified := "", ""
			if r.Tunnel != nil {
				encapsulation = strings.Join(r.Tunnel.Encapsulation, " ")
			}
			if !r.LastModified.IsZero() {
				modified = r.LastModified.UTC().Format(time.RFC3339)
			}
			row = append(row, string(r.MAC), encapsulation, modified, refName(project, r.OriginNetwork), r.Host.String(), r.Reason)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// memberWords says how many of the members of a virtual address take new
// connections, and where they are.
func memberWords(r api.Route) string {
	if len(r.Members) == 0 {
		return ""
	}
	hosts, active := map[string]bool{}, 0
	for _, m := range r.Members {
		if m.State == api.MemberActive && m.Weight > 0 {
			active++
			hosts[m.Host.String()] = true
		}
	}
	return fmt.Sprintf(" (%d of %d members, on %d hosts)", active, len(r.Members), len(hosts))
}

func routeState(r api.Route) string {
	if r.Equal {
		return r.State + "+"
	}
	return r.State
}

func tunnelCells(r api.Route) []string {
	if r.Tunnel == nil {
		return []string{"", ""}
	}
	return []string{joinWords(r.Tunnel.Addresses), strconv.FormatUint(uint64(r.Tunnel.Label), 10)}
}

func routeAge(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return age(now.Sub(t))
}

func leakCell(project string, r api.Route) string {
	if r.LeakedBy.IsZero() {
		return ""
	}
	return string(r.LeakedByKind) + "/" + refName(project, r.LeakedBy)
}
