// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

const (
	// readTimeout bounds one request to etcd and the wait for the tables to
	// have what it says: well above a leader election (about 1 s).
	readTimeout = 5 * time.Second
	// defaultMaxTxnOps is etcd's own limit of operations in a transaction.
	defaultMaxTxnOps = 128
	// maxRequestBytes is etcd's default limit of a request, 1.5 MiB, less room
	// for its own framing.
	maxRequestBytes = 1<<20 + 1<<19 - 16<<10
)

// Options configure a Store.
type Options struct {
	// MaxTxnOps is etcd's --max-txn-ops; 0 means etcd's default of 128. The
	// embedded one allows more (embedded.MaxTxnOps).
	MaxTxnOps int
	// Local is etcd itself if it runs in this process.
	Local Local
	// DefaultNetworks makes the networks that every install has, unless this
	// store has had them before.
	DefaultNetworks bool
	// Log is where the store reports; nil means slog's default.
	Log *slog.Logger
	// Now is the clock of createdAt, updatedAt and expiry; nil means time.Now.
	Now func() time.Time
}

// Local is what an etcd in this process does itself, because the client made for
// it cannot.
type Local interface {
	// Snapshot reads a snapshot of the whole database.
	Snapshot(ctx context.Context) (io.ReadCloser, error)
	// Defragment gives space back that nothing is in.
	Defragment() error
}

// Store is the intent of one Weft, in etcd and in memory.
type Store struct {
	client    *clientv3.Client
	maxOps    int
	local     Local // nil: by the client
	log       *slog.Logger
	now       func() time.Time
	history   *history
	allocator *allocator
	quorum    quorum
	lease     writeLease
	rests     restLeases
	metrics   *metrics
	replays   chan struct{}          // holds one element for each replay that runs
	failed    chan error             // has the one error with which the store cannot go on
	stuck     atomic.Pointer[string] // why etcd did not take the last write; nil if it did
	behind    atomic.Pointer[string] // why the tables do not follow etcd; nil while they do

	// Goroutines of the store: the follower, one for each Follow, and one that
	// asks etcd for its revision. They end when ctx does; Close waits for them.
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// Open loads everything from etcd, writes the first objects if there are none,
// and follows etcd until Close. The client stays the caller's.
func Open(ctx context.Context, client *clientv3.Client, options Options) (*Store, error) {
	s := &Store{client: client, maxOps: options.MaxTxnOps, local: options.Local, log: options.Log, now: options.Now, allocator: newAllocator(), metrics: newMetrics(), replays: make(chan struct{}, replaysMax), failed: make(chan error, 1)}
	if s.maxOps == 0 {
		s.maxOps = defaultMaxTxnOps
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.bootstrap(ctx); err != nil {
		return nil, err
	}
	t, revision, err := load(ctx, client, 0)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := t.snapshot(revision).outdated(); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := s.learnAll(ctx, revision); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s.history = newHistory(t.snapshot(revision))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wait.Go(func() { s.follow(s.ctx, t, revision) })
	if options.DefaultNetworks {
		if err := s.addDefaults(ctx); err != nil {
			s.log.Warn("store: the default networks are not there, the next start tries again", "error", err)
		}
	}
	return s, nil
}

// Close ends the store's goroutines and waits for them.
func (s *Store) Close() {
	s.cancel()
	s.wait.Wait()
}

// Failed delivers an error if this controller is too old for the store: others
// have raised what it takes to take part. Until the process ends, it reads.
func (s *Store) Failed() <-chan error { return s.failed }

// Epoch orders revisions across restores from a backup: the pair (epoch,
// revision) only ever grows.
func (s *Store) Epoch() uint64 { return s.latest().epoch }

// Latest returns the newest state that is here already, which may be behind etcd.
func (s *Store) Latest() api.Snapshot { return s.latest() }

func (s *Store) latest() *Snapshot {
	snapshot, _ := s.history.latest()
	return snapshot
}

// Snapshot returns a state that holds every write which was committed anywhere
// before the call, and at least minRevision.
func (s *Store) Snapshot(ctx context.Context, minRevision int64) (api.Snapshot, error) {
	snapshot, err := s.linearizable(ctx, minRevision)
	if err != nil {
		return nil, err // a nil *Snapshot must not become a non-nil interface
	}
	return snapshot, nil
}

func (s *Store) linearizable(ctx context.Context, minRevision int64) (*Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	revision, err := s.quorum.revision(ctx, s)
	if err != nil {
		return nil, failed(err, "ask etcd for its revision")
	}
	return s.at(ctx, max(revision, minRevision))
}

// at waits until the tables have a revision.
func (s *Store) at(ctx context.Context, revision int64) (*Snapshot, error) {
	for {
		snapshot, changed := s.history.latest()
		if snapshot.revision >= revision {
			return snapshot, nil
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return nil, api.Errorf(api.CodeUnavailable, "wait for revision %d: the store is closed", revision)
		case <-ctx.Done():
			return nil, api.Errorf(api.CodeTimeout, "wait for revision %d: this controller has only %d of etcd so far%s; try again, or ask another controller", revision, snapshot.revision, s.whyBehind())
		}
	}
}

// Stuck says why etcd did not take the last write of this controller, or "".
// Reads may be well all the same.
func (s *Store) Stuck() string {
	if cause := s.stuck.Load(); cause != nil {
		return *cause
	}
	return ""
}

// wrote notes what became of an attempt to write.
func (s *Store) wrote(err error) {
	if err == nil {
		s.stuck.Store(nil)
		return
	}
	cause := err.Error()
	s.stuck.Store(&cause)
}

// whyBehind says in brackets what keeps the tables from following etcd, if that
// is known.
func (s *Store) whyBehind() string {
	if cause := s.behind.Load(); cause != nil {
		return " (" + *cause + ")"
	}
	return ""
}

// publish makes a snapshot the newest. Only the follower calls it.
func (s *Store) publish(snapshot *Snapshot, events []api.Event) {
	if err := snapshot.outdated(); err != nil {
		select {
		case s.failed <- err:
		default: // said already
		}
	}
	s.history.add(snapshot, events, sightings(s.latest(), snapshot, events))
}

// Follow returns a channel that always has the newest state the reader has not
// seen yet; states in between are left out, and so are revisions that changed
// no object and no status. A state's revision is that of its last change: equal
// states have equal revisions, whichever controller reads them. Only when
// addresses cease to rest a state comes under the revision of the one before.
// The channel closes when ctx or the store ends.
func (s *Store) Follow(ctx context.Context) <-chan api.Snapshot {
	out := make(chan api.Snapshot)
	s.wait.Go(func() {
		defer close(out)
		seen, rested := int64(-1), int64(-1)
		for {
			snapshot, changed := s.history.latest()
			var send chan api.Snapshot
			if snapshot.changed > seen || snapshot.rested > rested {
				send = out
			}
			select {
			case send <- snapshot.followed(s.history):
				seen, rested = snapshot.changed, snapshot.rested
			case <-changed:
			case <-ctx.Done():
				return
			case <-s.ctx.Done():
				return
			}
		}
	})
	return out
}

// quorum shares one linearizable read of etcd's revision among all who wait
// for one at the same time. A reader never gets one that began before it asked.
type quorum struct {
	// mu guards everything that follows.
	mu      sync.Mutex
	next    *round // the read that has not begun yet; nil if nobody waits
	running bool
}

type round struct {
	done     chan struct{}
	revision int64
	err      error
}

func (q *quorum) revision(ctx context.Context, s *Store) (int64, error) {
	q.mu.Lock()
	if q.next == nil {
		q.next = &round{done: make(chan struct{})}
	}
	r := q.next
	if !q.running {
		q.running = true
		s.wait.Go(func() { q.run(s) })
	}
	q.mu.Unlock()
	select {
	case <-r.done:
		return r.revision, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run reads until nobody waits any more.
func (q *quorum) run(s *Store) {
	for {
		q.mu.Lock()
		r := q.next
		q.next = nil
		q.running = r != nil
		q.mu.Unlock()
		if r == nil {
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
		reply, err := s.client.Get(ctx, keyEpoch, clientv3.WithCountOnly())
		cancel()
		if r.err = err; err == nil {
			r.revision = reply.Header.Revision
			s.metrics.etcd.Store(r.revision)
		}
		close(r.done)
	}
}

// textFull says what a full etcd means, and what to do if it stays so.
const textFull = "etcd is full and takes no writes; the controller makes room if it can: try again in a minute, else raise etcd's quota (GET /v1/store shows sizes)"

// failed turns an error of etcd into one of the API.
func failed(err error, format string, args ...any) error {
	var known *api.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, rpctypes.ErrNoSpace) {
		return api.Errorf(api.CodeUnavailable, "%s: %s", fmt.Sprintf(format, args...), textFull)
	}
	code := api.CodeUnavailable
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		code = api.CodeTimeout
	}
	return api.Errorf(code, "%s: %v", fmt.Sprintf(format, args...), err)
}
