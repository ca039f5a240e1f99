// SPDX-License-Identifier: Apache-2.0

// Package stream serves the hosts: each agent holds one stream, over which it
// is sent the difference between what it has and what it must have.
package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
)

const (
	// maxReceiveBytes bounds a message of an agent. The largest is a Hello: 64
	// bytes a row for a million rows, more than the kernel's tables hold.
	maxReceiveBytes = 64 << 20
	// maxStreams on one connection: an agent needs one, and another one while
	// the first is being given up.
	maxStreams = 4
	// handshakeTimeout bounds a connection that is not yet anybody's.
	handshakeTimeout = 10 * time.Second
	// keepaliveTime and keepaliveTimeout: a host that vanished is noticed
	// within 9 s.
	keepaliveTime    = 4 * time.Second
	keepaliveTimeout = 5 * time.Second
	// minPing is how often an agent may ping by itself.
	minPing = 5 * time.Second
	// helloTimeout bounds how long a stream may stay silent at first.
	helloTimeout = 10 * time.Second
	// maxResumes sessions at once may compare what their hosts have: all hosts
	// of a controller that came back are at its door together.
	maxResumes = 8
	// defaultPatience is what Options.Patience defaults to: longer than a
	// controller takes to read the store after its start.
	defaultPatience = 30 * time.Second
)

// Options are what a server needs.
type Options struct {
	// TLS has the controller's certificate and the CA of the hosts'.
	TLS   *tls.Config
	Epoch uint64
	Log   *slog.Logger
	// Name is how hosts and people call this controller.
	Name string
	// Authority certifies hosts anew; nil: nobody does.
	Authority Authority
	// Patience bounds the wait, at the begin of a stream, for a plan that knows
	// the host (which may just have joined) and is not older than what the host
	// has. Then the agent is told to try another controller. 0: 30 s.
	Patience time.Duration
	// Ask asks a host that may have its stream elsewhere; nil: nobody is asked.
	Ask Ask
	// States is what is known of all hosts, by UUID, wherever their streams are; nil:
	// of those that are connected here.
	States func() map[string]HostState
}

// Server holds the sessions of the hosts connected to this controller.
type Server struct {
	hoststream.UnimplementedHostStreamServer
	options Options
	grpc    *grpc.Server
	work    sync.WaitGroup // goroutines of sessions
	changed chan struct{}  // holds at most one token
	metrics metrics
	resumes chan struct{} // holds one element for each session that compares what a host has

	mu       sync.Mutex // guards everything that follows
	plan     *placement.Plan
	next     chan struct{} // closed when plan is replaced
	sessions map[string]*session
	standbys map[string]*session // streams held in reserve, by host
	list     list
	gone     map[string]HostState // last state of hosts that are not connected
	closing  bool
	streams  uint64 // counts sessions
}

// New makes a server that has nothing to say until Publish.
func New(o Options) *Server {
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	s := &Server{
		options: o, metrics: newMetrics(), changed: make(chan struct{}, 1), next: make(chan struct{}),
		resumes:  make(chan struct{}, maxResumes),
		sessions: map[string]*session{}, standbys: map[string]*session{}, gone: map[string]HostState{},
	}
	config := o.TLS.Clone()
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.MinVersion = tls.VersionTLS13
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(config)),
		grpc.MaxRecvMsgSize(maxReceiveBytes),
		grpc.WaitForHandlers(true),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
	)
	hoststream.RegisterHostStreamServer(s.grpc, s)
	return s
}

// Serve accepts agents on a listener until Close. Several may be served at once.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve hosts on %v: %w", l.Addr(), err)
	}
	return nil
}

// Close ends all sessions and waits for their goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	s.closing = true
	for _, session := range s.sessions {
		session.end(status.Error(codes.Unavailable, "the controller is shutting down; connect again"))
	}
	s.endStandbys(nil, status.Error(codes.Unavailable, "the controller is shutting down; connect again"))
	s.mu.Unlock()
	s.grpc.Stop()
	s.work.Wait()
}

// Publish makes a plan the one all hosts must have. A plan that is not newer
// than the present one is ignored: nothing older is ever sent.
func (s *Server) Publish(p *placement.Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan != nil && !s.plan.Version.Before(p.Version) {
		return
	}
	earlier := s.plan
	s.plan = p
	close(s.next)
	s.next = make(chan struct{})
	for uuid, session := range s.sessions {
		if p.Derived.Host(uuid) == nil {
			session.end(status.Errorf(codes.PermissionDenied, "host %s was deleted", session.host))
			continue
		}
		if earlier == nil || !p.Same(uuid, earlier) {
			session.poke()
		}
	}
	s.endStandbys(p, status.Error(codes.PermissionDenied, "the host was deleted"))
	for uuid := range s.gone {
		if p.Derived.Host(uuid) == nil {
			delete(s.gone, uuid)
		}
	}
}

// Plan returns the plan that was published last, or nil.
func (s *Server) Plan() *placement.Plan {
	plan, _ := s.Newest()
	return plan
}

// Newest returns the plan that was published last, or nil, and a channel that is
// closed when there is a newer one.
func (s *Server) Newest() (*placement.Plan, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plan, s.next
}

// Changed delivers a token after the state of some host changed. It is for one
// reader, which then looks at Hosts.
func (s *Server) Changed() <-chan struct{} { return s.changed }

func (s *Server) noteChange() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Sync serves one stream: it begins a session, ends an older one of the same
// host, and returns when the session ends.
func (s *Server) Sync(stream grpc.BidiStreamingServer[hoststream.HostMessage, hoststream.ControllerMessage]) error {
	return s.serve(stream, false)
}

// Resume is Sync with an agent that lists only the rows that it is asked for.
func (s *Server) Resume(stream grpc.BidiStreamingServer[hoststream.HostMessage, hoststream.ControllerMessage]) error {
	return s.serve(stream, true)
}

func (s *Server) serve(stream grpc.BidiStreamingServer[hoststream.HostMessage, hoststream.ControllerMessage], resume bool) error {
	host, err := peerHost(stream.Context())
	if err != nil {
		return err
	}
	session := newSession(s, host, stream)
	if !s.hold() {
		return status.Error(codes.Unavailable, "the controller is shutting down; connect again")
	}
	go func() { defer s.work.Done(); session.receive() }()
	defer session.end(nil) // frees both from their wait for us
	if !s.hold() {
		return status.Error(codes.Unavailable, "the controller is shutting down; connect again")
	}
	go func() { defer s.work.Done(); session.send() }()
	hello, err := session.waitHello()
	if err != nil {
		return err
	}
	if err := s.waitPlan(session.ctx, host, hello.Version); err != nil {
		return err
	}
	if err := session.begin(hello, resume); err != nil {
		return err
	}
	if err := s.register(session); err != nil {
		return err
	}
	defer s.unregister(session)
	session.poke()
	return session.wait()
}

// hold counts a goroutine that Close waits for, unless the server is closing.
func (s *Server) hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.work.Add(1)
	}
	return !s.closing
}

// waitPlan waits for a plan that knows the host and is not older than what the
// host has.
func (s *Server) waitPlan(ctx context.Context, host api.Ref, has *hoststream.Version) error {
	version := placement.Version{Epoch: has.GetEpoch(), Revision: has.GetRevision()}
	if version.Epoch > s.options.Epoch {
		return status.Errorf(codes.FailedPrecondition, "host %s has epoch %d, this controller %d: the controller's store is older than the host; start it on the current store", host, version.Epoch, s.options.Epoch)
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Patience)
	defer cancel()
	for {
		plan, next := s.Newest()
		reason := error(status.Error(codes.Unavailable, "this controller has not read the store yet; try another one"))
		if plan != nil {
			known := plan.Derived.Host(host.UUID)
			switch {
			case plan.Version.Before(version):
				reason = status.Errorf(codes.Unavailable, "this controller is at revision %d, host %s at %d; try another one", plan.Version.Revision, host, version.Revision)
			case known == nil:
				reason = status.Errorf(codes.PermissionDenied, "host %s (%s) does not exist; join it again", host, host.UUID)
			case known.Ref.Name != host.Name:
				return status.Errorf(codes.PermissionDenied, "the certificate says host %s, %s is host %s", host, host.UUID, known.Ref)
			default:
				return nil
			}
		}
		select {
		case <-next:
		case <-ctx.Done():
			return reason
		}
	}
}

// register makes a session the one of its host; an older one ends.
func (s *Server) register(n *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return status.Error(codes.Unavailable, "the controller is shutting down; connect again")
	}
	if s.plan.Derived.Host(n.host.UUID) == nil { // Publish ends only sessions that are registered
		return status.Errorf(codes.PermissionDenied, "host %s was deleted", n.host)
	}
	if old := s.sessions[n.host.UUID]; old != nil {
		s.options.Log.Info("host opened a new stream, ending the old one", "host", n.host)
		old.end(status.Errorf(codes.Aborted, "host %s opened a newer stream", n.host))
	}
	s.streams++
	n.number = s.streams
	s.sessions[n.host.UUID] = n
	delete(s.gone, n.host.UUID)
	s.options.Log.Info("host connected", "host", n.host, "agent", n.hello.AgentVersion, "tables", n.summedUp, "rows", n.rowsListed)
	s.noteChange()
	return nil
}

// unregister notes that a host is gone, unless a newer session has its place.
func (s *Server) unregister(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[n.host.UUID] != n {
		return
	}
	delete(s.sessions, n.host.UUID)
	state := n.state(s.plan)
	state.Connected = false
	s.gone[n.host.UUID] = state
	s.options.Log.Info("host disconnected", "host", n.host, "error", n.cause())
	s.noteChange()
}

// Yield ends a session, given by its number, because the host has a newer
// stream at another controller.
func (s *Server) Yield(host string, number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.sessions[host]; n != nil && n.number == number {
		n.end(status.Errorf(codes.Aborted, "host %s opened a newer stream at another controller", n.host))
	}
}
