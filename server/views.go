// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	"github.com/weft-network/weft/api"
)

func (s *Server) networkRoutes(ctx context.Context, r *request) (any, error) {
	snapshot, err := s.store.Snapshot(ctx, 0)
	if err != nil {
		return nil, err
	}
	network, err := find(snapshot, api.KindNetwork, r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	var host string
	if text := r.URL.Query().Get("host"); text != "" {
		h, err := find(snapshot, api.KindHost, text)
		if err != nil {
			return nil, err
		}
		host = h.Head().Meta.UUID
	}
	reply := struct {
		Revision int64       `json:"revision"`
		Items    []api.Route `json:"items"`
	}{Items: []api.Route{}}
	revision, items, err := s.views.Routes(ctx, network.Head().Meta.UUID, host)
	reply.Revision, reply.Items = revision, append(reply.Items, items...)
	return reply, err
}

func (s *Server) hostTable(ctx context.Context, r *request) (any, error) {
	snapshot, err := s.store.Snapshot(ctx, 0)
	if err != nil {
		return nil, err
	}
	host, err := find(snapshot, api.KindHost, r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	return s.views.HostTable(ctx, host.Head().Meta.UUID, r.PathValue("table"))
}

func (s *Server) why(ctx context.Context, r *request) (any, error) {
	info, ok := api.ParseKind(r.PathValue("kind"))
	if !ok {
		return nil, api.Errorf(api.CodeNotFound, "why: %q is not a kind of object", r.PathValue("kind"))
	}
	snapshot, err := s.store.Snapshot(ctx, 0)
	if err != nil {
		return nil, err
	}
	o, err := find(snapshot, info.Kind, r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	reply := struct {
		Rows []api.WhyRow `json:"rows"`
	}{Rows: []api.WhyRow{}}
	rows, err := s.views.Why(ctx, snapshot, o)
	reply.Rows = append(reply.Rows, rows...)
	return reply, err
}

func (s *Server) health(ctx context.Context, _ *request) (any, error) {
	state, err := s.store.State(ctx)
	if err != nil {
		return nil, err
	}
	status := "ok"
	if state.Full {
		status = "full" // reads and agents are served all the same
	}
	return map[string]any{"status": status, "revision": state.Revision}, nil
}

func (s *Server) storeState(ctx context.Context, _ *request) (any, error) {
	return s.store.State(ctx)
}
