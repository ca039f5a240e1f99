// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"net/url"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
)

// Ask asks a host for one of its tables, through whichever controller holds its stream.
type Ask func(ctx context.Context, host, table string) (api.Table, error)

// Connections tells a host to which a port came what the hosts with its other
// bindings know of its connections. One that does not answer is passed over: it
// may be gone, which is why the port came.
func (s *Server) Connections(ctx context.Context, q *hoststream.ConnectionsRequest) (*hoststream.ConnectionsReply, error) {
	plan, p, err := s.askedPort(ctx, q.Port, nil)
	if err != nil {
		return nil, err
	}
	derived := plan.Derived
	reply := &hoststream.ConnectionsReply{}
	if s.options.Ask == nil {
		return reply, nil
	}
	for _, former := range derived.Formers(p) {
		t, err := s.options.Ask(ctx, former, api.HostTablePortConnections+"?"+url.Values{"port": {q.Port}}.Encode())
		if err != nil {
			s.options.Log.Info("a host does not tell of the connections of a port that left it", "port", p.Ref, "host", derived.Host(former).Ref, "error", err)
			continue
		}
		reply.LeftOut += uint64(t.LeftOut)
		for _, row := range t.Rows {
			reply.Rows = append(reply.Rows, &hoststream.TableRow{Cells: row})
		}
	}
	return reply, nil
}

// askedPort is the port that a host asks about, which it has under a plan that is
// not older than what the host has itself.
func (s *Server) askedPort(ctx context.Context, port string, has *hoststream.Version) (*placement.Plan, *routing.Port, error) {
	host, err := peerHost(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s.options.Authority != nil && !s.options.Authority.Accepts(peerChain(ctx)) {
		return nil, nil, status.Errorf(codes.Unauthenticated, "tell host %s of a port: its certificate is good no more", host)
	}
	if err := s.waitPlan(ctx, host, has); err != nil {
		return nil, nil, err
	}
	plan := s.Plan()
	p := plan.Derived.Port(port)
	if p == nil || p.Host.UUID != host.UUID {
		return nil, nil, status.Errorf(codes.FailedPrecondition, "tell host %s of port %s: it is not here that the port is bound", host, port)
	}
	return plan, p, nil
}
