// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const policyDiffLong = `Show which conversations a change that is only staged would cut, and which that
were refused it would open: those there are now, and those of the last minutes as
far as hosts remember them. FILE is what "weft apply -f" would be given.

Each line is conversations that differ in nothing but the sender's port: how many,
between whom, what decides about them now and what would after the change, with
its layer, rule and owner, and when a packet of them was last seen. Whether
conversations pass is computed for both from what control compiles, for egress and
ingress, and for the routes both ways; no host is changed.

Hosts remember the last conversations that ended (not those that made room for
others), and who was refused only while packets are recorded: with the agent's
--remember-drops, while somebody follows drops, or with --wait, which records for
so long and catches those who try again. What could not be known is told on the
standard error. The exit code is 0 unless no host answers.`

func newPolicyDiff(s *session) *cobra.Command {
	var o policyDiffOptions
	c := &cobra.Command{
		Use:     "diff DRAFT | -f FILE...",
		Short:   "Show which conversations a staged change would cut or open",
		Long:    policyDiffLong,
		Example: "  weft policy diff opening\n  weft policy diff -f policy/ --last 1h --network web\n  weft policy diff opening --wait 10s -o json",
		Args:    arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.draft = args[0]
			}
			return s.policyDiff(c.Context(), o)
		},
		ValidArgsFunction: s.completeKind(api.KindDraft),
	}
	f := c.Flags()
	filesFlag(c, &o.files)
	f.DurationVar(&o.last, "last", 15*time.Minute, "conversations that were there, or refused, in this time")
	f.DurationVar(&o.wait, "wait", 0, "let hosts record who is refused for so long before looking, at most "+maxWait.String())
	f.StringVar(&o.host, "host", "", "only what this `HOST` knows")
	f.StringVar(&o.q.Port, "port", "", "only from or to this `PORT`")
	f.StringVar(&o.q.Network, "network", "", "only from or to this `NETWORK`")
	f.StringVar(&o.q.Project, "project-of", "", "only from or to a port of this `PROJECT`")
	f.IntVar(&o.limit, "limit", 100, "most lines that are shown")
	outputFlag(c, &o.output, formatJSON, formatYAML)
	_ = c.RegisterFlagCompletionFunc("port", s.completeKind(api.KindPort))
	_ = c.RegisterFlagCompletionFunc("network", s.completeKind(api.KindNetwork))
	return c
}

// policyDiffOptions are the flags of policy diff.
type policyDiffOptions struct {
	draft, host, output string
	files               []string
	q                   api.RecordQuestion
	last, wait          time.Duration
	limit               int
}

const (
	// maxWait bounds --wait, which makes hosts record.
	maxWait = 10 * time.Minute
	// judgeBatch conversations fit into one request beside the largest draft.
	judgeBatch = 4000
	// maxJudged bounds what one command looks at.
	maxJudged = 100_000
)

func (o policyDiffOptions) check() error {
	switch {
	case (o.draft == "") == (len(o.files) == 0):
		return usagef("want a draft or files: weft policy diff DRAFT, or weft policy diff -f FILE")
	case o.last <= 0 || o.wait < 0 || o.wait > maxWait || o.limit < 1:
		return usagef("--last is a time, --wait at most %v, and --limit at least 1", maxWait)
	}
	return nil
}

func (s *session) policyDiff(ctx context.Context, o policyDiffOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	operations, err := s.thoughtOf(ctx, c, o)
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
	if err := s.letRecord(ctx, c, hosts, o.wait); err != nil {
		return err
	}
	past := newPast(s.Now(), o.last)
	o.q.Since = o.last
	flows, ofFlows := askOneByOne(ctx, c, hosts, func(int) string { return o.q.Table(api.HostTableFlows) })
	drops := o.q
	drops.Record = api.RecordDrop
	events, ofEvents := askOneByOne(ctx, c, hosts, func(int) string { return drops.Table(api.HostTableEvents) })
	answered := 0
	for i, h := range hosts {
		if past.host(h.String(), flows[i], ofFlows[i], false) {
			answered++
		}
		past.host(h.String(), events[i], ofEvents[i], true)
	}
	answer, err := s.judgePast(ctx, c, past, operations)
	if err != nil {
		return err
	}
	if err := s.printPolicyDiff(answer, o); err != nil {
		return err
	}
	if answered == 0 && len(hosts) > 0 {
		return errNotWell
	}
	return nil
}

// thoughtOf are the changes that the question is about.
func (s *session) thoughtOf(ctx context.Context, c *client.Client, o policyDiffOptions) ([]api.Operation, error) {
	if o.draft != "" {
		operations, err := s.stagedOperations(ctx, c, o.draft)
		if err == nil && len(operations) == 0 {
			err = failure{what: "nothing is staged in " + o.draft}
		}
		return operations, err
	}
	docs, err := s.readDocuments(o.files)
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, d := range docs {
		next, err := s.plan(ctx, c, d)
		if err != nil {
			return nil, err
		}
		steps = append(steps, next)
	}
	batch, operations := nextBatch(steps)
	switch {
	case len(batch) < len(steps):
		return nil, failure{what: fmt.Sprintf("there are more changes than the %d of one transaction, so what would be after them all cannot be worked out", client.MaxOperations), hint: "give fewer files at a time"}
	case len(operations) == 0:
		return nil, failure{what: "everything is as the files say: nothing would change"}
	}
	return operations, nil
}

// letRecord makes hosts record who is refused, for a while.
func (s *session) letRecord(ctx context.Context, c *client.Client, hosts []api.Ref, wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	again := time.NewTicker(followInterval)
	defer again.Stop()
	for {
		askAll(ctx, c, hosts, api.HostTableEvents) // a host that does not answer is named later
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over.C:
			return nil
		case <-again.C:
		}
	}
}

// judgePast asks which of the conversations would be judged otherwise.
func (s *session) judgePast(ctx context.Context, c *client.Client, p *past, operations []api.Operation) (policyDifference, error) {
	p.sort()
	for begin := 0; begin < len(p.all); begin += judgeBatch {
		part := p.all[begin:min(begin+judgeBatch, len(p.all))]
		request := api.JudgeRequest{Operations: operations, Conversations: make([]api.Conversation, len(part))}
		for i := range part {
			request.Conversations[i] = part[i].conversation
		}
		answer, err := c.Judge(ctx, request)
		if err != nil {
			return policyDifference{}, err
		}
		p.take(begin, answer)
	}
	return p.difference(), nil
}

// printPolicyDiff shows what would be otherwise, and tells what is not known.
func (s *session) printPolicyDiff(d policyDifference, o policyDiffOptions) error {
	if len(d.Items) > o.limit {
		d.More = len(d.Items) - o.limit
		d.Items = d.Items[:o.limit]
	}
	if done, err := s.encode(o.output, d); done || err != nil {
		return err
	}
	if len(d.Items) > 0 {
		t := api.Table{Columns: []string{"WHAT", "COUNT", "PROTOCOL", "FROM", "TO", "NOW", "AFTER", "LAST"}}
		for i := range d.Items {
			t.Rows = append(t.Rows, d.Items[i].row(s.project, s.Now()))
		}
		if err := s.printTable(o.output, t); err != nil {
			return err
		}
	}
	if d.More > 0 {
		fmt.Fprintf(s.Err, "%d more lines are not shown: --limit\n", d.More)
	}
	fmt.Fprintf(s.Err, "of %d conversations of the last %v, %d would be cut and %d opened\n", d.Looked, o.last, d.Cut, d.Opened)
	for _, text := range d.Unknown {
		fmt.Fprintf(s.Err, "not known: %s\n", oneLine(text))
	}
	return nil
}
