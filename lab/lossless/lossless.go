// SPDX-License-Identifier: Apache-2.0

package lossless

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// Options say what is done and how often.
type Options struct {
	Rates []int         // datagrams a second, of all flows together
	Times int           // of each action, at each rate
	Away  time.Duration // of the controller
}

// Run is one action under traffic, or none.
type Run struct {
	Action    string            `json:"action"`
	Rate      int               `json:"rate"`
	Time      int               `json:"time"` // from 1
	Took      time.Duration     `json:"took"`
	Flows     []probe.Count     `json:"flows"`
	Transfers []probe.Moved     `json:"transfers"`
	Dropped   map[string]uint64 `json:"dropped"` // by the vRouter, by reason
	Backlog   uint64            `json:"backlog"` // by queues of the kernel, of the whole machine
}

// Control is the name of the action that is none.
const Control = "nothing"

// Sum is all flows of a run together.
func (r Run) Sum() (sum probe.Count) {
	for _, f := range r.Flows {
		sum.Sent += f.Sent
		sum.Received += f.Received
		sum.Duplicated += f.Duplicated
		sum.Reordered += f.Reordered
		sum.Overflowed += f.Overflowed
		sum.Refused += f.Refused
		sum.Pause = max(sum.Pause, f.Pause)
	}
	return sum
}

// DroppedFrames is what the vRouter dropped, for any reason.
func (r Run) DroppedFrames() (sum uint64) {
	for _, n := range r.Dropped {
		sum += n
	}
	return sum
}

// action is something that is done to a running system.
type action struct {
	name string
	do   func(context.Context, *World) error
}

// actions returns what is done in this order; after all of it the system is as
// before.
func actions(o Options, w *World) []action {
	agent := func(name string, end func(string) error, b topology.AgentBuild) action {
		return action{name, func(ctx context.Context, w *World) error { return w.replace(ctx, end, b) }}
	}
	own, sized := topology.AgentBuild{}, topology.AgentBuild{Arguments: otherSizes}
	away := func(ctx context.Context) func() error { return func() error { return pause(ctx, o.Away) } }
	all := []action{
		agent("restart", w.Lab.Stop, own),
		agent("kill -9", w.Lab.Kill, own),
		agent("other table sizes", w.Lab.Stop, sized),
		agent("first table sizes again", w.Lab.Kill, own),
	}
	if w.OtherAgent != "" {
		all = append(all,
			agent("upgrade to another layout", w.Lab.Stop, topology.AgentBuild{Program: w.OtherAgent}),
			agent("downgrade to the first layout", w.Lab.Kill, own))
	}
	return append(all,
		action{"controller away", func(ctx context.Context, w *World) error { return w.absence(ctx, away(ctx)) }},
		action{"controller hangs", func(ctx context.Context, w *World) error { return w.hang(away(ctx)) }})
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// Measure does every action so often at every rate, each beside a run without
// one that lasts as long, and hands each run on as it ends.
func (w *World) Measure(ctx context.Context, o Options, each func(Run)) error {
	for _, rate := range o.Rates {
		for time := 1; time <= o.Times; time++ {
			for _, a := range actions(o, w) {
				r, err := w.Under(ctx, rate, a.name, a.do)
				if err != nil {
					return err
				}
				r.Time = time
				each(r)
				control, err := w.Under(ctx, rate, Control, func(ctx context.Context, _ *World) error { return pause(ctx, r.Took) })
				if err != nil {
					return err
				}
				control.Time = time
				each(control)
			}
		}
	}
	return nil
}

// traffic is what runs during an action.
type traffic struct {
	flows     []*probe.Flowing
	transfers []*probe.Transferring
}

// transferRate, of both ways together, leaves most of the machine to the datagrams.
const transferRate = 4 << 20

// begin starts datagrams and transfers from the first workload to the other
// on its host and to that on the other host, and transfers in which these answer,
// in both families.
func (w *World) begin(rate int) (*traffic, error) {
	t := &traffic{}
	for _, to := range []tenants.Workload{local, far} {
		for i, address := range to.Addresses() {
			name := fmt.Sprintf("%s, %s", map[string]string{local.Short(): "one host", far.Short(): "across"}[to.Short()], []string{"IPv4", "IPv6"}[i])
			from, into := tenants.Namespace(w.Lab, near), tenants.Namespace(w.Lab, to)
			f, err := probe.Flow{Name: name, From: from, To: into, Address: address, Rate: rate / 4}.Start()
			if err != nil {
				return t, err
			}
			t.flows = append(t.flows, f)
			for _, back := range []bool{false, true} {
				m, err := probe.Transfer{Name: name, From: from, To: into, Address: address, Rate: transferRate / 2, Back: back}.Start()
				if err != nil {
					return t, err
				}
				t.transfers = append(t.transfers, m)
			}
		}
	}
	return t, nil
}

// end stops everything.
func (t *traffic) end(r *Run) (bad error) {
	for _, f := range t.flows {
		count, err := f.Stop()
		bad = errors.Join(bad, err)
		r.Flows = append(r.Flows, count)
	}
	for _, m := range t.transfers {
		moved, err := m.Stop()
		bad = errors.Join(bad, err)
		r.Transfers = append(r.Transfers, moved)
	}
	return bad
}

// flowing waits until some more of everything has arrived: traffic that has
// stopped for good is an error.
func (t *traffic) flowing(ctx context.Context) error {
	const some, limit, poll = 100, 10 * time.Second, 5 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	arrives := func(what string, so func() bool) error {
		for !so() {
			if pause(ctx, poll) != nil {
				return fmt.Errorf("%s does not flow", what)
			}
		}
		return nil
	}
	for i, f := range t.flows {
		more := f.Received() + some
		if err := arrives(fmt.Sprintf("flow %d of %d", i+1, len(t.flows)), func() bool { return f.Received() >= more }); err != nil {
			return err
		}
	}
	for i, m := range t.transfers {
		more := m.Received() + some
		if err := arrives(fmt.Sprintf("transfer %d of %d", i+1, len(t.transfers)), func() bool { return m.Received() >= more }); err != nil {
			return err
		}
	}
	return nil
}

// Under does something while traffic flows. An error says that it could not be
// done, or that a connection broke; what was lost is in the run.
func (w *World) Under(ctx context.Context, rate int, name string, do func(context.Context, *World) error) (r Run, err error) {
	r = Run{Action: name, Rate: rate}
	t, err := w.begin(rate)
	if err == nil {
		err = t.flowing(ctx)
	}
	if err != nil {
		return r, errors.Join(fmt.Errorf("before %s: %w", name, err), t.end(&r))
	}
	before, err := w.dropped()
	queues, err2 := backlog()
	begin := time.Now()
	if err = errors.Join(err, err2); err == nil {
		err = do(ctx, w)
	}
	r.Took = time.Since(begin)
	if err == nil {
		err = t.flowing(ctx)
	}
	if err = errors.Join(err, t.end(&r)); err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	after, err := w.dropped()
	if err != nil {
		return r, err
	}
	r.Dropped = since(after, before)
	now, err := backlog()
	r.Backlog = now - queues
	return r, err
}
