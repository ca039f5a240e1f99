// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

const reachLong = `Show exactly what some workloads may say to others: every protocol and port that
routes lead to and the policy of both ends passes, and nothing else. It is
computed from what all controllers compiled for the hosts, not tried out.

--from and --to name workloads by what they have in common: a port, network,
security-group, tag, project, virtual-machine or host, as KIND/NAME. A name
without a kind is a port's. Pairs with the same outcome are in one row; there may be
1048576 pairs. A port's allowed address pairs, what lies behind it by a route-table,
and what it may take by speaking for it (of active-standby pairs, and free addresses of
slaac subnets) are its addresses, too. Ports with portSecurity off, which may use any
address, and those of networks that forward l2 are named: of these it is not exact.

One of the two may be addresses, as cidr/203.0.113.0/24: whoever has them to the
routes of the workloads' networks. What is shown is then what the workloads' own
policy passes; addresses that rules and routes tell apart are in rows of their own.`

func newReach(s *session) *cobra.Command {
	var from, to, output string
	c := &cobra.Command{
		Use:     "reach --from KIND/NAME --to KIND/NAME",
		Short:   "Show exactly what workloads may say to others",
		Long:    reachLong,
		Example: "  weft reach --from web-1 --to db-1\n  weft reach --from network/web --to tag/tier-db\n  weft reach --from cidr/203.0.113.0/24 --to web-1\n  weft reach --from security-group/web --to project/prod -o json",
		GroupID: groupSee,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.reach(c.Context(), from, to, output) },
	}
	c.Flags().StringVar(&from, "from", "", "`WORKLOADS` that begin")
	c.Flags().StringVar(&to, "to", "", "`WORKLOADS` that are spoken to")
	outputFlag(c, &output, formatJSON, formatYAML, formatWide)
	return c
}

func (s *session) reach(ctx context.Context, from, to, output string) error {
	if from == "" || to == "" {
		return usagef("--from and --to are required: weft reach --from KIND/NAME --to KIND/NAME")
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	if from, err = s.workloads(from); err != nil {
		return err
	}
	if to, err = s.workloads(to); err != nil {
		return err
	}
	answer, err := c.Reach(ctx, from, to)
	if err != nil {
		return err
	}
	if done, err := s.encode(output, answer); done {
		return err
	}
	s.sayNotExact("", answer.NotExact)
	if len(answer.Rows) == 0 {
		_, err := fmt.Fprintf(s.Out, "no pair of ports that have a host: %s and %s\n", from, to)
		return err
	}
	return s.printer.Print(reachTable(s.project, answer.Rows, output == formatWide))
}

// workloads completes the name in KIND/NAME; without a kind it is a port's.
func (s *session) workloads(text string) (string, error) {
	if strings.HasPrefix(text, "cidr/") {
		return text, nil
	}
	if !strings.Contains(text, "/") {
		text = string(api.KindPort) + "/" + text
	}
	t, err := s.parseSlashed(text)
	if err != nil {
		return "", err
	}
	name := t.ref.UUID
	if name == "" {
		name = t.ref.Name
	}
	return string(t.info.Kind) + "/" + name, nil
}

// reachTable has a row for each thing that is allowed, so that it can be searched.
func reachTable(project string, rows []api.ReachRow, wide bool) api.Table {
	t := api.Table{Columns: []string{"FROM", "TO", "ALLOWED"}}
	for _, r := range rows {
		from, to := portsCell(project, r.From, wide), portsCell(project, r.To, wide)
		if len(r.FromRanges) > 0 {
			from = rangesCell(r.FromRanges, wide)
		}
		if len(r.ToRanges) > 0 {
			to = rangesCell(r.ToRanges, wide)
		}
		if len(r.Allowed) == 0 {
			why := "nothing"
			if r.Reason != "" {
				why += ": " + r.Reason
			}
			t.Rows = append(t.Rows, []string{from, to, why})
		}
		for _, f := range r.Allowed {
			t.Rows = append(t.Rows, []string{from, to, f.String()})
		}
	}
	return t
}

// shownPorts is how many ports a cell names.
const shownPorts = 3

func rangesCell(all []netip.Prefix, wide bool) string {
	var texts []string
	for i, p := range all {
		if i == shownPorts && !wide {
			texts = append(texts, fmt.Sprintf("+%d", len(all)-i))
			break
		}
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ",")
}

func portsCell(project string, ports []api.Ref, wide bool) string {
	var names []string
	for i, p := range ports {
		if i == shownPorts && !wide {
			names = append(names, fmt.Sprintf("+%d", len(ports)-i))
			break
		}
		names = append(names, refName(project, p))
	}
	return strings.Join(names, ",")
}
