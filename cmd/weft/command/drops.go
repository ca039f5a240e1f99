// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/cmd/weft/table"
)

func newDrops(s *session) *cobra.Command {
	var o dropsOptions
	c := &cobra.Command{
		Use:   "drops",
		Short: "Show dropped packets by host, stage and reason",
		Long: `Show how many packets each host dropped, at which stage and for which reason,
as its agent counts them now. With --all also packets that ended at the vRouter
because nothing more was needed (verdict consumed), such as multicast listener
reports. Hosts that do not answer are named on the standard error; the exit code
is 0 unless none answers.

With --by the counts are summed up by port, reason, stage or host, the largest first; with
--top only so many of them: --by port --top 10 names who loses most.

With --follow it stays, and prints each packet that is dropped from now on: when,
at which port, from whom to whom, and the reason or the rule. Asking for them is
what makes hosts record them; a host records at most so many a second, and says
how many it left out. With --counts, or --by, it prints only what was added to
the counts since it last looked.`,
		Example: "  weft drops\n  weft drops --host h1 --all\n  weft drops --port web-1 --follow\n  weft drops --by port --top 10 --follow\n  weft drops --project-of acme --follow -o json",
		GroupID: groupSee,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.drops(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.host, "host", "", "only this `HOST`")
	f.StringVar(&o.port, "port", "", "only this `PORT`, by name")
	f.BoolVar(&o.all, "all", false, "also what was consumed, and counters that are zero")
	f.StringVar(&o.by, "by", "", "sum up by port, reason, stage or host")
	f.IntVar(&o.top, "top", 0, "with --by: only so many, the largest")
	f.BoolVar(&o.follow, "follow", false, "stay, and print each packet that is dropped")
	f.BoolVar(&o.counts, "counts", false, "with --follow: print what is added to the counts instead")
	f.StringVar(&o.network, "network", "", "with --follow: only packets from or to this `NETWORK`")
	f.StringVar(&o.project, "project-of", "", "with --follow: only packets from or to a port of this `PROJECT`")
	f.DurationVar(&o.interval, "interval", followInterval, "how often to look with --follow, at least "+minInterval.String())
	outputFlag(c, &o.output, formatJSON, formatYAML)
	return c
}

// dropsOptions are the flags of drops.
type dropsOptions struct {
	host, port, by, output string
	network, project       string
	all, follow, counts    bool
	top                    int
	interval               time.Duration
}

const (
	// followInterval is how often --follow looks; minInterval protects the
	// controllers, which pass each question on to the hosts.
	followInterval = 2 * time.Second
	minInterval    = 500 * time.Millisecond
)

func (s *session) drops(ctx context.Context, o dropsOptions) error {
	if o.follow && (o.output == formatYAML || o.interval < minInterval) {
		return usagef("--follow prints a table or -o json, one line each, at an --interval of at least %v", minInterval)
	}
	if _, known := dropGroups[o.by]; o.by != "" && !known || o.top < 0 || o.top > 0 && o.by == "" {
		return usagef("--by is port, reason, stage or host, and --top a number that goes with it")
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	hosts, err := s.hostsToAsk(ctx, c, o.host)
	if err != nil {
		return err
	}
	if err := s.fullNames(ctx, c, &o.port, &o.network, &o.project); err != nil {
		return err
	}
	if len(hosts) == 0 {
		fmt.Fprintln(s.Err, "no host has joined")
	}
	if o.follow && !o.counts && o.by == "" {
		q := api.RecordQuestion{Record: api.RecordDrop, Port: o.port, Network: o.network, Project: o.project}
		if !o.all {
			q.Verdict = "dropped"
		}
		return s.followEvents(ctx, c, hosts, droppedPackets, q, o.interval, o.output)
	}
	t, silent := s.readDrops(ctx, c, hosts, o)
	if o.follow {
		return s.followDrops(ctx, c, hosts, o, t)
	}
	switch {
	case silent > 0 && silent == len(hosts):
		return errNotWell
	case len(t.Rows) == 0 && o.output == formatTable:
		fmt.Fprintf(s.Err, "no drops on %d of %d hosts\n", len(hosts)-silent, len(hosts))
		return nil
	}
	return s.printTable(o.output, o.table(t.Rows))
}

// fullNames puts the names under which hosts know them in place of those given.
func (s *session) fullNames(ctx context.Context, c *client.Client, port, network, project *string) (err error) {
	for kind, name := range map[api.Kind]*string{api.KindPort: port, api.KindNetwork: network, api.KindProject: project} {
		if *name, err = s.fullName(ctx, c, kind, *name); err != nil {
			return err
		}
	}
	return nil
}

// fullName finds the name under which hosts know a port, network or project;
// of no name none.
func (s *session) fullName(ctx context.Context, c *client.Client, kind api.Kind, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	ref, err := s.ref(kind, name)
	if err != nil {
		return "", err
	}
	o, err := c.Get(ctx, kind, ref)
	if err != nil {
		return "", err
	}
	return o.Head().Meta.FQName, nil
}

// hostsToAsk is the one named, or all.
func (s *session) hostsToAsk(ctx context.Context, c *client.Client, only string) ([]api.Ref, error) {
	if only != "" {
		ref, err := s.ref(api.KindHost, only)
		return []api.Ref{ref}, err
	}
	var hosts []api.Ref
	for o, err := range c.Pages(ctx, api.KindHost, client.ListOptions{Fields: []string{"kind"}}) {
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, api.RefTo(o))
	}
	return hosts, nil
}

// readDrops asks the hosts, names those that do not answer, and counts them.
func (s *session) readDrops(ctx context.Context, c *client.Client, hosts []api.Ref, o dropsOptions) (t api.Table, silent int) {
	tables, failures := askAll(ctx, c, hosts, api.HostTableDrops)
	t = api.Table{Columns: dropColumns, Rows: [][]string{}}
	for i, h := range hosts {
		if failures[i] != nil {
			silent++
			fmt.Fprintf(s.Err, "host %s does not answer: %s\n", h, oneLine(failures[i].Error()))
			continue
		}
		rows := dropRows(h.String(), tables[i], o.all)
		if o.port != "" {
			rows = slices.DeleteFunc(rows, func(r []string) bool { return r[dropPort] != o.port })
		}
		t.Rows = append(t.Rows, rows...)
	}
	return t, silent
}

// followDrops prints what is added to the counts of a first table, until it is
// interrupted. A host that does not answer for a while is told each time; what
// it counted meanwhile is printed when it is back.
func (s *session) followDrops(ctx context.Context, c *client.Client, hosts []api.Ref, o dropsOptions, first api.Table) error {
	before := map[string]dropCount{}
	added(before, first.Rows)
	columns := append([]string{"TIME"}, o.columns()...)
	var out *table.Stream
	if o.output == formatTable {
		out = s.printer.Stream(columns, nil).Header(columns)
	}
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		t, _ := s.readDrops(ctx, c, hosts, o)
		if ctx.Err() != nil {
			return nil
		}
		var rows [][]string
		for _, r := range o.grouped(added(before, t.Rows)) {
			rows = append(rows, append([]string{s.Now().UTC().Format(time.RFC3339)}, r...))
		}
		if out != nil {
			if err := out.Rows(rows); err != nil {
				return err
			}
			continue
		}
		for _, r := range rows {
			if err := json.NewEncoder(s.Out).Encode(labelled(columns, r)); err != nil {
				return err
			}
		}
	}
}

// labelled is a row with its columns' names as keys.
func labelled(columns, row []string) map[string]string {
	m := make(map[string]string, len(columns))
	for i, name := range columns {
		m[strings.ToLower(name)] = row[i]
	}
	return m
}

// dropCount is what was counted for one row.
type dropCount struct{ packets, bytes uint64 }

// added notes the counts of rows and returns those that grew, with what came
// to them. A count below the one before began anew, with another port.
func added(before map[string]dropCount, rows [][]string) [][]string {
	var grown [][]string
	for _, r := range rows {
		var now dropCount
		now.packets, _ = strconv.ParseUint(r[dropPackets], 10, 64) // not a number: an agent that counts otherwise
		now.bytes, _ = strconv.ParseUint(r[dropPackets+1], 10, 64)
		key := strings.Join(r[:dropPackets], "\x00")
		was := before[key]
		before[key] = now
		if now.packets < was.packets {
			was = dropCount{}
		}
		if now.packets == was.packets {
			continue
		}
		row := slices.Clone(r)
		row[dropPackets], row[dropPackets+1] = strconv.FormatUint(now.packets-was.packets, 10), strconv.FormatUint(now.bytes-was.bytes, 10)
		grown = append(grown, row)
	}
	return grown
}

// verdictConsumed is the vRouter's word for a packet that ended there and was
// not refused anything.
const verdictConsumed = "consumed"

// dropColumns are the columns of weft drops; all but the first are the agent's.
var dropColumns = []string{"HOST", "STAGE", "REASON", "VERDICT", "INTERFACE", "PORT", "PACKETS", "BYTES", "TEXT"}

// Places in dropColumns; BYTES follows PACKETS.
const (
	dropPort    = 5
	dropPackets = 6
)

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
