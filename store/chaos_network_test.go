// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net"
	"sync"
	"testing"
	"time"
)

// link is a way through which one process reaches another, and which can be
// cut, silenced or slowed down.
type link struct {
	listener net.Listener
	target   string

	// mu guards everything that follows.
	mu     sync.Mutex
	state  linkState
	free   chan struct{} // closed when the link is no longer silent
	open   map[net.Conn]bool
	closed bool
}

type linkState struct {
	cut    bool          // connections are closed and refused
	silent bool          // nothing arrives
	delay  time.Duration // of every piece of data
}

func newLink(t *testing.T, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{listener: l, target: target, open: map[net.Conn]bool{}, free: make(chan struct{})}
	go k.serve()
	t.Cleanup(k.close)
	return k
}

func (k *link) url() string { return "http://" + k.listener.Addr().String() }

func (k *link) set(s linkState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = s
	close(k.free)
	k.free = make(chan struct{})
	if s.cut {
		k.drop()
	}
}

// drop closes all connections. The caller holds mu.
func (k *link) drop() {
	for c := range k.open {
		c.Close()
	}
	clear(k.open)
}

func (k *link) close() {
	k.listener.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	close(k.free)
	k.drop()
}

func (k *link) serve() {
	for {
		in, err := k.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", k.target)
		if err != nil {
			in.Close()
			continue
		}
		k.mu.Lock()
		if k.state.cut || k.closed {
			in.Close()
			out.Close()
		} else {
			k.open[in], k.open[out] = true, true
			go k.copy(in, out)
			go k.copy(out, in)
		}
		k.mu.Unlock()
	}
}

// copy moves data one way until either end closes.
func (k *link) copy(from, to net.Conn) {
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.open, from)
		delete(k.open, to)
		from.Close()
		to.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && k.hold() {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits as long as data on the link has to, and tells whether it is to go on.
func (k *link) hold() bool {
	for {
		k.mu.Lock()
		state, free, closed := k.state, k.free, k.closed
		k.mu.Unlock()
		switch {
		case closed || state.cut:
			return false
		case state.silent:
			<-free
		case state.delay > 0:
			<-time.After(state.delay)
			return true
		default:
			return true
		}
	}
}
