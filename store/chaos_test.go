// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/store/external"
)

var (
	chaosTime = flag.Duration("chaos", 20*time.Second, "how long TestChaos breaks things")
	chaosSeed = flag.Uint64("chaos-seed", 0, "seed of TestChaos; 0 takes the time")
)

const (
	chaosMembers     = 3
	chaosControllers = 3
	chaosWriters     = 32
)

// chaos is an etcd cluster and controllers as processes of their own, with
// links between them that can be broken.
type chaos struct {
	t           *testing.T
	members     []*chaosChild
	controllers []*chaosChild
	peers       []*link // to the member, from other members
	clients     []*link // to a member from a controller
	direct      []string
	client      *clientv3.Client // past the links
	stop        chan struct{}    // closed when nothing is to be broken any more
	history     *chaosHistory
	value       atomic.Int64
}

// TestChaos lets 32 writers write through three controllers to an etcd of three
// members while all of these are killed, paused, cut off and slowed down. What
// the writers saw must be possible in one order of all events, what was
// acknowledged must be there, and all keys must be right.
func TestChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d, %v (run again with -chaos-seed and -chaos)", seed, *chaosTime)
	c := newChaos(t)
	c.prepare()
	deadline := time.Now().Add(*chaosTime)
	var breakers, writers sync.WaitGroup
	broken := make([]map[string]int, 2)
	for n, actions := range [][]chaosAction{c.processActions(), c.networkActions()} {
		breakers.Go(func() { broken[n] = c.breakThings(rand.New(rand.NewPCG(seed, uint64(100+n))), actions) })
	}
	var all []*chaosWriter
	for n := range chaosWriters {
		w := &chaosWriter{chaos: c, number: n, random: rand.New(rand.NewPCG(seed, uint64(n))), deadline: deadline}
		all = append(all, w)
		writers.Go(w.run)
	}
	timer := time.NewTimer(*chaosTime)
	<-timer.C
	close(c.stop)
	breakers.Wait()
	c.heal()
	writers.Wait()
	t.Logf("broken: %v", broken)
	c.history.check(t)
	c.checkEnd(all)
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	c := &chaos{t: t, stop: make(chan struct{}), history: &chaosHistory{start: time.Now()}}
	var roles []chaosRole
	var cluster []string
	for n := range chaosMembers {
		r := chaosRole{Member: true, Name: fmt.Sprintf("m%d", n), Dir: filepath.Join(t.TempDir(), "etcd"), Client: "http://" + freeAddress(t), Peer: "http://" + freeAddress(t)}
		k := newLink(t, strings.TrimPrefix(r.Peer, "http://"))
		r.Advertise = k.url()
		c.peers = append(c.peers, k)
		c.direct = append(c.direct, r.Client)
		cluster = append(cluster, r.Name+"="+r.Advertise)
		roles = append(roles, r)
	}
	for _, r := range roles {
		r.Cluster = strings.Join(cluster, ",")
		c.members = append(c.members, &chaosChild{role: r})
	}
	for n := range chaosControllers {
		r := chaosRole{Name: fmt.Sprintf("c%d", n)}
		for _, target := range c.direct {
			k := newLink(t, strings.TrimPrefix(target, "http://"))
			c.clients = append(c.clients, k)
			r.Endpoints = append(r.Endpoints, k.url())
		}
		c.controllers = append(c.controllers, &chaosChild{role: r})
	}
	t.Cleanup(func() {
		for _, p := range append(append([]*chaosChild{}, c.members...), c.controllers...) {
			p.signal(syscall.SIGKILL)
			c.await(p.role.Name+" has ended", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.command == nil })
		}
	})
	for _, p := range c.members {
		check(t, p.start())
	}
	etcd, err := external.Connect(t.Context(), external.Config{Endpoints: c.direct}, slog.New(slog.DiscardHandler))
	check(t, err)
	t.Cleanup(etcd.Close)
	c.client = etcd.Client()
	for _, p := range c.controllers {
		c.revive(p)
	}
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// freeAddress is one that nobody listens on at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

// await polls a fact of another process.
func (c *chaos) await(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.After(time.Minute)
	for tick := time.Tick(20 * time.Millisecond); !ok(); {
		select {
		case <-tick:
		case <-deadline:
			c.t.Errorf("waited for: %s", what)
			return
		}
	}
}

// revive runs a process until it serves.
func (c *chaos) revive(p *chaosChild) {
	c.t.Helper()
	c.await(p.role.Name+" serves", func() bool {
		if err := p.start(); err != nil {
			c.t.Error(err)
			return true
		}
		return p.serves()
	})
}

// heal makes everything whole.
func (c *chaos) heal() {
	c.t.Helper()
	for _, k := range append(append([]*link{}, c.peers...), c.clients...) {
		k.set(linkState{})
	}
	for _, p := range append(append([]*chaosChild{}, c.members...), c.controllers...) {
		p.signal(syscall.SIGCONT)
		c.revive(p)
	}
	c.await("etcd has a leader", func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		defer cancel()
		_, err := c.client.Get(ctx, keyEpoch)
		return err == nil
	})
}

// chaosAction breaks something and repairs it.
type chaosAction struct {
	name string
	do   func(r *rand.Rand)
}

// breakThings breaks one thing after another, each once before any comes again,
// until it is told to stop.
func (c *chaos) breakThings(r *rand.Rand, actions []chaosAction) map[string]int {
	counts := map[string]int{}
	for {
		for _, n := range r.Perm(len(actions)) {
			if !c.last(r, 200, 1500) {
				return counts
			}
			counts[actions[n].name]++
			actions[n].do(r)
		}
	}
}

// last waits some milliseconds; it reports false, at once, when it is time to stop.
func (c *chaos) last(r *rand.Rand, from, to int) bool {
	timer := time.NewTimer(time.Duration(from+r.IntN(to-from)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.stop:
		return false
	}
}

// processActions kill and pause.
func (c *chaos) processActions() []chaosAction {
	kill := func(r *rand.Rand, p *chaosChild) {
		p.signal(syscall.SIGKILL)
		c.last(r, 100, 1000)
		c.revive(p)
	}
	pause := func(r *rand.Rand, p *chaosChild) {
		p.signal(syscall.SIGSTOP)
		c.last(r, 500, 3000)
		p.signal(syscall.SIGCONT)
	}
	return []chaosAction{
		{"a controller killed", func(r *rand.Rand) { kill(r, c.controllers[r.IntN(chaosControllers)]) }},
		{"a controller paused", func(r *rand.Rand) { pause(r, c.controllers[r.IntN(chaosControllers)]) }},
		{"a member killed", func(r *rand.Rand) { kill(r, c.members[r.IntN(chaosMembers)]) }},
		{"the leader killed", func(r *rand.Rand) { kill(r, c.members[c.leader()]) }},
		{"the leader paused", func(r *rand.Rand) { pause(r, c.members[c.leader()]) }},
		{"all members killed", func(r *rand.Rand) {
			for _, p := range c.members {
				p.signal(syscall.SIGKILL)
			}
			c.last(r, 100, 500)
			for _, p := range c.members {
				c.revive(p)
			}
		}},
	}
}

// networkActions cut, silence and slow down links, and compact what watches
// may still want to read.
func (c *chaos) networkActions() []chaosAction {
	during := func(r *rand.Rand, s linkState, links ...*link) {
		for _, k := range links {
			k.set(s)
		}
		c.last(r, 500, 2500)
		for _, k := range links {
			k.set(linkState{})
		}
	}
	return []chaosAction{
		{"a member cut off", func(r *rand.Rand) { during(r, linkState{cut: true}, c.peers[r.IntN(chaosMembers)]) }},
		{"the leader silent", func(r *rand.Rand) { during(r, linkState{silent: true}, c.peers[c.leader()]) }},
		{"all members silent", func(r *rand.Rand) { during(r, linkState{silent: true}, c.peers...) }},
		{"slow etcd", func(r *rand.Rand) { during(r, linkState{delay: 100 * time.Millisecond}, c.peers...) }},
		{"a controller cut off", func(r *rand.Rand) {
			n := r.IntN(chaosControllers) * chaosMembers
			during(r, linkState{cut: r.IntN(2) == 0, silent: true}, c.clients[n:n+chaosMembers]...)
		}},
		{"a controller at one member only", func(r *rand.Rand) {
			n := r.IntN(chaosControllers) * chaosMembers
			during(r, linkState{silent: true}, c.clients[n:n+chaosMembers-1]...)
		}},
		{"compaction", func(*rand.Rand) {
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
			defer cancel()
			if reply, err := c.client.Get(ctx, keyEpoch); err == nil {
				c.client.Compact(ctx, reply.Header.Revision) // fails while there is no leader
			}
		}},
	}
}

// leader is the number of etcd's leader, or of any member when nobody knows.
func (c *chaos) leader() int {
	for n, endpoint := range c.direct {
		ctx, cancel := context.WithTimeout(c.t.Context(), 200*time.Millisecond)
		status, err := c.client.Status(ctx, endpoint)
		cancel()
		if err == nil && status.Leader == status.Header.MemberId {
			return n
		}
	}
	return 0
}
