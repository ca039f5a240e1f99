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
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

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

// Options say how to reach the controllers and what to tell them.
type Options struct {
	Addresses    []string // host:port of stream listeners
	Credential   Credential
	AgentVersion string
	Kernel       string
	// TendEvery is how often the credential is looked after, the first time at a
	// random moment within that: hosts that learn of a new authority together
	// must not all renew together. 0: 10 minutes.
	TendEvery time.Duration
}

// Credential is who the host is, and whom it trusts.
type Credential interface {
	// TLS returns the configuration of a new connection to a host.
	TLS(host string) (*tls.Config, error)
	// Tend renews what is due; renewed says that connections should be made anew.
	Tend(ctx context.Context, controller hoststream.HostStreamClient) (renewed bool, err error)
}

// Client holds the stream.
type Client struct {
	options Options
	loop    *host.Loop
	tables  Tables
	log     *slog.Logger
}

// New returns a client. Run connects.
func New(options Options, loop *host.Loop, tables Tables, log *slog.Logger) *Client {
	if options.TendEvery == 0 {
		options.TendEvery = defaultTendEvery
	}
	return &Client{options, loop, tables, log}
}

// Run keeps a stream to one of the controllers until the context ends.
func (c *Client) Run(ctx context.Context) {
	at := rand.IntN(len(c.options.Addresses)) // hosts spread over the controllers
	failures := 0
	for ctx.Err() == nil {
		address := c.options.Addresses[at%len(c.options.Addresses)]
		began := time.Now()
		err := c.session(ctx, address)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRenewed) { // nothing is wrong: the same controller at once
			c.log.Info("opening the stream anew", "controller", address, "reason", err)
			continue
		}
		if time.Since(began) > steady {
			failures = 0
		}
		failures++
		at++
		wait := pause(failures, rand.Float64())
		c.log.Warn("stream ended; the host goes on with what it has", "controller", address, "error", err, "retry", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// session is one stream from its beginning to its end.
func (c *Client) session(ctx context.Context, address string) error {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("prepare connection: %w", err)
	}
	config, err := c.options.Credential.TLS(name)
	if err != nil {
		return fmt.Errorf("prepare connection: %w", err)
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return fmt.Errorf("prepare connection: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	controller := hoststream.NewHostStreamClient(conn)
	remote, err := controller.Sync(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	hello, err := c.loop.Open(ctx, c.options.AgentVersion, c.options.Kernel)
	if err != nil {
		return err
	}
	if err := remote.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Hello{Hello: hello}}); err != nil {
		return fmt.Errorf("send hello: %w", reason(remote, err))
	}
	w := newWriter(c.loop, c.tables, remote)
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(w.run(ctx))
	}()
	tended := make(chan struct{})
	go func() {
		defer close(tended)
		if c.tend(ctx, controller) {
			cancel(errRenewed)
		}
	}()
	err = c.receive(ctx, address, remote, w)
	cancel(err)
	<-written
	<-tended
	return context.Cause(ctx)
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

// reason finds out why a send failed: gRPC says it in what is received.
func reason(remote hoststream.HostStream_SyncClient, err error) error {
	if _, why := remote.Recv(); why != nil {
		return why
	}
	return err
}

// receive handles the controller's messages, one at a time: the next delta is
// read when the one before is in the kernel, which is the flow control.
func (c *Client) receive(ctx context.Context, address string, remote hoststream.HostStream_SyncClient, w *writer) error {
	synced := false
	for {
		m, err := remote.Recv()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		switch b := m.Body.(type) {
		case *hoststream.ControllerMessage_Delta:
			ack, err := c.loop.Apply(ctx, b.Delta)
			if err != nil {
				return err
			}
			if b.Delta.InSync && !synced {
				synced = true
				c.log.Info("in sync with controller", "controller", address, "revision", b.Delta.GetVersion().GetRevision())
			}
			if err := w.acknowledge(ctx, ack); err != nil {
				return err
			}
		case *hoststream.ControllerMessage_TableRequest:
			if err := w.table(ctx, b.TableRequest); err != nil {
				return err
			}
		default: // of a later protocol; not answering is how it learns
		}
	}
}

// dial notices dead peers by TCP itself: gRPC's own pings need the server's consent.
func dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{
		Timeout:         dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadAfter / 2, Interval: deadAfter / 8, Count: 4},
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { // without it only unanswered data is noticed later
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadAfter.Milliseconds()))
		})
	}
	return conn, nil
}
