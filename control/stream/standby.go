// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
)

// maxControllers bounds how many controllers hosts are told of.
const maxControllers = 64

// A host holds a second stream, to another controller than the one that serves
// it, and keeps it silent but for pings. When it says hello on it, it becomes
// the host's stream like any other.

// list is the controllers that hosts are told of, and how often it changed.
type list struct {
	number      uint64
	controllers []*hoststream.Controller
}

// SetControllers says where controllers listen for hosts. Hosts learn it with
// the next answer to a ping.
func (s *Server) SetControllers(all []*hoststream.Controller) {
	all = all[:min(len(all), maxControllers)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.EqualFunc(all, s.list.controllers, func(a, b *hoststream.Controller) bool { return proto.Equal(a, b) }) {
		return
	}
	s.list = list{s.list.number + 1, all}
}

// Warm tells whether a host holds a stream in reserve to this controller.
func (s *Server) Warm(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.standbys[host] != nil
}

// keep notes a stream held in reserve; an older one of the host ends.
func (s *Server) keep(n *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return status.Error(codes.Unavailable, "the controller is shutting down; connect again")
	}
	if s.plan != nil && s.plan.Derived.Host(n.host.UUID) == nil {
		return status.Errorf(codes.PermissionDenied, "host %s (%s) does not exist; join it again", n.host, n.host.UUID)
	}
	if old := s.standbys[n.host.UUID]; old != nil {
		old.end(status.Errorf(codes.Aborted, "host %s opened a newer stream in reserve", n.host))
	}
	s.standbys[n.host.UUID] = n
	s.options.Log.Debug("host holds a stream in reserve", "host", n.host)
	return nil
}

// release forgets a stream held in reserve: it ended, or became the host's.
func (s *Server) release(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standbys[n.host.UUID] == n {
		delete(s.standbys, n.host.UUID)
	}
}

// endStandbys ends the streams in reserve of hosts that a plan does not know,
// or with no plan all. The caller holds the server's lock.
func (s *Server) endStandbys(p *placement.Plan, why error) {
	for uuid, n := range s.standbys {
		if p == nil || p.Derived.Host(uuid) == nil {
			n.end(why)
		}
	}
}

// pinged notes that the host asks whether this controller is alive; only its
// last question is answered.
func (n *session) pinged(p *hoststream.Ping) {
	n.mu.Lock()
	n.ping = p
	n.mu.Unlock()
	n.poke()
}

// nextPong returns the answer to a ping that has none.
func (n *session) nextPong() *hoststream.Pong {
	plan := n.server.Plan()
	n.server.mu.Lock()
	now := n.server.list
	n.server.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ping == nil {
		return nil
	}
	pong := &hoststream.Pong{Id: n.ping.Id, Controller: n.server.options.Name, Version: &hoststream.Version{}}
	n.ping = nil
	if plan != nil {
		pong.Version = &hoststream.Version{Epoch: plan.Version.Epoch, Revision: plan.Version.Revision}
	}
	if n.told != now.number {
		n.told, pong.Controllers = now.number, now.controllers
	}
	return pong
}
