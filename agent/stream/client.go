// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/tls"
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
)

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
	// Latest returns the newest acknowledgement (nil before the first delta of
	// a stream) and report.
	Latest(ctx context.Context) (*hoststream.Ack, *hoststream.Report, error)
}

// Options say how to reach the controllers and what to tell them.
type Options struct {
	Addresses    []string // host:port of stream listeners
	TLS          *tls.Config
	AgentVersion string
	Kernel       string
	// Dial connects to one of the addresses; nil: by TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Client holds the stream.
type Client struct {
	options Options
	loop    Host
	tables  Tables
	log     *slog.Logger
}

// New returns a client. Run connects.
func New(options Options, loop Host, tables Tables, log *slog.Logger) *Client {
	if options.Dial == nil {
		options.Dial = Dial
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
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(c.options.TLS)),
		grpc.WithContextDialer(c.options.Dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return fmt.Errorf("prepare connection: %w", err)
	}
	defer conn.Close()
	remote := hoststream.NewHostStreamClient(conn)
	err = c.converse(ctx, address, remote.Resume, true)
	if status.Code(err) == codes.Unimplemented { // the controller is older than this agent
		err = c.converse(ctx, address, remote.Sync, false)
	}
	return err
}

// call opens a stream: Resume or Sync.
type call func(ctx context.Context, options ...grpc.CallOption) (hoststream.HostStream_SyncClient, error)

// converse is one stream. The Hello of Sync has all rows; that of Resume sums
// them up and they are sent as far as they are asked for.
func (c *Client) converse(ctx context.Context, address string, open call, resume bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	remote, err := open(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	hello, err := c.loop.Open(ctx, c.options.AgentVersion, c.options.Kernel)
	if err != nil {
		return err
	}
	w := newWriter(c.loop, c.tables, remote)
	if resume {
		w.have = hello.Have
		hello.Have, hello.Tables = nil, hoststream.Sums(hello.Have)
	}
	if err := remote.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Hello{Hello: hello}}); err != nil {
		return fmt.Errorf("send hello: %w", reason(remote, err))
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(w.run(ctx))
	}()
	err = c.receive(ctx, address, remote, w)
	cancel(err)
	<-written
	return context.Cause(ctx)
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
		case *hoststream.ControllerMessage_RowListRequest:
			if err := w.list(ctx, b.RowListRequest); err != nil {
				return err
			}
		default: // of a later protocol; not answering is how it learns
		}
	}
}

// Dial notices dead peers by TCP itself: gRPC's own pings need the server's consent.
func Dial(ctx context.Context, address string) (net.Conn, error) {
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
