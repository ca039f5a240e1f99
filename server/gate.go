// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
)

// gate bounds something that requests hold while they run, in all and for each
// holder, so that one sender leaves room for the others.
type gate struct {
	what string // for the refusal
	all  int
	each int
	wait time.Duration // how long a request waits for room

	// mu guards everything that follows.
	mu    sync.Mutex
	held  map[string]int
	sum   int
	freed chan struct{} // closed when something is given back
}

func newGate(what string, all, each int, wait time.Duration) *gate {
	return &gate{what: what, all: all, each: each, wait: wait, held: map[string]int{}, freed: make(chan struct{})}
}

// enter takes some, waiting for it; leave gives it back.
func (g *gate) enter(ctx context.Context, holder string, n int) (leave func(), err error) {
	n = min(n, g.each)
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	for {
		freed, ok := g.take(holder, n)
		if ok {
			return sync.OnceFunc(func() { g.giveBack(holder, n) }), nil
		}
		select {
		case <-freed:
		case <-timer.C:
			return nil, api.Errorf(api.CodeUnavailable, "this controller has no room for more %s now (%d in all, %d for one sender): try again, or ask another controller", g.what, g.all, g.each)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take takes some if there is room; else the channel closes when there may be.
func (g *gate) take(holder string, n int) (freed <-chan struct{}, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sum+n > g.all || g.held[holder]+n > g.each {
		return g.freed, false
	}
	g.sum += n
	g.held[holder] += n
	return nil, true
}

func (g *gate) giveBack(holder string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sum -= n
	if g.held[holder] -= n; g.held[holder] == 0 {
		delete(g.held, holder)
	}
	close(g.freed)
	g.freed = make(chan struct{})
}

// taken is how much is held.
func (g *gate) taken() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sum
}

// holderOf names the credentials that a request came with, for a gate.
func holderOf(who api.Identity) string {
	return who.Orchestrator + "/" + string(who.Role) + "/" + who.Name
}

// boundedListener closes connections beyond a number, in all and from one
// address, at once: a handshake would cost more than it is worth.
type boundedListener struct {
	net.Listener
	connections *gate
}

// Accept returns the next connection that there is room for.
func (l boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := c.RemoteAddr().String()
		if a, err := netip.ParseAddrPort(from); err == nil {
			from = a.Addr().Unmap().String()
		}
		if _, ok := l.connections.take(from, 1); !ok {
			c.Close() // it was never spoken to
			continue
		}
		return &boundedConn{Conn: c, leave: sync.OnceFunc(func() { l.connections.giveBack(from, 1) })}, nil
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

// Close closes the connection and gives its place back.
func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
