// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// session is one host's stream. Three goroutines share it: receive reads, send
// writes, and gRPC's own waits for the end; when that returns, gRPC frees the
// other two from whatever they wait for.
type session struct {
	server *Server
	host   api.Ref
	stream grpc.BidiStreamingServer[hoststream.HostMessage, hoststream.ControllerMessage]
	hello  *hoststream.Hello
	ctx    context.Context
	end    context.CancelCauseFunc
	first  chan *hoststream.Hello // delivers the hello
	later  chan struct{}          // closed when the host says that its hello comes later
	wake   chan struct{}          // holds at most one token: there may be something to send
	tables *tables
	number uint64              // set when it is registered
	chain  []*x509.Certificate // the host was identified by

	rowsListed int                      // by the host, at first
	summedUp   int                      // tables of the host, at first
	listed     chan *hoststream.RowList // delivers them, if it was asked

	sending sync.Mutex // held while a message is sent

	mu       sync.Mutex // guards everything that follows
	progress *progress
	report   *hoststream.Report // never modified; nil before the first
	ping     *hoststream.Ping   // not answered yet
	told     uint64             // number of the list of controllers that the host has
}

func newSession(s *Server, host api.Ref, stream grpc.BidiStreamingServer[hoststream.HostMessage, hoststream.ControllerMessage]) *session {
	n := &session{
		server: s, host: host, stream: stream,
		chain: peerChain(stream.Context()),
		first: make(chan *hoststream.Hello, 1), later: make(chan struct{}), wake: make(chan struct{}, 1), tables: newTables(),
		listed: make(chan *hoststream.RowList, 1),
	}
	n.ctx, n.end = context.WithCancelCause(stream.Context())
	return n
}

// waitHello returns the host's hello: its first message, or, where the stream
// is held in reserve, at any later time.
func (n *session) waitHello() (*hoststream.Hello, error) {
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case hello := <-n.first:
		return hello, nil
	case <-n.later:
		return n.standby()
	case <-n.ctx.Done():
		return nil, n.cause()
	case <-timer.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "host %s sent no hello within %v", n.host, helloTimeout)
	}
}

// standby waits for the hello of a stream held in reserve.
func (n *session) standby() (*hoststream.Hello, error) {
	if err := n.server.keep(n); err != nil {
		return nil, err
	}
	defer n.server.release(n)
	select {
	case hello := <-n.first:
		return hello, nil
	case <-n.ctx.Done():
		return nil, n.cause()
	}
}

// begin starts from what the host has. One that resumes has summed it up, and
// is asked for what the sums do not tell.
func (n *session) begin(hello *hoststream.Hello, resume bool) error {
	var unknown []uint32
	p := n.compare(func() (p *progress) {
		if resume {
			n.summedUp = len(hello.Tables)
			p, unknown = resumeProgress(n.host.UUID, n.server.Plan().View(n.host.UUID), hello.Tables)
			return p
		}
		n.rowsListed = len(hello.Have)
		return newProgress(n.host.UUID, hello.Have)
	})
	hello.Have, hello.Tables = nil, nil // they may be large
	p.changes = hello.Changes
	if len(unknown) > 0 {
		m := &hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_RowListRequest{RowListRequest: &hoststream.RowListRequest{Tables: unknown}}}
		if !n.write(m) {
			return n.cause()
		}
		list, err := n.waitList()
		if err != nil {
			return err
		}
		n.rowsListed = len(list.Have)
		n.compare(func() *progress { p.list(list.Have); return p })
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hello, n.progress = hello, p
	return nil
}

// compare runs when few others do.
func (n *session) compare(run func() *progress) *progress {
	n.server.resumes <- struct{}{}
	defer func() { <-n.server.resumes }()
	return run()
}

// waitList returns the rows that the host was asked to list.
func (n *session) waitList() (*hoststream.RowList, error) {
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case list := <-n.listed:
		return list, nil
	case <-n.ctx.Done():
		return nil, n.cause()
	case <-timer.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "host %s did not list its rows within %v", n.host, helloTimeout)
	}
}

// wait returns why the session ended, when it has.
func (n *session) wait() error {
	<-n.ctx.Done()
	n.tables.close()
	return n.cause()
}

// cause is why the session ended.
func (n *session) cause() error {
	err := context.Cause(n.ctx)
	if errors.Is(err, io.EOF) {
		return nil // the agent closed its side
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}

// poke makes send look for something to send.
func (n *session) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// send writes what there is to say until the session ends.
func (n *session) send() {
	for {
		if pong := n.nextPong(); pong != nil && !n.write(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_Pong{Pong: pong}}) {
			return
		}
		for {
			d := n.nextDelta()
			if d == nil {
				break
			}
			if !n.write(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_Delta{Delta: d}}) {
				return
			}
			n.server.metrics.deltas.Inc()
			n.server.metrics.rows.Add(float64(len(d.Put) + len(d.Change) + len(d.Delete)))
		}
		select {
		case <-n.wake:
		case q := <-n.tables.questions:
			if !n.write(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_TableRequest{TableRequest: q}}) {
				return
			}
		case <-n.ctx.Done():
			return
		}
	}
}

// write sends a message: send does, and begin, which asks before send has deltas.
func (n *session) write(m *hoststream.ControllerMessage) bool {
	if n.ctx.Err() != nil {
		return false
	}
	n.sending.Lock()
	defer n.sending.Unlock()
	if err := n.stream.Send(m); err != nil {
		n.end(err)
		return false
	}
	return true
}

// nextDelta returns the next delta towards the newest plan. While the host has
// too many to acknowledge, plans pass by unseen.
func (n *session) nextDelta() *hoststream.Delta {
	plan := n.server.Plan()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.progress == nil || !n.progress.room() {
		return nil
	}
	if plan.Version != n.progress.target || !n.progress.targeted {
		n.progress.aim(plan)
		n.server.noteChange()
	}
	return n.progress.next()
}

// receive takes what the host says until the session ends.
func (n *session) receive() {
	greeted, standing := false, false
	for {
		m, err := n.stream.Recv()
		if err != nil {
			n.end(err)
			return
		}
		if p := m.GetPing(); p != nil {
			n.pinged(p)
			continue
		}
		if m.GetStandby() != nil && !greeted && !standing {
			standing = true
			close(n.later)
			continue
		}
		hello := m.GetHello()
		if greeted == (hello != nil) {
			n.end(status.Errorf(codes.InvalidArgument, "host %s: the first message of a stream, and no other, must be a hello (or standby, and the hello later)", n.host))
			return
		}
		if hello != nil {
			greeted = true
			n.first <- hello
			continue
		}
		if err := n.take(m); err != nil {
			n.end(err)
			return
		}
	}
}

// take handles any message but the hello.
func (n *session) take(m *hoststream.HostMessage) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch body := m.Body.(type) {
	case *hoststream.HostMessage_Ack:
		if n.progress == nil {
			return status.Errorf(codes.InvalidArgument, "host %s acknowledges a delta before it was sent one", n.host)
		}
		if err := n.progress.ack(body.Ack); err != nil {
			return status.Errorf(codes.InvalidArgument, "host %s: %v", n.host, err)
		}
		n.server.metrics.acks.Inc()
		n.poke()
		n.server.noteChange()
	case *hoststream.HostMessage_Report:
		n.report = body.Report
		n.server.noteChange()
	case *hoststream.HostMessage_RowList:
		select {
		case n.listed <- body.RowList:
		default:
			return status.Errorf(codes.InvalidArgument, "host %s lists rows again", n.host)
		}
	case *hoststream.HostMessage_TableReply:
		n.tables.answer(body.TableReply)
	}
	return nil
}
