// SPDX-License-Identifier: Apache-2.0

// Package control runs the way from intent to the hosts: it follows the
// objects, derives from them what each host must have, hands that to the hosts
// and writes back what became of it. What it computes is pure and lives in the
// packages below; this one owns the goroutines.
package control

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/health"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/views"
)

const (
	// derivePause is how long changes are gathered after a plan before the next
	// one is made.
	derivePause = 5 * time.Millisecond
	// statusPause is how long changes are gathered before statuses are
	// computed: a burst of reports makes one round.
	statusPause = 50 * time.Millisecond
	// statusRetry is how long after a failed write the next round comes, not
	// sooner and not later.
	statusRetry = 2 * time.Second
	// usagePause is how often, at most, the addresses of subnets are counted
	// and what changed is written: one write a subnet, however many addresses
	// came and went.
	usagePause = 5 * time.Second
	// connectGrace is how long hosts have after a start to connect before
	// those that did not are reported as not connected.
	connectGrace = 30 * time.Second
)

// Intent is where objects come from.
type Intent interface {
	// Follow delivers the present snapshot and then newer ones until ctx ends,
	// when it closes the channel. It is driven by level: a reader that is slow
	// gets the newest snapshot, not every one. One of the same revision as that
	// before has the same objects; only which addresses rest is another matter.
	Follow(ctx context.Context) <-chan api.Snapshot
}

// Changes is a snapshot that knows what led to it from one that was followed
// before; the store's does. Where it does not, everything is derived again.
type Changes interface {
	Since(earlier api.Snapshot) (events []api.Event, known bool)
}

// StatusWriter is where statuses go.
type StatusWriter interface {
	PutStatus(ctx context.Context, kind api.Kind, uuid string, status any) error
}

// Peers is how the controllers of one Weft work together.
type Peers interface {
	// Lead takes part until ctx ends. Whenever this controller is the one to
	// write statuses it calls work, with a context that ends with that and a
	// writer that does too.
	Lead(ctx context.Context, work func(ctx context.Context, to StatusWriter))
	// Generation counts the sessions under which entries are written, and is 0
	// while there is none. Entries of earlier ones are lost.
	Generation() int64
	// Claim writes an entry, Update does unless another controller has claimed
	// it since, Drop removes it if it is ours.
	Claim(ctx context.Context, key string, value []byte) error
	Update(ctx context.Context, key string, value []byte) (ours bool, err error)
	Drop(ctx context.Context, key string) error
	// Others is what other controllers tell, by key, and Changed says when to
	// look again, to one reader.
	Others() map[string][]byte
	Changed() <-chan struct{}
	// Name is how people call this controller.
	Name() string
}

// Options are what a service needs.
type Options struct {
	Intent Intent
	Status StatusWriter
	// Peers are the other controllers; nil when there cannot be any.
	Peers Peers
	// Name is how this controller is called where there are no peers.
	Name string
	// Streams and API are where hosts and other controllers reach this one,
	// each host:port.
	Streams, API []string
	// Ask asks another controller, at its API's addresses, for a table of a host
	// whose stream it holds; it must not pass the question on. nil: cannot.
	Ask func(ctx context.Context, addresses []string, host, table string) (api.Table, error)
	// AskAudit asks another controller for the entries of its own audit.
	AskAudit func(ctx context.Context, addresses []string, q api.AuditQuery) (api.Audit, error)
	// Commit writes addresses reserved for hosts; nil: there are none.
	Commit Commit
	// Epoch of the store; it rises when the store is restored from a backup.
	Epoch uint64
	// Listeners for agents; the service closes them.
	Listeners []net.Listener
	// TLS has the controller's certificate and, as ClientCAs, the CA of the hosts'.
	TLS *tls.Config
	// Authority certifies hosts anew; nil: nobody does.
	Authority stream.Authority
	Log       *slog.Logger
}

// Service is control at work.
type Service struct {
	options Options
	hosts   *stream.Server
	work    sync.WaitGroup
	cancel  context.CancelFunc
	newest  atomic.Pointer[input] // what statuses are computed from; nil at first
	due     chan struct{}         // holds at most one token: statuses may have changed
	news    chan struct{}         // holds at most one token: peers may have to be told

	done   chan struct{} // closed at the first failure
	failed sync.Once
	err    error // read after done is closed
}

// input is a snapshot and what was derived from it.
type input struct {
	snapshot api.Snapshot
	plan     *placement.Plan
}

// New makes a service; Start starts it.
func New(o Options) *Service {
	s := &Service{
		options: o,
		cancel:  func() {}, // until Start
		due:     make(chan struct{}, 1),
		news:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	s.hosts = stream.New(stream.Options{TLS: o.TLS, Authority: o.Authority, Epoch: o.Epoch, Log: o.Log, Name: o.name(), States: s.hostStates, Ask: func(ctx context.Context, host, table string) (api.Table, error) {
		return (&everywhere{Server: s.hosts, service: s}).Table(ctx, host, table)
	}})
	s.introduce()
	return s
}

// Views answers questions about what the service computed and what hosts did with it.
func (s *Service) Views() *views.Views { return views.New(&everywhere{Server: s.hosts, service: s}) }

// Metrics are what a process that runs the service exports of it.
func (s *Service) Metrics() []prometheus.Collector {
	return append(s.hosts.Metrics(), s.holdMetrics()...)
}

// Ready says why the service is of no use to hosts yet, or nil.
func (s *Service) Ready() error {
	if s.newest.Load() == nil {
		return errors.New("nothing has been derived from the objects yet")
	}
	return nil
}

// Recheck ends the streams of hosts whose certificates are good no more.
func (s *Service) Recheck() { s.hosts.Recheck() }

// Start starts the service's goroutines. It is called once; Stop ends them.
func (s *Service) Start(ctx context.Context) {
	ctx, s.cancel = context.WithCancel(ctx)
	s.work.Go(func() { s.follow(ctx) })
	s.work.Go(func() { s.notice(ctx) })
	if s.options.Peers == nil {
		s.work.Go(func() { s.writeStatuses(ctx, s.options.Status) })
	} else {
		s.work.Go(func() { s.options.Peers.Lead(ctx, s.writeStatuses) })
		s.work.Go(func() { s.tell(ctx) })
	}
	for _, l := range s.options.Listeners {
		s.work.Go(func() {
			if err := s.hosts.Serve(l); err != nil {
				s.fail(err)
			}
		})
	}
}

// Stop ends the service and returns when all its goroutines have. Hosts keep
// what they have and connect again to whoever is there.
func (s *Service) Stop() {
	s.cancel()
	s.hosts.Close()
	s.work.Wait()
}

// Done is closed when the service cannot go on by itself; Err then says why.
func (s *Service) Done() <-chan struct{} { return s.done }

// Err is why the service cannot go on. It is valid once Done is closed.
func (s *Service) Err() error { return s.err }

func (s *Service) fail(err error) {
	s.failed.Do(func() {
		s.err = err
		close(s.done)
	})
}

// follow derives from every snapshot and gives the outcome to the hosts.
func (s *Service) follow(ctx context.Context) {
	var plan *placement.Plan
	for snapshot := range s.options.Intent.Follow(ctx) {
		if in := s.newest.Load(); in != nil && in.snapshot.Revision() == snapshot.Revision() {
			s.newest.Store(&input{snapshot, in.plan}) // nothing else follows from it
			continue
		}
		began := time.Now()
		policies, checks, balances := s.derive(snapshot)
		plan = placement.With(s.options.Epoch, policies, checks, balances, plan)
		s.hosts.Publish(plan)
		s.newest.Store(&input{snapshot, plan})
		poke(s.due)
		poke(s.news)
		took := time.Since(began)
		s.options.Log.Debug("derived", "revision", plan.Version.Revision, "took", took)
		if !pause(ctx, max(derivePause, took)) { // others need the processor too
			return
		}
	}
	if ctx.Err() == nil {
		s.fail(errors.New("follow objects: the source ended; start the controller again"))
	}
}

// derive computes what follows from a snapshot, from what is known already.
func (s *Service) derive(snapshot api.Snapshot) (*policy.Derived, *health.Derived, *balance.Derived) {
	changes, ok := snapshot.(Changes)
	if in := s.newest.Load(); ok && in != nil {
		if events, known := changes.Since(in.snapshot); known {
			routes := routing.Update(in.plan.Derived, snapshot, events)
			return policy.Update(in.plan.Policy, routes, events), health.Update(in.plan.Health, routes, events), balance.Update(in.plan.Balance, routes, events)
		}
	}
	routes := routing.Derive(snapshot)
	return policy.Derive(routes), health.Derive(routes), balance.Derive(routes)
}

// notice passes on that something about hosts has changed, here or elsewhere.
func (s *Service) notice(ctx context.Context) {
	var elsewhere <-chan struct{}
	if s.options.Peers != nil {
		elsewhere = s.options.Peers.Changed()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hosts.Changed():
		case <-elsewhere:
			s.introduce()
		}
		poke(s.due)
		poke(s.news)
	}
}

// poke puts a token where none is.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// writeStatuses writes what changed for the objects' readers, a round at a
// time, until ctx ends.
func (s *Service) writeStatuses(ctx context.Context, to StatusWriter) {
	writer, tracker := status.NewWriter(to), status.Tracker{}
	grace := time.NewTimer(connectGrace)
	defer grace.Stop()
	poke(s.due) // a term begins with a round
	usage := time.NewTicker(usagePause)
	defer usage.Stop()
	moved := time.NewTimer(0)
	moved.Stop() // until a host is on its way, or reservations are
	moving, keeps := movers{}, newKeepers(s)
	claimAll, count := false, false
	rest := statusPause
	var took time.Duration   // by the last round, which in a large world is long
	var counted api.Snapshot // nil: to be counted again
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.due:
		case <-moved.C:
		case <-grace.C:
			claimAll = true
		case <-usage.C:
			newest := s.newest.Load()
			count = newest != nil && newest.snapshot != counted
			if !count {
				continue
			}
		}
		if !pause(ctx, max(rest, 4*took)) {
			return
		}
		rest = statusPause
		in := s.newest.Load()
		if in == nil {
			continue
		}
		now := time.Now()
		states := s.hostStates()
		again := cmp.Or(moving.hold(states, now), reserveRetry)
		changes := tracker.Changes(status.Input{
			Snapshot: in.snapshot, Plan: in.plan, Hosts: states, ClaimAll: claimAll, Usage: count, Now: now,
		})
		took = time.Since(now)
		if count {
			count, counted = false, in.snapshot
		}
		if err := writer.Write(ctx, changes, now); err != nil && ctx.Err() == nil {
			s.options.Log.Warn("statuses are not written, will try again", "error", fmt.Errorf("write %d statuses: %w", len(changes), err))
			rest = statusRetry // whatever changes meanwhile: the store is not well
			poke(s.due)
			counted = nil
			tracker.Forget()
		}
		moved.Reset(min(again, keeps.round(ctx, in, states, now)))
	}
}

// pause waits, and tells whether ctx is still going on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
