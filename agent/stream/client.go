// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/agent/desired"
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
	// defaultTendEvery is what Options.TendEvery defaults to, and tendTimeout
	// bounds one round of it.
	defaultTendEvery = 10 * time.Minute
	tendTimeout      = 30 * time.Second
)

// errRenewed ends a stream that was made with a credential of the past.
var errRenewed = errors.New("the host has a new certificate")

// Tables prints a table of the host.
type Tables func(ctx context.Context, name string) (api.Table, error)

// Host takes what a controller says and tells what became of it; *host.Loop is one.
type Host interface {
	// Open begins a stream and returns its Hello.
	Open(ctx context.Context, agentVersion, kernel string) (*hoststream.Hello, error)
	// Apply takes a delta, tries all its rows, and returns the acknowledgement.
	Apply(ctx context.Context, d *hoststream.Delta) (*hoststream.Ack, error)
	// Listen registers for changes of what Latest returns; Leave ends it.
	Listen(ctx context.Context) (*host.Listener, error)
	Leave(l *host.Listener)
	// Stand takes note of how the streams are, and returns the version of what
	// the host has.
	Stand(ctx context.Context, s host.Standing) (desired.Version, error)
	// Latest returns the newest acknowledgement (nil before the first delta of
	// a stream) and report.
	Latest(ctx context.Context) (*hoststream.Ack, *hoststream.Report, error)
}

// Options say how to reach the controllers and what to tell them.
type Options struct {
	Addresses []string // host:port of stream listeners
	// Fixed: Addresses are all there are, whatever controllers say of others.
	Fixed bool
	// Remember, if set, keeps addresses that controllers told, for the next start.
	Remember     func(addresses []string) error
	Credential   Credential
	AgentVersion string
	Kernel       string
	// Beat is how often a controller is asked whether it is alive; silent for
	// three of them, it is left. 0: 2 s.
	Beat time.Duration
	// TendEvery is how often the credential is looked after, the first time at a
	// random moment within that: hosts that learn of a new authority together
	// must not all renew together. 0: 10 minutes.
	TendEvery time.Duration
	// Dial connects to one of the addresses; nil: by TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Credential is who the host is, and whom it trusts.
type Credential interface {
	// TLS returns the configuration of a new connection to a host.
	TLS(host string) (*tls.Config, error)
	// Tend renews what is due; renewed says that connections should be made anew.
	Tend(ctx context.Context, controller hoststream.HostStreamClient) (renewed bool, err error)
}

// Client holds the streams: one in use, and one in reserve to another
// controller, if there is one.
type Client struct {
	options   Options
	loop      Host
	tables    Tables
	log       *slog.Logger
	directory *directory
	stirred   chan struct{}        // holds at most one token: something about a link is new
	renewals  atomic.Int64         // of the credential
	used      atomic.Pointer[link] // nil: none
}

// New returns a client. Run connects.
func New(options Options, loop Host, tables Tables, log *slog.Logger) *Client {
	if options.Dial == nil {
		options.Dial = Dial
	}
	if options.Beat == 0 {
		options.Beat = defaultBeat
	}
	if options.TendEvery == 0 {
		options.TendEvery = defaultTendEvery
	}
	return &Client{
		options: options, loop: loop, tables: tables, log: log,
		directory: newDirectory(options.Addresses, options.Fixed), stirred: make(chan struct{}, 1),
	}
}

// open opens a stream to a controller; what its pongs say is taken in.
func (c *Client) open(ctx context.Context, address string, b beats) (*link, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("prepare connection: %w", err)
	}
	era := c.renewals.Load() // before the credential is read: rather once too often anew
	config, err := c.options.Credential.TLS(name)
	if err != nil {
		return nil, fmt.Errorf("prepare connection: %w", err)
	}
	l, err := open(ctx, address, way{config, c.options.Dial, !c.directory.older(address)}, b, c.heard)
	if err == nil {
		l.era = era
	}
	return l, err
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
	w := newWriter(c.loop, c.tables, l)
	if l.resumes {
		w.have = hello.Have
		hello.Have, hello.Tables = nil, hoststream.Sums(hello.Have)
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
	c.used.Store(l)
	defer c.used.CompareAndSwap(l, nil)
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.end(w.run(l.ctx))
	}()
	tended := make(chan struct{})
	go func() {
		defer close(tended)
		if c.tend(l.ctx, hoststream.NewHostStreamClient(l.conn)) {
			c.renewals.Add(1)
			l.end(errRenewed)
		}
	}()
	l.end(c.receive(l, w, synced))
	<-written
	<-tended
	return context.Cause(l.ctx)
}

// Connections asks the controller in use what hosts that had a port before know of
// its connections; leftOut are those that they do not tell.
func (c *Client) Connections(ctx context.Context, port string) (rows [][]string, leftOut int, err error) {
	l := c.used.Load()
	if l == nil {
		return nil, 0, status.Error(codes.Unavailable, "ask for the connections of a port: no controller is connected")
	}
	reply, err := hoststream.NewHostStreamClient(l.conn).Connections(ctx, &hoststream.ConnectionsRequest{Port: port})
	for _, r := range reply.GetRows() {
		rows = append(rows, r.Cells)
	}
	return rows, int(reply.GetLeftOut()), err
}

// Known asks the controller in use which hosts do not have a version yet that says
// where a port is.
func (c *Client) Known(ctx context.Context, port string, v desired.Version) (*hoststream.KnownReply, error) {
	l := c.used.Load()
	if l == nil {
		return nil, status.Error(codes.Unavailable, "ask which hosts know of a port: no controller is connected")
	}
	return hoststream.NewHostStreamClient(l.conn).Known(ctx, &hoststream.KnownRequest{Port: port, Version: &hoststream.Version{Epoch: v.Epoch, Revision: v.Revision}})
}

// tend looks after the credential until ctx ends or it was renewed.
func (c *Client) tend(ctx context.Context, controller hoststream.HostStreamClient) (renewed bool) {
	for wait := rand.N(c.options.TendEvery); ; wait = c.options.TendEvery/2 + rand.N(c.options.TendEvery) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
		one, cancel := context.WithTimeout(ctx, tendTimeout)
		renewed, err := c.options.Credential.Tend(one, controller)
		cancel()
		switch {
		case renewed:
			return true
		case ctx.Err() != nil:
		case status.Code(err) == codes.Unimplemented:
			c.log.Debug("the controller is older than certificates that renew themselves", "error", err)
		case err != nil:
			c.log.Warn("the host's certificate was not looked after, will try again", "error", err)
		}
	}
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
		case *hoststream.ControllerMessage_RowListRequest:
			if err := w.list(l.ctx, b.RowListRequest); err != nil {
				return err
			}
		default: // of a later protocol; not answering is how it learns
		}
	}
}
