// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

const (
	// queued is how many records wait for one that takes them; more are left out.
	queued = 16384
	// gathered is how many are handed over at once, at the latest after gatherFor.
	gathered  = 512
	gatherFor = time.Second
	// retryPause is the wait before a sink that failed is tried again. Records
	// that come meanwhile wait as long as there is room.
	retryPause = 5 * time.Second
)

// sink takes records. What it could not take it is given again.
type sink interface {
	name() string
	kind() string // a word for metrics
	// write takes all of them or fails. It may leave out what its form cannot say.
	write(ctx context.Context, all []api.Record) (leftOut int, err error)
	close() error
}

// feed is one sink with its queue and its counts.
type feed struct {
	sink    sink
	queue   chan api.Record
	taken   atomic.Uint64
	leftOut atomic.Uint64 // no room in the queue, or the sink has no form for them
	failed  atomic.Uint64 // not taken when the agent ended
}

// Exporter hands records that pass a filter to sinks, each by its own queue: one
// that hangs does not hold up the others, nor those that record.
type Exporter struct {
	feeds []*feed
	only  Filter
	kinds vrouter.Recording
	log   *slog.Logger
}

// Take queues a record for every sink; it never waits.
func (x *Exporter) Take(r api.Record) {
	if x == nil || !x.wants(&r) {
		return
	}
	for _, f := range x.feeds {
		select {
		case f.queue <- r:
		default:
			f.leftOut.Add(1)
		}
	}
}

// wants tells whether a record is to be exported: while somebody asks more is
// recorded, and what rules log always is.
func (x *Exporter) wants(r *api.Record) bool {
	kind, ofFrames := map[string]bool{
		api.RecordDrop: x.kinds.Drops, api.RecordFirst: x.kinds.First, api.RecordLog: x.kinds.Logged, api.RecordAudit: x.kinds.Logged,
	}[r.Record]
	return (kind || !ofFrames) && x.only.Matches(r)
}

// Run feeds the sinks until the context ends, and then hands over what waits if
// that takes no time.
func (x *Exporter) Run(ctx context.Context) {
	var group errgroup.Group
	for _, f := range x.feeds {
		group.Go(func() error { f.run(ctx, x.log); return nil })
	}
	_ = group.Wait() // they return nothing
}

func (f *feed) run(ctx context.Context, log *slog.Logger) {
	defer f.sink.close()
	var waiting []api.Record
	well := true
	for ctx.Err() == nil {
		waiting = f.gather(ctx, waiting)
		if len(waiting) == 0 {
			continue
		}
		leftOut, err := f.sink.write(ctx, waiting)
		if err == nil {
			if !well {
				log.Info("records are taken again", "server", f.sink.name())
			}
			f.count(len(waiting), leftOut)
			waiting, well = nil, true
			continue
		}
		if well && ctx.Err() == nil {
			log.Warn("records are not taken; trying again", "server", f.sink.name(), "error", err, "retry", retryPause)
		}
		well = false
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
	f.last(waiting)
}

// gather waits for a record, and for more that come soon.
func (f *feed) gather(ctx context.Context, waiting []api.Record) []api.Record {
	if len(waiting) == 0 {
		select {
		case <-ctx.Done():
			return nil
		case r := <-f.queue:
			waiting = append(waiting, r)
		}
	}
	enough := time.After(gatherFor)
	for len(waiting) < gathered {
		select {
		case <-ctx.Done():
			return waiting
		case r := <-f.queue:
			waiting = append(waiting, r)
		case <-enough:
			return waiting
		}
	}
	return waiting
}

// last hands over what still waits when the agent ends.
func (f *feed) last(waiting []api.Record) {
	for len(f.queue) > 0 && len(waiting) < queued {
		waiting = append(waiting, <-f.queue)
	}
	if len(waiting) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), gatherFor)
	defer cancel()
	leftOut, err := f.sink.write(ctx, waiting)
	if err != nil {
		f.failed.Add(uint64(len(waiting)))
		return
	}
	f.count(len(waiting), leftOut)
}

func (f *feed) count(all, leftOut int) {
	f.taken.Add(uint64(all - leftOut))
	f.leftOut.Add(uint64(leftOut))
}

// Export says where records go.
type Export struct {
	Host string
	// File takes one JSON object a line; "-" is the standard output. It has at
	// most FileSize bytes, and then goes on as a new one while Files of the old are kept.
	File     string
	FileSize int64
	Files    int
	// Collector takes IPFIX: udp://host:port or tcp://host:port.
	Collector string
	// Enterprise has the numbers of the elements for names; 0: they are left out.
	Enterprise uint32
	Only       Filter
	Kinds      vrouter.Recording // of frames, what is exported
}

// NewLog returns what keeps a file of what rules log, made when there is something.
func NewLog(path string, size int64, files int, log *slog.Logger) *Exporter {
	return &Exporter{
		feeds: []*feed{{sink: &file{path: path, max: size, kept: files, of: "policy-log"}, queue: make(chan api.Record, queued)}},
		kinds: vrouter.Recording{Logged: true}, log: log,
	}
}

// NewExporter opens what can be opened now; a collector is reached later.
func NewExporter(e Export, log *slog.Logger) (*Exporter, error) {
	x := &Exporter{only: e.Only, kinds: e.Kinds, log: log}
	add := func(s sink) { x.feeds = append(x.feeds, &feed{sink: s, queue: make(chan api.Record, queued)}) }
	if e.File != "" {
		f, err := openFile(e.File, e.FileSize, e.Files)
		if err != nil {
			return nil, err
		}
		add(f)
	}
	if e.Collector != "" {
		at, ok := parseCollector(e.Collector)
		if !ok {
			return nil, fmt.Errorf("read the address of the collector: %q is not udp://host:port or tcp://host:port", e.Collector)
		}
		add(newIPFIX(at, e.Host, e.Enterprise))
	}
	return x, nil
}
