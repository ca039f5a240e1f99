// SPDX-License-Identifier: Apache-2.0

// Package peers lets the controllers of one Weft work together through etcd:
// one of them is elected for work that must have one doer, and each tells the
// others what only it knows, in entries that go when it dies.
package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/weft-network/weft/store"
)

const (
	// leaseTTL is how long a controller that says nothing is believed to live:
	// well above an election of etcd's leader (about 1 s) and a pause of the
	// process, and not longer than its hosts take to be found missing (15 s).
	leaseTTL = 10 * time.Second
	// requestTimeout bounds one request to etcd.
	requestTimeout = 5 * time.Second
	// resignTimeout bounds saying at the end that somebody else may lead; it is
	// short since the lease says the same a little later.
	resignTimeout = time.Second
	// retryPause is how long to wait after a failure, doubled up to retryMax.
	retryPause = 100 * time.Millisecond
	retryMax   = 5 * time.Second
)

// ErrNoSession says that this controller has no lease in etcd at the moment.
var ErrNoSession = errors.New("this controller has no lease in etcd at the moment")

// Peers is one controller's part.
type Peers struct {
	client  *clientv3.Client
	name    string
	work    string
	log     *slog.Logger
	changed chan struct{} // holds at most one token

	// mu guards everything that follows.
	mu         sync.Mutex
	lease      clientv3.LeaseID // of the present session; 0 when there is none
	generation int64            // counts sessions
	entries    map[string]entry // of all controllers, by key without prefix
}

type entry struct {
	value []byte
	lease clientv3.LeaseID
}

// New prepares the part of a controller. Others show its name to people, with a
// word that tells it from another of the same name or from its own former life.
// work names what the leader is elected for. Lead begins it.
func New(client *clientv3.Client, name, work string, log *slog.Logger) *Peers {
	return &Peers{client: client, name: name + "/" + uuid.NewString()[:8], work: work, log: log, changed: make(chan struct{}, 1), entries: map[string]entry{}}
}

// Name is how people call this controller.
func (p *Peers) Name() string { return p.name }

// Lead takes part until ctx ends. Whenever this controller is elected it calls
// lead, whose context ends with the term; that must return soon then.
func (p *Peers) Lead(ctx context.Context, lead func(context.Context, store.Term)) {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { p.follow(ctx) })
	for pause := retryPause; ; {
		began := time.Now()
		err := p.session(ctx, lead)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > leaseTTL {
			pause = retryPause
		}
		p.log.Warn("peers: the session with etcd ended, beginning another", "error", err, "pause", pause)
		if !pauseFor(ctx, pause) {
			return
		}
		pause = min(2*pause, retryMax)
	}
}

// session holds one lease, and under it waits to be elected and leads.
func (p *Peers) session(ctx context.Context, lead func(context.Context, store.Term)) error {
	grant, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	reply, err := p.client.Grant(grant, int64(leaseTTL/time.Second))
	if err != nil {
		return fmt.Errorf("get a lease: %w", err)
	}
	// The lease is left to expire when the process ends, so that hosts have time
	// to appear at another controller before they count as gone.
	s, err := concurrency.NewSession(p.client, concurrency.WithLease(reply.ID), concurrency.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("keep the lease: %w", err)
	}
	defer s.Orphan()
	p.begin(reply.ID)
	defer p.begin(0)
	term, end := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer end()
	var wait sync.WaitGroup
	defer wait.Wait() // after end, which frees it
	defer end()
	wait.Go(func() {
		select {
		case <-s.Done():
			end()
		case <-term.Done():
		}
	})
	e := concurrency.NewElection(s, store.PrefixLeader+p.work)
	if err := e.Campaign(term, p.name); err != nil {
		return fmt.Errorf("wait to be elected: %w", err)
	}
	p.log.Info("this controller leads", "work", p.work)
	lead(term, store.Term{Key: e.Key(), Revision: e.Rev()})
	p.log.Info("this controller leads no more", "work", p.work)
	resign, stop := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer stop()
	if err := e.Resign(resign); err != nil {
		return fmt.Errorf("resign: %w", err)
	}
	return errors.New("the term ended")
}

// begin notes the session that is present from now on; 0 means none.
func (p *Peers) begin(lease clientv3.LeaseID) {
	p.mu.Lock()
	p.lease = lease
	if lease != 0 {
		p.generation++
	}
	p.mu.Unlock()
	p.poke()
}

// Generation counts this controller's sessions, and is 0 while there is none:
// entries of earlier ones are lost and must be told anew.
func (p *Peers) Generation() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease == 0 {
		return 0
	}
	return p.generation
}

// Changed delivers a token after an entry of any controller or the session
// changed. It is for one reader.
func (p *Peers) Changed() <-chan struct{} { return p.changed }

func (p *Peers) poke() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Claim writes an entry, also one that another controller has written.
func (p *Peers) Claim(ctx context.Context, key string, value []byte) error {
	_, err := p.put(ctx, key, value, false)
	return err
}

// Update writes an entry unless another controller has claimed it since; it
// reports whether it is ours.
func (p *Peers) Update(ctx context.Context, key string, value []byte) (ours bool, err error) {
	return p.put(ctx, key, value, true)
}

func (p *Peers) put(ctx context.Context, key string, value []byte, ours bool) (bool, error) {
	lease, err := p.present()
	if err != nil {
		return false, fmt.Errorf("tell the other controllers of %s: %w", key, err)
	}
	key = store.PrefixPeer + key
	var compare []clientv3.Cmp
	if ours {
		compare = append(compare, clientv3.Compare(clientv3.LeaseValue(key), "=", lease))
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	reply, err := p.client.Txn(ctx).If(compare...).
		Then(clientv3.OpPut(key, string(value), clientv3.WithLease(lease))).
		Else(clientv3.OpGet(key, clientv3.WithCountOnly())).
		Commit()
	if err == nil && !reply.Succeeded && reply.Responses[0].GetResponseRange().Count == 0 {
		err = ErrNoSession // nobody has claimed it: it went with our lease
	}
	if err != nil {
		return false, fmt.Errorf("tell the other controllers of %s: %w", key, err)
	}
	return reply.Succeeded, nil
}

// Drop removes an entry if it is ours.
func (p *Peers) Drop(ctx context.Context, key string) error {
	lease, err := p.present()
	if err != nil {
		return fmt.Errorf("tell the other controllers that %s is gone: %w", key, err)
	}
	key = store.PrefixPeer + key
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = p.client.Txn(ctx).If(clientv3.Compare(clientv3.LeaseValue(key), "=", lease)).Then(clientv3.OpDelete(key)).Commit()
	if err != nil {
		return fmt.Errorf("tell the other controllers that %s is gone: %w", key, err)
	}
	return nil
}

func (p *Peers) present() (clientv3.LeaseID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease == 0 {
		return 0, ErrNoSession
	}
	return p.lease, nil
}

// Others returns what other controllers tell, by key. Values are read only.
func (p *Peers) Others() map[string][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	others := map[string][]byte{}
	for key, e := range p.entries {
		if e.lease != p.lease {
			others[key] = e.value
		}
	}
	return others
}

// follow keeps the entries equal to etcd until ctx ends.
func (p *Peers) follow(ctx context.Context) {
	for pause := retryPause; ; {
		err := p.watch(ctx, func() { pause = retryPause })
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("peers: the watch of etcd broke, reading again", "error", err, "pause", pause)
		if !pauseFor(ctx, pause) {
			return
		}
		pause = min(2*pause, retryMax)
	}
}

func (p *Peers) watch(ctx context.Context, read func()) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	first, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	all, err := p.client.Get(first, store.PrefixPeer, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("read what controllers tell: %w", err)
	}
	entries := map[string]entry{}
	for _, kv := range all.Kvs {
		entries[strings.TrimPrefix(string(kv.Key), store.PrefixPeer)] = entry{kv.Value, clientv3.LeaseID(kv.Lease)}
	}
	p.mu.Lock()
	p.entries = entries
	p.mu.Unlock()
	p.poke()
	read()
	for reply := range p.client.Watch(ctx, store.PrefixPeer, clientv3.WithPrefix(), clientv3.WithRev(all.Header.Revision+1)) {
		if err := reply.Err(); err != nil {
			return fmt.Errorf("watch what controllers tell: %w", err)
		}
		p.take(reply.Events)
	}
	return errors.New("watch what controllers tell: the stream ended")
}

func (p *Peers) take(events []*clientv3.Event) {
	p.mu.Lock()
	for _, e := range events {
		key := strings.TrimPrefix(string(e.Kv.Key), store.PrefixPeer)
		if e.Type == clientv3.EventTypeDelete {
			delete(p.entries, key)
		} else {
			p.entries[key] = entry{e.Kv.Value, clientv3.LeaseID(e.Kv.Lease)}
		}
	}
	p.mu.Unlock()
	p.poke()
}

// pauseFor waits and tells whether ctx is still alive.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
