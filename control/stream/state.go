// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"maps"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
)

// HostState is what is known of a host that is, or was, connected to this controller.
type HostState struct {
	Host         api.Ref
	Connected    bool
	Controller   string // name of the one that holds its stream; set where several are looked at
	Session      uint64 // numbers the streams of this controller
	AgentVersion string
	Kernel       string
	InSync       bool              // it was told once that it has everything
	Settled      placement.Version // it acknowledged everything of this version
	RowErrors    map[string]string // by key: rows that are not in its kernel
	RowsSent     int               // rows put and deleted in this session
	// Report is the host's last one, nil before the first. It is shared: read only.
	Report *hoststream.Report
}

// Port returns what the host last reported of a port, or nil.
func (h *HostState) Port(uuid string) *hoststream.PortReport {
	for _, p := range h.Report.GetPorts() {
		if p.Port == uuid {
			return p
		}
	}
	return nil
}

// RowState is how far one row has come on its way to one host.
type RowState struct {
	Sent  bool // the host has it, or it is on its way, in its present form
	Acked bool // the host is done with it
	Error string
}

// Hosts returns the state of every host known here, by UUID.
func (s *Server) Hosts() map[string]HostState {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := maps.Clone(s.gone)
	for uuid, n := range s.sessions {
		states[uuid] = n.state(s.plan)
	}
	return states
}

// Host returns the state of one host; the zero state if it is not known here.
func (s *Server) Host(uuid string) HostState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.sessions[uuid]; n != nil {
		return n.state(s.plan)
	}
	return s.gone[uuid]
}

// Rows returns how far rows have come on their way to a host.
func (s *Server) Rows(host string, rows []placement.Row) []RowState {
	s.mu.Lock()
	n := s.sessions[host]
	s.mu.Unlock()
	if n == nil {
		return make([]RowState, len(rows))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.progress.rows(rows)
}

// state reads the session, under the newest plan. Callers may hold the server's lock; the session
// never takes that one while it holds its own.
func (n *session) state(plan *placement.Plan) HostState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return HostState{
		Host: n.host, Connected: true, Session: n.number, AgentVersion: n.hello.AgentVersion, Kernel: n.hello.Kernel,
		InSync: n.progress.inSync, Settled: n.progress.reached(plan), RowErrors: maps.Clone(n.progress.errors),
		RowsSent: n.progress.rowsSent, Report: n.report,
	}
}
