// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

// beats are how often a controller is asked whether it is alive, and how long
// it may then be silent. What it has sent and this host has not worked through
// yet is no silence.
type beats struct{ every, limit time.Duration }

// defaultBeat: a controller that hangs is left within 8 s; one that is killed or
// whose connection breaks, at once.
const defaultBeat = 2 * time.Second

// inUse are the beats of the stream in use, inReserve of the other one: that
// costs less, since nobody waits for it.
func inUse(beat time.Duration) beats     { return beats{beat, 3 * beat} }
func inReserve(beat time.Duration) beats { return beats{2 * beat, 6 * beat} }

// openTimeout bounds the way from nothing to an open stream.
const openTimeout = dialTimeout

// errSilent says that a controller hangs: TCP is well, but nothing comes.
var errSilent = errors.New("the controller does not answer")

// link is a stream to one controller, in use or in reserve. Three goroutines
// serve it: read receives, beat asks, watch ends it when nothing comes.
type link struct {
	address string
	conn    *grpc.ClientConn
	remote  hoststream.HostStream_SyncClient
	ctx     context.Context
	end     context.CancelCauseFunc
	inbox   chan *hoststream.ControllerMessage // all but pongs, one at a time
	news    func(*hoststream.Pong)
	resumes bool // its hello sums the rows up
	work    sync.WaitGroup
	began   time.Time
	era     int64 // how often the credential had been renewed when it was opened

	sending sync.Mutex // held while a message is sent

	mu         sync.Mutex // guards everything that follows
	beats      beats
	waiting    time.Time // since when read waits; zero while a message is worked on
	heard      bool      // anything came
	answers    bool      // it answers pings; older controllers do not
	controller string
	version    desired.Version
	pings      uint64
}

// way is how a controller is reached.
type way struct {
	tls    *tls.Config
	dial   func(ctx context.Context, address string) (net.Conn, error)
	resume bool // false: the controller is one that knows no Resume
}

// open connects to a controller and opens a stream. Nothing has been said on
// it yet: that is begin's.
func open(ctx context.Context, address string, by way, b beats, news func(*hoststream.Pong)) (*link, error) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(by.tls)),
		grpc.WithContextDialer(by.dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare connection: %w", err)
	}
	l := &link{address: address, conn: conn, inbox: make(chan *hoststream.ControllerMessage), news: news, resumes: by.resume, beats: b, began: time.Now()}
	l.ctx, l.end = context.WithCancelCause(ctx)
	timer := time.AfterFunc(openTimeout, func() { l.end(errSilent) })
	defer timer.Stop()
	call := hoststream.NewHostStreamClient(conn).Sync
	if by.resume {
		call = hoststream.NewHostStreamClient(conn).Resume
	}
	if l.remote, err = call(l.ctx); err != nil {
		if why := context.Cause(l.ctx); why != nil {
			err = why
		}
		l.end(err)
		conn.Close()
		return nil, fmt.Errorf("open stream: %w", err)
	}
	return l, nil
}

// begin says the first words and starts what serves the link.
func (l *link) begin(first *hoststream.HostMessage) error {
	if err := l.Send(first); err != nil {
		if _, why := l.remote.Recv(); why != nil { // gRPC says the reason in what is received
			err = why
		}
		return fmt.Errorf("send the first message: %w", err)
	}
	l.mu.Lock()
	l.waiting = time.Now()
	l.mu.Unlock()
	l.work.Go(l.read)
	l.work.Go(l.beat)
	l.work.Go(l.watch)
	return nil
}

// close ends the link and waits for its goroutines.
func (l *link) close(why error) {
	l.end(why)
	l.conn.Close()
	l.work.Wait()
}

// Send sends one message; several goroutines may.
func (l *link) Send(m *hoststream.HostMessage) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	return l.remote.Send(m)
}

// hasten makes a link in reserve one in use.
func (l *link) hasten(b beats) {
	l.mu.Lock()
	l.beats = b
	l.mu.Unlock()
	l.ping()
}

// peer returns the name of the controller, empty before its first pong, and
// what it would send.
func (l *link) peer() (string, desired.Version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.controller, l.version
}

func (l *link) read() {
	for {
		m, err := l.remote.Recv()
		if err != nil {
			l.end(fmt.Errorf("receive: %w", err))
			return
		}
		pong := m.GetPong()
		l.mu.Lock()
		l.heard, l.waiting = true, time.Time{}
		if pong != nil {
			l.answers, l.controller = true, pong.Controller
			l.version = desired.Version{Epoch: pong.GetVersion().GetEpoch(), Revision: pong.GetVersion().GetRevision()}
		}
		l.mu.Unlock()
		if pong != nil {
			l.news(pong)
		} else {
			select {
			case l.inbox <- m:
			case <-l.ctx.Done():
				return
			}
		}
		l.mu.Lock()
		l.waiting = time.Now()
		l.mu.Unlock()
	}
}

func (l *link) pace() beats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.beats
}

func (l *link) ping() {
	l.mu.Lock()
	l.pings++
	id := l.pings
	l.mu.Unlock()
	if err := l.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Ping{Ping: &hoststream.Ping{Id: id}}}); err != nil {
		return // read learns why
	}
}

func (l *link) beat() {
	for {
		l.ping()
		select {
		case <-l.ctx.Done():
			return
		case <-time.After(l.pace().every):
		}
	}
}

// watch is apart from beat, which may have to wait until it can send.
func (l *link) watch() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-time.After(l.pace().every):
		}
		if quiet := l.silence(time.Now()); quiet > l.pace().limit {
			l.end(fmt.Errorf("%w for %v", errSilent, quiet.Round(time.Second)))
			return
		}
	}
}

// silence is how long nothing has come that should have. A controller that has
// spoken but never answered a ping is an older one, which does not: there only
// TCP notices.
func (l *link) silence(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.IsZero() || l.heard && !l.answers {
		return 0
	}
	return now.Sub(l.waiting)
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
