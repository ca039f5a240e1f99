// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/cmd/weft/table"
)

// readRecords asks the hosts, names those that do not answer, and counts them.
func (s *session) readRecords(ctx context.Context, c *client.Client, hosts []api.Ref, question func(host int) string) (all [][]api.Record, silent int) {
	tables, failures := askOneByOne(ctx, c, hosts, question)
	all = make([][]api.Record, len(hosts))
	for i, h := range hosts {
		if failures[i] == nil {
			all[i], failures[i] = api.ParseRecords(tables[i])
		}
		if failures[i] != nil && ctx.Err() == nil {
			silent++
			fmt.Fprintf(s.Err, "host %s does not answer: %s\n", h, oneLine(failures[i].Error()))
		}
	}
	return all, silent
}

// told are records that hosts make as something happens: in which table they are,
// and how people see them.
type told struct {
	table   string
	columns []string
	row     func(api.Record) []string
	lost    string // what of packets was not recorded
}

// droppedPackets are told of one by one.
var droppedPackets = told{api.HostTableEvents, eventColumns, eventRow, "are not shown: it records no more in so short a time"}

// followEvents prints records of frames as they come, until it is interrupted.
// What a host recorded while it did not answer is printed when it is back, if
// it still has it.
func (s *session) followEvents(ctx context.Context, c *client.Client, hosts []api.Ref, what told, q api.RecordQuestion, interval time.Duration, output string) error {
	known := make([]uint64, len(hosts))
	write := s.recordWriter(output, what.columns, what.row)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		answers, _ := s.readRecords(ctx, c, hosts, func(host int) string {
			q := q
			q.After = known[host]
			return q.Table(what.table)
		})
		var all []api.Record
		for host, records := range answers {
			for _, r := range records {
				known[host] = max(known[host], r.Sequence)
				if r.Record != api.RecordLost {
					all = append(all, r)
				} else if r.Lost > 0 {
					of := ""
					if r.Source.Workload != "" {
						of = " of port " + r.Source.Workload
					}
					fmt.Fprintf(s.Err, "host %s: %d packets%s %s\n", hosts[host], r.Lost, of, what.lost)
				}
			}
		}
		slices.SortStableFunc(all, func(a, b api.Record) int { return a.Time.Compare(b.Time) })
		if err := write(all); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// recordWriter returns what prints records as they come: one JSON object a
// line, or rows of a table.
func (s *session) recordWriter(output string, columns []string, row func(api.Record) []string) func([]api.Record) error {
	if output == formatJSON {
		return func(all []api.Record) error {
			for _, r := range all {
				if err := json.NewEncoder(s.Out).Encode(r); err != nil {
					return err
				}
			}
			return nil
		}
	}
	var out *table.Stream
	return func(all []api.Record) error {
		rows := make([][]string, len(all))
		for i, r := range all {
			rows[i] = row(r)
		}
		if out == nil { // not before: what is there already says how wide columns are, and any record how wide times
			typical := append(slices.Clone(rows), row(api.Record{}))
			out = s.printer.Stream(columns, typical).Header(columns)
		}
		return out.Rows(rows)
	}
}

var eventColumns = []string{"TIME", "HOST", "PROTOCOL", "FROM", "TO", "BYTES", "REASON", "RULE"}

// eventRow is a record of a frame for people.
func eventRow(r api.Record) []string {
	protocol := r.Protocol
	if r.Flags != "" {
		protocol += " " + r.Flags
	}
	reason := r.Reason
	if r.OneOf > 1 {
		reason += fmt.Sprintf(" (one of %d)", r.OneOf)
	}
	return []string{r.Time.UTC().Format("15:04:05.000"), r.Host, protocol, r.Source.String(), r.Destination.String(), strconv.Itoa(r.Length), reason, ruleWords(r)}
}

// ruleWords say which rule decided, and in which layer of policy.
func ruleWords(r api.Record) string {
	switch {
	case r.Layer == "":
		return "-"
	case r.Rule == "":
		return r.Layer + ": no rule"
	}
	return strings.TrimSpace(r.Layer + ": " + r.Rule)
}
