// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of conversations by UDP with one service of the fabric. A workload's
// oldest makes room for its newest.
const (
	maxConversations     = 4096
	maxConversationsEach = 64
	conversationIdle     = time.Minute
	maxDatagram          = 64 << 10
)

// conversation is what one workload says from one of its ports, and the socket
// by which the server answers.
type conversation struct {
	port   string // UUID
	server net.Conn
	used   atomic.Int64 // Unix time in nanoseconds
}

// conversations are those at one socket.
type conversations struct {
	relay    *Relay
	workload net.PacketConn
	ended    sync.WaitGroup

	mu  sync.Mutex // guards what follows
	all map[string]*conversation
}

// relayDatagrams passes datagrams on until the socket is closed.
func (r *Relay) relayDatagrams(ctx context.Context, workload net.PacketConn) error {
	c := &conversations{relay: r, workload: workload, all: map[string]*conversation{}}
	return c.run(ctx)
}

func (c *conversations) run(ctx context.Context) error {
	defer c.end()
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := c.workload.ReadFrom(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive for service %s: %w", c.relay.name, err)
		}
		talk := c.of(ctx, from)
		if talk == nil {
			c.relay.services.crowded.Add(1)
			continue
		}
		talk.used.Store(time.Now().UnixNano())
		_, _ = talk.server.Write(buffer[:n]) // a datagram may be lost; a server that is not there is told by its silence
	}
}

// of returns the conversation of an address of the host path; nil if it is not
// a workload's, or there is no room.
func (c *conversations) of(ctx context.Context, from net.Addr) *conversation {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, known := c.relay.services.whose(from)
	if talk := c.all[from.String()]; talk != nil {
		if known && talk.port == f.Port {
			return talk
		}
		talk.server.Close() // the alias is another port's now, which must hear nothing of it
		delete(c.all, from.String())
	}
	if !known {
		return nil
	}
	c.makeRoom(f.Port)
	if len(c.all) >= maxConversations {
		return nil
	}
	server, err := (&net.Dialer{Timeout: fabricPatience}).DialContext(ctx, "udp", c.relay.datagrams)
	if err != nil {
		c.relay.services.log.Warn("a service of the fabric cannot be asked", "service", c.relay.name, "server", c.relay.datagrams, "port", f.Port, "error", err)
		return nil
	}
	talk := &conversation{port: f.Port, server: server}
	c.all[from.String()] = talk
	c.ended.Go(func() { c.answer(talk, from) })
	return talk
}

// makeRoom ends the oldest conversation of a port that has as many as it may.
func (c *conversations) makeRoom(port string) {
	n, oldest := 0, (*conversation)(nil)
	for _, talk := range c.all {
		if talk.port != port {
			continue
		}
		n++
		if oldest == nil || talk.used.Load() < oldest.used.Load() {
			oldest = talk
		}
	}
	if n >= maxConversationsEach {
		oldest.server.Close() // its reader forgets it
		for at, talk := range c.all {
			if talk == oldest {
				delete(c.all, at)
			}
		}
	}
}

// answer passes on what the server says until nobody has said anything for a time.
func (c *conversations) answer(talk *conversation, to net.Addr) {
	defer func() {
		talk.server.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.all[to.String()] == talk {
			delete(c.all, to.String())
		}
	}()
	buffer := make([]byte, maxDatagram)
	for {
		_ = talk.server.SetReadDeadline(time.Unix(0, talk.used.Load()).Add(conversationIdle)) // fails as Read does
		n, err := talk.server.Read(buffer)
		var late net.Error
		switch {
		case err == nil:
			talk.used.Store(time.Now().UnixNano())
			if f, known := c.relay.services.whose(to); !known || f.Port != talk.port {
				return // it has gone, and its alias may be another's
			}
			_, _ = c.workload.WriteTo(buffer[:n], to) // a workload that has gone
		case errors.As(err, &late) && late.Timeout():
			if time.Since(time.Unix(0, talk.used.Load())) >= conversationIdle {
				return
			}
		case errors.Is(err, net.ErrClosed):
			return
		default: // nobody listens there now
			c.relay.services.log.Debug("a service of the fabric refuses", "service", c.relay.name, "server", c.relay.datagrams, "error", err)
			if time.Since(time.Unix(0, talk.used.Load())) >= conversationIdle {
				return
			}
		}
	}
}

// end ends all conversations.
func (c *conversations) end() {
	c.mu.Lock()
	for _, talk := range c.all {
		talk.server.Close()
	}
	c.mu.Unlock()
	c.ended.Wait()
}
