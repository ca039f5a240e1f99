// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	mediaEvents = "application/x-ndjson"
	// eventTimeout ends a watch whose reader does not take what is sent.
	eventTimeout = 30 * time.Second
)

// watch sends events, a line each, until the client goes. An error after the
// first event is a last line of its own, with code and message.
func (s *Server) watch(w http.ResponseWriter, r *request) error {
	select {
	case s.watches <- struct{}{}:
		defer func() { <-s.watches }()
	default:
		return api.Errorf(api.CodeUnavailable, "watch: %d watches are open, which is the limit: try another controller", watchesMax)
	}
	ctx, cancel := context.WithTimeout(r.Context(), watchLife)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	var kinds []api.Kind
	for _, text := range r.URL.Query()["kind"] {
		info, ok := api.ParseKind(text)
		if !ok {
			return api.Errorf(api.CodeInvalid, "watch: %q is not a kind of object", text).About("", "", "query.kind")
		}
		kinds = append(kinds, info.Kind)
	}
	watch, err := s.store.Watch(ctx, r.who, r.number("revision"), kinds)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	// The server's timeouts are for whole requests; this one has its own, per event.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaEvents)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if control.Flush() != nil {
		return nil
	}
	for {
		events, err := watch.Next(ctx)
		if err != nil {
			if r.Context().Err() == nil {
				s.sendLine(w, control, s.ended(ctx, err))
			}
			return nil
		}
		if _, err := s.authenticate(r.Request); err != nil {
			s.sendLine(w, control, s.problem(err)) // revoked or expired meanwhile
			return nil
		}
		s.presence.note(r.who, time.Now())
		for _, e := range events {
			if !s.sendLine(w, control, e) {
				return nil
			}
		}
		if control.Flush() != nil {
			return nil
		}
	}
}

// ended says why a watch goes no further.
func (s *Server) ended(ctx context.Context, err error) *api.Error {
	if ctx.Err() != nil {
		return api.Errorf(api.CodeUnavailable, "watch: this connection has ended: watch again")
	}
	return s.problem(err)
}

func (s *Server) sendLine(w http.ResponseWriter, control *http.ResponseController, body any) bool {
	data, err := encode(body)
	if err != nil {
		s.log.Error("server: encode an event", "cause", err)
		return false
	}
	if err := control.SetWriteDeadline(time.Now().Add(eventTimeout)); err != nil {
		return false
	}
	_, err = w.Write(data)
	return err == nil
}
