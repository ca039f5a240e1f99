// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newPolicyLog(s *session) *cobra.Command {
	var o policyLogOptions
	c := &cobra.Command{
		Use:   "log",
		Short: "Show the packets that rules with log decided, and what audit rules would have done",
		Long: `Show the packets that rules with log decided, and those for which an audit rule would
have: when, on which host, from whom to whom, what the rule said, what became of the
packet at this end, and the rule. A rule logs the first packet of each conversation,
and each packet that it refuses; both ends log, each its own rules.

Hosts record this whether somebody looks or not, at most so many a second and at each
port, and say how many they left out at which port. Each remembers the last 8192, and keeps more in a file of its own
(weft-agent run --policy-log). With --follow it stays, and prints what is logged from
now on.`,
		Example: "  weft policy log\n  weft policy log --follow --port web-1\n  weft policy log --audit --last 24h\n  weft policy log --project-of acme -o json",
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.policyLog(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.host, "host", "", "only this `HOST`")
	f.StringVar(&o.q.Port, "port", "", "only from or to this `PORT`")
	f.StringVar(&o.q.Network, "network", "", "only from or to this `NETWORK`")
	f.StringVar(&o.q.Project, "project-of", "", "only from or to a port of this `PROJECT`")
	f.BoolVar(&o.audit, "audit", false, "only what audit rules would have done")
	f.DurationVar(&o.last, "last", time.Hour, "how far back, without --follow")
	f.BoolVar(&o.follow, "follow", false, "stay, and print what is logged")
	f.DurationVar(&o.interval, "interval", followInterval, "how often to look with --follow, at least "+minInterval.String())
	outputFlag(c, &o.output, formatJSON, formatYAML)
	_ = c.RegisterFlagCompletionFunc("port", s.completeKind(api.KindPort))
	_ = c.RegisterFlagCompletionFunc("network", s.completeKind(api.KindNetwork))
	return c
}

type policyLogOptions struct {
	host, output   string
	q              api.RecordQuestion
	audit, follow  bool
	last, interval time.Duration
}

// loggedPackets are told of one by one.
var loggedPackets = told{api.HostTablePolicyLog, loggedColumns, loggedRow, "were not logged: no more are in so short a time (weft-agent run --policy-log-port-rate, --policy-log-rate)"}

func (s *session) policyLog(ctx context.Context, o policyLogOptions) error {
	if o.follow && (o.output == formatYAML || o.interval < minInterval) {
		return usagef("--follow prints a table or -o json, one line each, at an --interval of at least %v", minInterval)
	}
	if o.last <= 0 {
		return usagef("--last is a time, such as 1h")
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	hosts, err := s.hostsToAsk(ctx, c, o.host)
	if err != nil {
		return err
	}
	for kind, name := range map[api.Kind]*string{api.KindPort: &o.q.Port, api.KindNetwork: &o.q.Network, api.KindProject: &o.q.Project} {
		if *name, err = s.fullName(ctx, c, kind, *name); err != nil {
			return err
		}
	}
	if len(hosts) == 0 {
		fmt.Fprintln(s.Err, "no host has joined")
	}
	if o.audit {
		o.q.Record = api.RecordAudit
	}
	if o.follow {
		return s.followEvents(ctx, c, hosts, loggedPackets, o.q, o.interval, o.output)
	}
	o.q.Since = o.last
	answers, silent := s.readRecords(ctx, c, hosts, func(int) string { return o.q.Table(api.HostTablePolicyLog) })
	if silent > 0 && silent == len(hosts) {
		return errNotWell
	}
	items := struct {
		Items []api.Record `json:"items"`
	}{s.toldRecords(hosts, answers)}
	if done, err := s.encode(o.output, items); done || err != nil {
		return err
	}
	if len(items.Items) == 0 {
		fmt.Fprintf(s.Err, "nothing was logged in the last %v on %d of %d hosts\n", o.last, len(hosts)-silent, len(hosts))
		return nil
	}
	t := api.Table{Columns: loggedColumns}
	for _, r := range items.Items {
		t.Rows = append(t.Rows, loggedRow(r))
	}
	return s.printTable(o.output, t)
}

// toldRecords are the records of all hosts, the oldest first. It says how many
// there are not.
func (s *session) toldRecords(hosts []api.Ref, answers [][]api.Record) []api.Record {
	all := []api.Record{}
	for host, records := range answers {
		lost := map[string]uint64{} // at which port, empty: because an answer is full
		for _, r := range records {
			if r.Record != api.RecordLost {
				all = append(all, r)
			} else if r.Lost > 0 {
				lost[r.Source.Workload] += r.Lost
			}
		}
		for _, port := range slices.Sorted(maps.Keys(lost)) {
			if port == "" {
				fmt.Fprintf(s.Err, "host %s: %d more are not shown: it answers no more at a time; ask for a port, a network or a shorter time\n", hosts[host], lost[port])
				continue
			}
			fmt.Fprintf(s.Err, "host %s: %d packets of port %s %s\n", hosts[host], lost[port], port, loggedPackets.lost)
		}
	}
	slices.SortStableFunc(all, func(a, b api.Record) int { return a.Time.Compare(b.Time) })
	return all
}

var loggedColumns = []string{"TIME", "HOST", "PROTOCOL", "FROM", "TO", "RULE-SAID", "PACKET", "RULE"}

// loggedRow is a record of what a rule logs, for people.
func loggedRow(r api.Record) []string {
	said, packet := r.Action, r.Verdict
	if r.Record == api.RecordAudit {
		said = "would " + r.Action
	}
	if r.Reason != "" {
		packet = r.Reason
	}
	row := eventRow(r)
	return []string{r.Time.UTC().Format("2006-01-02 15:04:05.000"), row[1], row[2], row[3], row[4], said, packet, row[7]}
}
