// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"strings"

	"github.com/weft-network/weft/api"
)

func (s *Server) networkRoutes(ctx context.Context, r *request) (any, error) {
	snapshot, err := s.seen(ctx, r, 0)
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

// maxQuestion bounds what a host is asked: a frame in hexadecimal, and some words.
const maxQuestion = 8 << 10

// hostTable prints what a host has of all tenants, so only who sees all of them
// may look.
func (s *Server) hostTable(ctx context.Context, r *request) (any, error) {
	if err := onlyWeft(r.who, "get table "+r.PathValue("table")+" of host "+r.PathValue("ref")); err != nil {
		return nil, err
	}
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	host, err := find(snapshot, api.KindHost, r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	m := &host.Head().Meta
	name := r.PathValue("table")
	if name == api.HostTableCapture {
		if err := s.mayCapture(r, snapshot, m); err != nil {
			return nil, err
		}
	}
	if question := r.URL.Query().Get("question"); question != "" {
		if len(question) > maxQuestion {
			return nil, api.Errorf(api.CodeInvalid, "get table %s of host %s: a question has at most %d bytes", name, m.Name, maxQuestion).About("", "", "query.question")
		}
		name += "?" + question
	}
	table, err := s.views.HostTable(ctx, m.UUID, name, r.URL.Query().Get("local") == "true")
	var e *api.Error
	if errors.As(err, &e) {
		return nil, ofHost(e, r.PathValue("table"), m)
	}
	return table, err
}

// mayCapture lets only administrators see a port's packets, and notes in the audit
// when somebody begins to. Where one controller passes the question on to another,
// both note it.
func (s *Server) mayCapture(r *request, snapshot api.Snapshot, host *api.Meta) error {
	q, err := api.ParseCaptureQuestion(r.URL.Query().Get("question"))
	if err != nil {
		return api.Errorf(api.CodeInvalid, "capture on host %s: %s", host.Name, err)
	}
	err = authorize(r.who, admins)
	if !q.Begin && err == nil {
		return nil
	}
	object := q.Port
	if port, missing := find(snapshot, api.KindPort, q.Port); missing == nil {
		object = port.Head().Meta.FQName
	}
	s.audit(r.who, "capture", api.KindPort, object, 0, err)
	return err
}

// ofHost names the host in an error that a host's connection gave: that knows
// only its UUID.
func ofHost(e *api.Error, table string, host *api.Meta) *api.Error {
	named := *e
	named.Message = strings.ReplaceAll(named.Message, host.UUID, host.Name)
	if !strings.Contains(named.Message, host.Name) {
		named.Message = "get table " + table + " of host " + host.Name + ": " + named.Message
	}
	return named.About(api.KindHost, host.FQName, e.Field)
}

func (s *Server) why(ctx context.Context, r *request) (any, error) {
	info, ok := api.ParseKind(r.PathValue("kind"))
	if !ok {
		return nil, api.Errorf(api.CodeNotFound, "why: %q is not a kind of object", r.PathValue("kind"))
	}
	if info.Kind == api.KindHost { // all that is on it, as its tables
		if err := onlyWeft(r.who, "why host "+r.PathValue("ref")); err != nil {
			return nil, err
		}
	}
	snapshot, err := s.seen(ctx, r, 0)
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

func (s *Server) storeState(ctx context.Context, r *request) (any, error) {
	if err := onlyWeft(r.who, "get the store's state"); err != nil {
		return nil, err
	}
	return s.store.State(ctx)
}
