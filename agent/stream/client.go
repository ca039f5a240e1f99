// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

const (
	// maxMessage bounds a delta, which a controller may fill with some 100,000
	// rows of about 100 bytes.
	maxMessage = 64 << 20
	// dialTimeout bounds the attempt at one controller; the next is tried after it.
	dialTimeout = 5 * time.Second
	// deadAfter is when a peer that does not answer at the TCP level is given up.
	deadAfter = 20 * time.Second
	// steady is how long a stream must have lived for its end not to count as
	// another failure in a row.
	steady = 10 * time.Second
)

// Tables prints a table of the host.
type Tables func(ctx context.Context, name string) (api.Table, error)

// Options say how to reach the controllers and what to tell them.
type Options struct {
	Addresses []string // host:port of stream listeners
	// Fixed: Addresses are all there are, whatever controllers say of others.
	Fixed bool
	// Remember, if set, keeps addresses that controllers told, for the next start.
	Remember     func(addresses []string) error
	TLS          *tls.Config
	AgentVersion string
	Kernel       string
	// Beat is how often a controller is asked whether it is alive; silent for
	// three of them, it is left. 0: 2 s.
	Beat time.Duration
}

// Client holds the streams: one in use, and one in reserve to another
// controller, if there is one.
type Client struct {
	options   Options
	loop      *host.Loop
	tables    Tables
	log       *slog.Logger
	directory *directory
	stirred   chan struct{} // holds at most one token: something about a link is new
}

// New returns a client. Run connects.
func New(options Options, loop *host.Loop, tables Tables, log *slog.Logger) *Client {
	if options.Beat == 0 {
		options.Beat = defaultBeat
	}
	return &Client{
		options: options, loop: loop, tables: tables, log: log,
		directory: newDirectory(options.Addresses, options.Fixed), stirred: make(chan struct{}, 1),
	}
}

// open opens a stream to a controller; what its pongs say is taken in.
func (c *Client) open(ctx context.Context, address string, b beats) (*link, error) {
	return open(ctx, address, c.options.TLS, b, c.heard)
}

// heard takes a pong.
func (c *Client) heard(p *hoststream.Pong) {
	all, changed := c.directory.learn(p.Controllers)
	if changed {
		c.log.Info("controllers listen at other addresses now", "controllers", all)
		if remember := c.options.Remember; remember != nil {
			if err := remember(all); err != nil {
				c.log.Warn("the controllers' addresses are not saved; after a restart those known before are tried", "error", err)
			}
		}
	}
	c.stir()
}

func (c *Client) stir() {
	select {
	case c.stirred <- struct{}{}:
	default:
	}
}

// standby makes a link one in reserve.
func standby(l *link) error {
	return l.begin(&hoststream.HostMessage{Body: &hoststream.HostMessage_Standby{Standby: &hoststream.Standby{}}})
}

// serve makes a link the one in use until it ends; synced is called when the
// host has everything. begun says that the link was in reserve.
func (c *Client) serve(l *link, begun bool, synced func()) error {
	hello, err := c.loop.Open(l.ctx, c.options.AgentVersion, c.options.Kernel)
	if err != nil {
		return err
	}
	first := &hoststream.HostMessage{Body: &hoststream.HostMessage_Hello{Hello: hello}}
	if begun {
		l.hasten(inUse(c.options.Beat))
		err = l.Send(first)
	} else {
		err = l.begin(first)
	}
	if err != nil {
		return fmt.Errorf("send hello: %w", err)
	}
	w := newWriter(c.loop, c.tables, l)
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.end(w.run(l.ctx))
	}()
	l.end(c.receive(l, w, synced))
	<-written
	return context.Cause(l.ctx)
}

// receive handles the controller's messages, one at a time: the next delta is
// read when the one before is in the kernel, which is the flow control.
func (c *Client) receive(l *link, w *writer, synced func()) error {
	for {
		var m *hoststream.ControllerMessage
		select {
		case m = <-l.inbox:
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
		switch b := m.Body.(type) {
		case *hoststream.ControllerMessage_Delta:
			ack, err := c.loop.Apply(l.ctx, b.Delta)
			if err != nil {
				return err
			}
			if b.Delta.InSync && synced != nil {
				name, _ := l.peer()
				c.log.Info("in sync with controller", "controller", l.address, "name", name, "revision", b.Delta.GetVersion().GetRevision())
				synced()
				synced = nil
			}
			if err := w.acknowledge(l.ctx, ack); err != nil {
				return err
			}
		case *hoststream.ControllerMessage_TableRequest:
			if err := w.table(l.ctx, b.TableRequest); err != nil {
				return err
			}
		default: // of a later protocol; not answering is how it learns
		}
	}
}
