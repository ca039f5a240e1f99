// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newFlows(s *session) *cobra.Command {
	var o flowsOptions
	c := &cobra.Command{
		Use:   "flows",
		Short: "Show conversations, with the names of both ends",
		Long: `Show the conversations that the hosts know of now: who began, with whom, how far it
is, the rule that passed it, and how much went each way since hosts count it: they begin
when somebody asks, or were told to with --record. A conversation between two hosts is known to both,
and each tells what it knows; of one between two ports of one host one line tells.

A conversation is what the packet path remembers of packets with the same addresses and
ports; one that is over, or silent for its time, goes from the list.

With --follow it stays, and prints those that come, change their state, and go. A host
tells 5000 at once, those that were used last; while it has more that is said, and
which of them end is not.`,
		Example: "  weft flows --port web-1\n  weft flows --network web --follow\n  weft flows --project-of acme -o json",
		GroupID: groupSee,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.flows(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.host, "host", "", "only this `HOST`")
	f.StringVar(&o.q.Port, "port", "", "only from or to this `PORT`")
	f.StringVar(&o.q.Network, "network", "", "only from or to this `NETWORK`")
	f.StringVar(&o.q.Project, "project-of", "", "only from or to a port of this `PROJECT`")
	f.BoolVar(&o.follow, "follow", false, "stay, and print what comes, changes and goes")
	f.DurationVar(&o.interval, "interval", followInterval, "how often to look with --follow, at least "+minInterval.String())
	outputFlag(c, &o.output, formatJSON, formatYAML)
	_ = c.RegisterFlagCompletionFunc("port", s.completeKind(api.KindPort))
	_ = c.RegisterFlagCompletionFunc("network", s.completeKind(api.KindNetwork))
	return c
}

type flowsOptions struct {
	host, output string
	q            api.RecordQuestion
	follow       bool
	interval     time.Duration
}

func (s *session) flows(ctx context.Context, o flowsOptions) error {
	if o.follow && (o.output == formatYAML || o.interval < minInterval) {
		return usagef("--follow prints a table or -o json, one line each, at an --interval of at least %v", minInterval)
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	hosts, err := s.hostsToAsk(ctx, c, o.host)
	if err != nil {
		return err
	}
	if err := s.fullNames(ctx, c, &o.q.Port, &o.q.Network, &o.q.Project); err != nil {
		return err
	}
	if len(hosts) == 0 {
		fmt.Fprintln(s.Err, "no host has joined")
	}
	if o.follow {
		return s.followFlows(ctx, c, hosts, o)
	}
	all, more, silent := s.readFlows(ctx, c, hosts, o.q)
	for host, n := range more {
		if n > 0 {
			fmt.Fprintf(s.Err, "host %s: %d more conversations are not shown: ask for a port or a network\n", hosts[host], n)
		}
	}
	if silent > 0 && silent == len(hosts) {
		return errNotWell
	}
	items := struct {
		Items []api.Record `json:"items"`
	}{slices.Concat(all...)}
	if done, err := s.encode(o.output, items); done || err != nil {
		return err
	}
	if len(items.Items) == 0 {
		fmt.Fprintf(s.Err, "no conversations on %d of %d hosts\n", len(hosts)-silent, len(hosts))
		return nil
	}
	t := api.Table{Columns: flowColumns}
	for _, r := range items.Items {
		t.Rows = append(t.Rows, flowRow(r))
	}
	return s.printTable(o.output, t)
}

// readFlows returns the conversations of each host, nil of one that does not answer,
// and how many more of each there are than it told.
func (s *session) readFlows(ctx context.Context, c *client.Client, hosts []api.Ref, q api.RecordQuestion) (all [][]api.Record, more []uint64, silent int) {
	all, silent = s.readRecords(ctx, c, hosts, func(int) string { return q.Table(api.HostTableFlows) })
	more = make([]uint64, len(hosts))
	for host := range all {
		all[host] = slices.DeleteFunc(all[host], func(r api.Record) bool {
			if r.Record == api.RecordLost {
				more[host] += r.Lost
			}
			return r.Record == api.RecordLost
		})
	}
	return all, more, silent
}

// flowKey tells conversations apart.
type flowKey struct {
	host, protocol, source, destination string
	vrf                                 uint32
}

func keyOf(r api.Record) flowKey {
	at := func(p api.Party) string { return fmt.Sprint(p.Address, " ", p.Port) }
	return flowKey{r.Host, r.Protocol, at(r.Source), at(r.Destination), r.VRF}
}

// followFlows prints what becomes of conversations, until it is interrupted.
func (s *session) followFlows(ctx context.Context, c *client.Client, hosts []api.Ref, o flowsOptions) error {
	write := s.recordWriter(o.output, append([]string{"TIME", "WHAT"}, flowColumns...), func(r api.Record) []string {
		return append([]string{r.Time.UTC().Format("15:04:05"), r.Record}, flowRow(r)...)
	})
	followed := make([]followedFlows, len(hosts))
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		answers, more, _ := s.readFlows(ctx, c, hosts, o.q)
		if ctx.Err() != nil {
			return nil
		}
		var changes []api.Record
		for host, records := range answers {
			if records == nil {
				continue // it did not answer, and nothing has gone
			}
			if more[host] > 0 && !followed[host].partly {
				fmt.Fprintf(s.Err, "host %s: %d more conversations are not shown, and while there are more than it tells at once, nor is which of them end: ask for a port or a network\n", hosts[host], more[host])
			}
			changes = append(changes, followed[host].changes(records, more[host] > 0, s.Now())...)
		}
		if err := write(changes); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

const (
	// maxFollowed is how many conversations of a host are remembered that it did not
	// tell again; it tells a few thousand at once.
	maxFollowed = 50_000
	// startSlack is how exactly a host knows when a conversation began.
	startSlack = 2 * time.Second
)

// followedFlows are the conversations of a host that were told.
type followedFlows struct {
	known  map[flowKey]api.Record
	at     time.Time // when the host last told, by its own clock
	partly bool      // that was not all
}

// changes notes what a host told, and returns what came, changed its state, or went.
// Of an answer that is only a part, what is missing may be there all the same; and
// after one, what is new in the next may have been there before.
func (f *followedFlows) changes(records []api.Record, partly bool, now time.Time) (changes []api.Record) {
	current := make(map[flowKey]api.Record, len(records))
	at := f.at
	for _, r := range records {
		k := keyOf(r)
		current[k] = r
		if r.Time.After(at) {
			at = r.Time
		}
		was, known := f.known[k]
		switch {
		case !known && f.partly && r.Start != nil && r.Start.Before(f.at.Add(-startSlack)):
			continue
		case !known:
			r.Record = api.RecordStart
		case was.State != r.State:
			r.Record = api.RecordUpdate
		default:
			continue
		}
		changes = append(changes, r)
	}
	for k, r := range f.known {
		if _, still := current[k]; still {
			continue
		}
		if partly {
			if len(current) < maxFollowed {
				current[k] = r
			}
			continue
		}
		r.Record, r.Time = api.RecordEnd, now
		changes = append(changes, r)
	}
	f.known, f.at, f.partly = current, at, partly
	slices.SortStableFunc(changes, func(a, b api.Record) int { return began(a).Compare(began(b)) })
	return changes
}

// began is when a conversation began; of one of which that is not known, before all others.
func began(r api.Record) (at time.Time) {
	if r.Start != nil {
		at = *r.Start
	}
	return at
}

var flowColumns = []string{"HOST", "PROTOCOL", "FROM", "TO", "STATE", "AGE", "IDLE", "SENT", "ANSWERED", "RULE"}

// flowRow is a conversation for people.
func flowRow(r api.Record) []string {
	since := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return age(r.Time.Sub(*t))
	}
	traffic := func(t *api.Traffic) string {
		if t == nil {
			return "-"
		}
		return fmt.Sprintf("%d in %d", t.Bytes, t.Packets)
	}
	return []string{r.Host, r.Protocol, r.Source.String(), r.Destination.String(), r.State, since(r.Start), since(r.End), traffic(r.Sent), traffic(r.Answered), ruleWords(r)}
}
