// SPDX-License-Identifier: Apache-2.0

// Package captures shows a port's frames to whoever asks for them, as they pass. A
// capture lives as long as somebody asks, and no longer than the agent.
package captures

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/filter"
)

const (
	// lease is how long a capture goes on after somebody asked for it.
	lease = 10 * time.Second
	// most is how many captures a host has at a time: each may keep 4 MiB in the
	// kernel and one answer here.
	most = 4
	// remembered is how many there are with those that ended and whose last answer
	// may not have arrived.
	remembered = 4 * most
	// An answer has so many bytes of frames, and so many frames, at most.
	answerBytes  = 1 << 20
	answerFrames = 4096
	// beginTimeout bounds the wait for the port's row.
	beginTimeout = 5 * time.Second
)

// Path is what is needed of the packet path; *vrouter.Datapath is one.
type Path interface {
	OpenCapture(vrouter.CaptureOptions) (*vrouter.Capture, error)
	SweepCaptures() error
}

// Host runs a function over the state of the host; *host.Loop does.
type Host interface {
	Do(ctx context.Context, call func(*host.Core)) error
	Wait(ctx context.Context, ready func(*host.Core) bool) error
}

// Captures are those of a host. They have one Run.
type Captures struct {
	path Path
	loop Host
	log  *slog.Logger

	mu      sync.Mutex // guards everything that follows
	running map[string]*one
	over    bool // the agent ends
}

// one is a capture.
type one struct {
	question api.CaptureQuestion
	port     string // UUID
	plug     host.Plug
	kernel   *vrouter.Capture
	began    time.Time
	asked    time.Time
	ended    string // why; empty: it goes on
	last     []api.CapturedFrame
	sequence uint64
	more     bool
	count    vrouter.CaptureCount
	closed   bool // it ended and everything was read: only the last answer is left
}

// New returns captures of which there are none.
func New(path Path, loop Host, log *slog.Logger) *Captures {
	return &Captures{path: path, loop: loop, log: log, running: map[string]*one{}}
}

// Run removes what an agent that was killed left, ends what nobody asks for any
// more, and everything when the context ends.
func (c *Captures) Run(ctx context.Context) {
	if err := c.path.SweepCaptures(); err != nil {
		c.log.Warn("captures of an earlier run are not removed", "error", err)
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			c.closeAll()
			return
		case <-ticker.C:
			c.tend(ctx, time.Now())
		}
	}
}

func (c *Captures) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for id := range c.running {
		c.forget(id)
	}
}

func (c *Captures) forget(id string) {
	if o := c.running[id]; !o.closed {
		c.warn(o.kernel.Close())
	}
	delete(c.running, id)
}

// room makes room for another capture, if there may be one.
func (c *Captures) room() error {
	going, oldest := 0, ""
	for id, o := range c.running {
		if !o.closed {
			going++
		} else if oldest == "" || o.asked.Before(c.running[oldest].asked) {
			oldest = id
		}
	}
	if going >= most {
		return fmt.Errorf("%d captures run on this host already, and no more may: end one; without questions it ends after %v", most, lease)
	}
	if len(c.running) >= remembered {
		c.forget(oldest)
	}
	return nil
}

func (c *Captures) warn(err error) {
	if err != nil {
		c.log.Warn("a capture does not end as it should", "error", err)
	}
}

// tend ends captures whose time is over.
func (c *Captures) tend(ctx context.Context, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.running) == 0 {
		return
	}
	var plugs map[string]host.Plug
	if err := c.loop.Do(ctx, func(core *host.Core) { plugs = core.Plugs() }); err != nil {
		return // the agent ends
	}
	for id, o := range c.running {
		switch at := plugs[o.port]; {
		case now.After(o.asked.Add(lease)):
			c.forget(id)
		case o.ended != "":
		case o.question.Duration > 0 && !now.Before(o.began.Add(o.question.Duration)):
			c.end(o, "its time is over")
		case at.Ifindex != o.plug.Ifindex || at.Failure != "":
			c.end(o, "the port left its interface")
		}
	}
	c.warn(c.tell(ctx))
}

// end takes the programs off; what they kept can still be asked for.
func (c *Captures) end(o *one, why string) {
	o.ended = why
	c.warn(o.kernel.Stop())
}

// tell says to the host which ports are captured.
func (c *Captures) tell(ctx context.Context) error {
	ports := map[string]bool{}
	for _, o := range c.running {
		if o.ended == "" && o.question.Direction != api.CaptureOut {
			ports[o.port] = true
		}
	}
	return c.loop.Do(ctx, func(core *host.Core) { core.SetCaptured(ports) })
}

// Table answers a question for frames.
func (c *Captures) Table(ctx context.Context, query string) (api.Table, error) {
	q, err := api.ParseCaptureQuestion(query)
	if err != nil {
		return api.Table{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o, there := c.running[q.ID]
	if !there {
		if !q.Begin {
			return api.Table{}, fmt.Errorf("capture of port %s: it has ended: the agent began anew, or nobody asked for %v", q.Port, lease)
		}
		if o, err = c.begin(ctx, q); err != nil {
			return api.Table{}, fmt.Errorf("capture of port %s: %w", q.Port, err)
		}
	}
	o.asked = time.Now()
	if q.Stop && o.ended == "" {
		c.end(o, "it was ended")
		c.warn(c.tell(ctx))
	}
	frames, err := o.after(q.After)
	if err != nil {
		return api.Table{}, err
	}
	if n := o.question.Count; n > 0 && o.sequence >= n && o.ended == "" {
		c.end(o, "it has all that were asked for")
		c.warn(c.tell(ctx))
	}
	if err := c.settle(o); err != nil {
		return api.Table{}, err
	}
	return api.CaptureTable(api.CaptureState{
		Interface: o.plug.Interface, Began: o.began, Sequence: o.sequence, More: o.more, Ended: o.ended,
		Matched: o.count.Matched, PassedOver: o.count.PassedOver, Lost: o.count.Lost,
	}, frames)
}

// settle counts, and lets go of what a capture has in the kernel when it ended and
// everything was read.
func (c *Captures) settle(o *one) (err error) {
	if o.closed {
		return nil
	}
	if o.count, err = o.kernel.Count(); err != nil {
		return err
	}
	if o.ended != "" && !o.more {
		o.closed = true
		c.warn(o.kernel.Close())
	}
	return nil
}

// begin puts the programs on the port's interface.
func (c *Captures) begin(ctx context.Context, q api.CaptureQuestion) (*one, error) {
	f, err := filter.Parse(q.Filter)
	if err != nil {
		return nil, err
	}
	if c.over {
		return nil, host.ErrStopped
	}
	if err := c.room(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	o := &one{question: q, asked: time.Now()}
	if err := c.find(ctx, o); err != nil {
		return nil, err
	}
	c.running[q.ID] = o
	if err = c.tell(ctx); err == nil {
		err = c.loop.Wait(ctx, (*host.Core).Tried)
	}
	if err == nil {
		options := vrouter.CaptureOptions{
			Device: o.plug.Ifindex, Filter: f, Length: q.Length, OneOf: q.OneOf,
			Out: q.Direction != api.CaptureIn, In: q.Direction != api.CaptureOut,
		}
		if o.plug.VLAN != 0 {
			options.Device, options.VLAN = o.plug.Device, o.plug.VLAN
		}
		o.kernel, err = c.path.OpenCapture(options)
	}
	if err != nil {
		delete(c.running, q.ID)
		return nil, errors.Join(err, c.tell(context.WithoutCancel(ctx)))
	}
	o.began = time.Now()
	return o, nil
}

// find finds the port's interface.
func (c *Captures) find(ctx context.Context, o *one) error {
	var why error
	err := c.loop.Do(ctx, func(core *host.Core) {
		row, bound := core.Port(o.question.Port)
		plug, plugged := core.Plugs()[row.ID]
		switch {
		case !bound:
			why = errors.New("it is not bound to this host")
		case !plugged:
			why = errors.New("it is not plugged here: there is no interface")
		case plug.Failure != "":
			why = errors.New(plug.Failure)
		}
		o.port, o.plug = row.ID, plug
	})
	return errors.Join(err, why)
}

// after returns the frames after a sequence: those of the last answer again, if it
// did not arrive, else what the kernel has.
func (o *one) after(sequence uint64) ([]api.CapturedFrame, error) {
	if sequence < o.sequence {
		for i, f := range o.last {
			if f.Sequence > sequence {
				return o.last[i:], nil
			}
		}
	}
	if o.closed {
		return nil, nil
	}
	o.last, o.more = nil, true
	for size := 0; size < answerBytes && len(o.last) < answerFrames; {
		if n := o.question.Count; n > 0 && o.sequence >= n {
			o.more = false
			break
		}
		f, err := o.kernel.Next()
		if errors.Is(err, vrouter.ErrNothingCaptured) {
			o.more = false
			break
		}
		if err != nil {
			return nil, err
		}
		o.sequence++
		size += len(f.Frame)
		o.last = append(o.last, api.CapturedFrame{Sequence: o.sequence, Time: f.Time, In: f.In, Length: f.Length, Bytes: f.Frame})
	}
	return o.last, nil
}
