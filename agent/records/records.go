// SPDX-License-Identifier: Apache-2.0

// Package records tells what became of single frames, and of conversations,
// with the names of both ends: to whoever asks, and to a file or a collector if
// one is given. While nobody wants to know, nothing is recorded.
package records

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

const (
	// watchFor is how long frames are recorded, and those of conversations counted,
	// after somebody asked for them.
	watchFor = 15 * time.Second
	// batch is how many frames get their names in one look at the rows.
	batch = 512
)

// Path is what is needed of the packet path; *vrouter.Datapath is one.
type Path interface {
	SetRecording(vrouter.Recording) error
	OpenEvents() (*vrouter.Events, error)
	EventCounts() (map[vrouter.EventKind]vrouter.EventCount, error)
	Counters() ([]vrouter.Counter, error)
	Connections(visit func(vrouter.ConnectionKey, vrouter.Connection)) error
	ConnectionTimeout(protocol uint8, state vrouter.ConnectionState) time.Duration
}

// Host runs a function over the state of the host; host.Loop does.
type Host interface {
	Do(ctx context.Context, call func(*host.Core)) error
}

// Options say what is recorded.
type Options struct {
	Host string
	// Always is what is recorded also while nobody asks, Limits has the intervals,
	// bursts and OneOf of everything.
	Always, Limits vrouter.Recording
	// Interfaces returns the names of interfaces by index.
	Interfaces func() (map[int]string, error)
	// Sessions are told to Export, each at least so often while it goes on; 0: they are not.
	Sessions time.Duration
	// Export takes records besides; nil: nobody does.
	Export *Exporter
	// Log takes what rules log; LogFile is where it puts that, and where what was
	// logged before is read.
	Log     *Exporter
	LogFile string
}

// Recorder records frames. It has one Run.
type Recorder struct {
	options Options
	path    Path
	loop    Host
	log     *slog.Logger
	wake    chan struct{}

	past   ended
	untold atomic.Uint64 // ends of conversations that were too many to follow

	mu      sync.Mutex // guards everything that follows
	watched time.Time  // until then
	counted time.Time  // until then
	recent  waiting    // frames that were dropped or began something
	logged  waiting    // what rules log
	lost    losses
	setting vrouter.Recording
	// recording is since when drops are recorded.
	recording time.Time
}

// New returns a recorder that records nothing before Run.
func New(path Path, loop Host, o Options, log *slog.Logger) *Recorder {
	return &Recorder{options: o, path: path, loop: loop, log: log, wake: make(chan struct{}, 1), recent: newWaiting(false), logged: newWaiting(true), past: ended{since: time.Now()}}
}

// Tables answer questions, by the names of the tables.
func (r *Recorder) Tables() map[string]func(context.Context, string) (api.Table, error) {
	return map[string]func(context.Context, string) (api.Table, error){
		api.HostTableEvents: r.Events, api.HostTableFlows: r.Flows, api.HostTablePolicyLog: r.PolicyLog,
	}
}

// Run records until the context ends. That it cannot is logged: the host goes
// on without records.
func (r *Recorder) Run(ctx context.Context) {
	if err := r.run(ctx); err != nil && ctx.Err() == nil {
		r.log.Error("nothing is recorded of frames and conversations; restart the agent", "error", err)
	}
}

func (r *Recorder) run(ctx context.Context) error {
	events, err := r.path.OpenEvents()
	if err != nil {
		return err
	}
	if r.lost, err = r.countLost(); err != nil {
		return errors.Join(err, events.Close())
	}
	r.recall()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.read(ctx, events) })
	group.Go(func() error { r.tend(ctx); return nil })
	if r.options.Log != nil {
		group.Go(func() error { r.options.Log.Run(ctx); return nil })
	}
	if r.options.Export != nil {
		group.Go(func() error { r.options.Export.Run(ctx); return nil })
		if r.options.Sessions > 0 {
			group.Go(func() error { r.follow(ctx); return nil })
		}
	}
	group.Go(func() error {
		<-ctx.Done()
		return events.Close()
	})
	return errors.Join(group.Wait(), r.set(r.unasked()))
}

// unasked is what is recorded while there is no agent: what rules log waits in the
// ring for the next one, as long as there is room.
func (r *Recorder) unasked() vrouter.Recording {
	l := r.options.Limits
	return vrouter.Recording{
		Logged: r.options.Always.Logged, LoggedInterval: l.LoggedInterval, LoggedBurst: l.LoggedBurst, ShareInterval: l.ShareInterval, ShareBurst: l.ShareBurst,
	}
}

// set turns recording on or off.
func (r *Recorder) set(want vrouter.Recording) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.setting == want {
		return nil
	}
	if err := r.path.SetRecording(want); err != nil {
		return err
	}
	if want.Drops && !r.setting.Drops {
		r.recording = time.Now()
	}
	r.setting = want
	return nil
}

// want is what is to be recorded now.
func (r *Recorder) want(now time.Time) vrouter.Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	want, of := r.options.Limits, r.options.Always
	want.Drops, want.First, want.Counts, want.Logged = of.Drops, of.First, of.Counts, of.Logged
	if now.Before(r.watched) {
		want.Drops, want.First = true, true
	}
	if now.Before(r.counted) {
		want.Counts = true
	}
	return want
}

// tend turns recording on and off as it is wanted, and looks for what was lost.
func (r *Recorder) tend(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	// What an agent that was killed left on is off, or as is wanted, from here on.
	err := r.path.SetRecording(r.unasked())
	for {
		if err == nil {
			err = r.set(r.want(time.Now()))
		}
		if err == nil {
			err = r.noteLost(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn("frames are not recorded as they should be; trying again", "error", err)
		}
		err = nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.wake:
		}
	}
}

// read names what the packet path tells.
func (r *Recorder) read(ctx context.Context, events *vrouter.Events) error {
	for {
		all, err := events.Read(batch)
		if errors.Is(err, vrouter.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		named, logged, err := r.name(ctx, all)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.log.Warn("some recorded frames are lost", "error", err)
			continue
		}
		r.take(named)
		r.keepLogged(logged)
	}
}

// take keeps records for those who ask, and exports them.
func (r *Recorder) take(all []api.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent.add(all)
	for i := range all {
		r.options.Export.Take(all[i])
	}
}

// Events answers with the records of frames after the one that the question
// names; to ask keeps recording on for a while.
func (r *Recorder) Events(_ context.Context, query string) (api.Table, error) {
	q, err := api.ParseRecordQuestion(query)
	if err != nil {
		return api.Table{}, err
	}
	now := time.Now()
	r.mu.Lock()
	r.watched = now.Add(watchFor)
	all := []api.Record{r.recent.here(r.options.Host, now)}
	if q.Since > 0 {
		all = r.pastEvents(q, now)
	} else if q.After != 0 && q.After <= r.recent.sequence { // else of before a clock was set back
		all = r.recent.after(q, r.options.Host, now)
	}
	r.mu.Unlock()
	r.hurry()
	return api.RecordsTable(all)
}

// hurry makes what is wanted now be so soon.
func (r *Recorder) hurry() {
	select {
	case r.wake <- struct{}{}:
	default: // set already
	}
}

// name turns events into records: of frames, and of what rules log.
func (r *Recorder) name(ctx context.Context, all []vrouter.Event) (named, logged []api.Record, err error) {
	devices, err := r.options.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	at := func(of []api.Record, e *vrouter.Event) []api.Record {
		for i := range of {
			of[i].Host, of[i].Interface = r.options.Host, devices[e.Ifindex]
		}
		return of
	}
	err = look(ctx, r.loop, func(d directory) {
		for i := range all {
			if e := &all[i]; e.Kind == vrouter.EventLogged {
				logged = append(logged, at(loggedOf(e, d), e)...)
			} else {
				named = append(named, at([]api.Record{recordOf(e, d)}, e)...)
			}
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("name recorded frames: %w", err)
	}
	return named, logged, nil
}
