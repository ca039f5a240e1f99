// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"net/url"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// Ask asks a host for one of its tables, through whichever controller holds its stream.
type Ask func(ctx context.Context, host, table string) (api.Table, error)

// Connections tells a host to which a port came what the hosts with its other
// bindings know of its connections. One that does not answer is passed over: it
// may be gone, which is why the port came.
func (s *Server) Connections(ctx context.Context, q *hoststream.ConnectionsRequest) (*hoststream.ConnectionsReply, error) {
	host, err := peerHost(ctx)
	if err != nil {
		return nil, err
	}
	if s.options.Authority != nil && !s.options.Authority.Accepts(peerChain(ctx)) {
		return nil, status.Errorf(codes.Unauthenticated, "tell host %s of connections: its certificate is good no more", host)
	}
	if err := s.waitPlan(ctx, host, nil); err != nil {
		return nil, err
	}
	derived := s.Plan().Derived
	p := derived.Port(q.Port)
	if p == nil || p.Host.UUID != host.UUID {
		return nil, status.Errorf(codes.FailedPrecondition, "tell host %s of the connections of port %s: it is not here that the port is bound", host, q.Port)
	}
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
