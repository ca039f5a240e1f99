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
	// kept is how many records of frames wait for those who ask.
	kept = 8192
	// answered is how many of them one answer has.
	answered = 2000
)

// Path is what is needed of the packet path; *vrouter.Datapath is one.
type Path interface {
	SetRecording(vrouter.Recording) error
	OpenEvents() (*vrouter.Events, error)
	EventCounts() (map[vrouter.EventKind]vrouter.EventCount, error)
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
	// Always is what is recorded also while nobody asks, Limits has the Interval,
	// Burst and OneOf of everything.
	Always, Limits vrouter.Recording
	// Interfaces returns the names of interfaces by index.
	Interfaces func() (map[int]string, error)
	// Sessions are told to Export, each at least so often while it goes on; 0: they are not.
	Sessions time.Duration
	// Export takes records besides; nil: nobody does.
	Export *Exporter
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

	mu       sync.Mutex // guards everything that follows
	watched  time.Time  // until then
	counted  time.Time  // until then
	recent   []api.Record
	sequence uint64
	lost     uint64
	setting  vrouter.Recording
	// recording is since when drops are recorded.
	recording time.Time
}

// New returns a recorder that records nothing before Run.
func New(path Path, loop Host, o Options, log *slog.Logger) *Recorder {
	// A sequence is never given twice, so that one who asks after a restart
	// goes on: nobody records a million frames a second.
	return &Recorder{options: o, path: path, loop: loop, log: log, wake: make(chan struct{}, 1), sequence: uint64(time.Now().UnixMicro()), past: ended{since: time.Now()}}
}

// Tables answer questions, by the names of the tables.
func (r *Recorder) Tables() map[string]func(context.Context, string) (api.Table, error) {
	return map[string]func(context.Context, string) (api.Table, error){
		api.HostTableEvents: r.Events, api.HostTableFlows: r.Flows,
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
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.read(ctx, events) })
	group.Go(func() error { r.tend(ctx); return nil })
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
	return errors.Join(group.Wait(), r.set(vrouter.Recording{}))
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
	want := r.options.Always
	want.Interval, want.Burst, want.OneOf = r.options.Limits.Interval, r.options.Limits.Burst, r.options.Limits.OneOf
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
	err := r.path.SetRecording(vrouter.Recording{})
	for {
		if err == nil {
			err = r.set(r.want(time.Now()))
		}
		if err == nil {
			err = r.noteLost()
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

func (r *Recorder) countLost() (lost uint64, err error) {
	counts, err := r.path.EventCounts()
	for _, c := range counts {
		lost += c.Limited + c.Unheard
	}
	return lost, err
}

// noteLost tells how many frames were not recorded.
func (r *Recorder) noteLost() error {
	lost, err := r.countLost()
	if err != nil || lost == r.lost {
		return err
	}
	r.take([]api.Record{{Time: time.Now(), Record: api.RecordLost, Host: r.options.Host, Lost: lost - r.lost}})
	r.lost = lost
	return nil
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
		named, err := r.name(ctx, all)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.log.Warn("some recorded frames are lost", "error", err)
			continue
		}
		r.take(named)
	}
}

// take keeps records for those who ask, and exports them.
func (r *Recorder) take(all []api.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range all {
		r.sequence++
		all[i].Sequence = r.sequence
		if r.options.Export != nil {
			r.options.Export.Take(all[i])
		}
	}
	r.recent = append(r.recent, all...)
	if over := len(r.recent) - kept; over > 0 {
		r.recent = append(r.recent[:0:0], r.recent[over:]...)
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
	all := []api.Record{{Sequence: r.sequence, Time: now, Record: api.RecordLost, Host: r.options.Host}}
	if q.Since > 0 {
		all = r.pastEvents(q, now)
	} else if q.After != 0 && q.After <= r.sequence { // else of before a clock was set back
		all = r.after(q)
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

// after returns what was recorded after a sequence. The first record says how
// many there were that are not kept any more.
func (r *Recorder) after(q api.RecordQuestion) []api.Record {
	first := api.Record{Sequence: q.After, Time: time.Now(), Record: api.RecordLost, Host: r.options.Host}
	all := []api.Record{first}
	if len(r.recent) > 0 && r.recent[0].Sequence > q.After+1 {
		all[0].Lost = r.recent[0].Sequence - q.After - 1
	}
	for i := range r.recent {
		e := &r.recent[i]
		if e.Sequence <= q.After {
			continue
		}
		all[0].Sequence = e.Sequence // also of those that do not match: nobody need look at them again
		if !q.Matches(e) {
			continue
		}
		if all = append(all, *e); len(all) > answered {
			break
		}
	}
	return all
}

// name turns events into records.
func (r *Recorder) name(ctx context.Context, all []vrouter.Event) ([]api.Record, error) {
	devices, err := r.options.Interfaces()
	if err != nil {
		return nil, err
	}
	named := make([]api.Record, len(all))
	err = look(ctx, r.loop, func(d directory) {
		for i := range all {
			named[i] = recordOf(&all[i], d)
			named[i].Host, named[i].Interface = r.options.Host, devices[all[i].Ifindex]
		}
	})
	if err != nil {
		return nil, fmt.Errorf("name recorded frames: %w", err)
	}
	return named, nil
}
