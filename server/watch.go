// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
)

const mediaEvents = "application/x-ndjson"

// watch sends events, a line each, until the client goes. An error after the
// first event is a last line of its own, with code and message.
func (s *Server) watch(w http.ResponseWriter, r *request) error {
	leave, err := s.limits.watches.enter(r.Context(), holderOf(r.who), 1)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), watchLife)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	watch, show, err := s.begin(ctx, r)
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
				_ = s.sendLine(w, control, s.ended(ctx, err)) // it ends anyway
			}
			return nil
		}
		if _, err := s.authenticate(r.Request); err != nil {
			_ = s.sendLine(w, control, s.problem(err)) // revoked or expired meanwhile
			return nil
		}
		s.presence.note(r.who, time.Now())
		if !s.sendEvents(w, r, control, show, events) {
			return nil
		}
	}
}

// sendEvents sends what is ready, unless the reader takes it too slowly: until
// then all of it is held in memory.
func (s *Server) sendEvents(w http.ResponseWriter, r *request, control *http.ResponseController, show eventFields, events []api.Event) bool {
	begun := time.Now()
	for n, e := range events {
		if time.Since(begun) > s.limits.whole {
			_ = s.sendLine(w, control, api.Errorf(api.CodeUnavailable, "watch: the reader is too slow, it took %d of %d events in %v: watch again from revision %d", n, len(events), s.limits.whole, e.Revision-1))
			s.cut(r, errSlowReader)
			return false
		}
		if err := s.sendLine(w, control, show.event(e)); err != nil {
			s.cut(r, err)
			return false
		}
	}
	return control.Flush() == nil
}

// cut tells of a reader that was given up; one that went by itself is no news.
func (s *Server) cut(r *request, err error) {
	if errors.Is(err, errSlowReader) {
		s.metrics.cut.Inc()
		s.log.Info("server: a reply was broken off", "error", err, "path", r.URL.Path, "who", r.who.Name, "orchestrator", r.who.Orchestrator, "address", r.RemoteAddr)
	}
}

// begin reads what is to be watched and begins to. What the selection refers to
// by name is looked up once, now.
func (s *Server) begin(ctx context.Context, r *request) (*store.Watch, eventFields, error) {
	query := r.URL.Query()
	options := store.WatchOptions{Soon: query.Get("bookmarks") == "soon"}
	if text := query.Get("bookmarks"); text != "" && text != "soon" {
		return nil, nil, badQuery("bookmarks", "may be soon or absent")
	}
	var infos []api.Info
	for _, text := range query["kind"] {
		info, ok := api.ParseKind(text)
		if !ok {
			return nil, nil, api.Errorf(api.CodeInvalid, "watch: %q is not a kind of object", text).About("", "", "query.kind")
		}
		infos = append(infos, info)
		options.Kinds = append(options.Kinds, info.Kind)
	}
	if len(infos) == 0 {
		infos = api.Kinds()
	}
	show := eventFields{}
	for _, info := range infos {
		var err error
		if show[info.Kind], err = projectionOf(info.Kind, query); err != nil {
			return nil, nil, err
		}
	}
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, nil, err
	}
	selection, err := parseSelection(snapshot, infos, query)
	if err != nil {
		return nil, nil, err
	}
	if !reflect.DeepEqual(selection, api.Selection{}) {
		options.Selected = selection.Matches
	}
	watch, err := s.store.WatchSelected(ctx, r.who, r.number("revision"), options)
	return watch, show, err
}

// eventFields are the fields that events show, by kind.
type eventFields map[api.Kind]projection

// event is what is sent of an event.
func (f eventFields) event(e api.Event) any {
	show := f[e.Kind]
	if show == nil || e.Object == nil {
		return e
	}
	object, err := show.object(e.Object)
	if err != nil {
		return e // it is whole, which is never wrong
	}
	return struct {
		Type     string   `json:"type"`
		Revision int64    `json:"revision"`
		Kind     api.Kind `json:"kind"`
		Object   any      `json:"object"`
	}{e.Type, e.Revision, e.Kind, object}
}

// ended says why a watch goes no further.
func (s *Server) ended(ctx context.Context, err error) *api.Error {
	if ctx.Err() != nil {
		return api.Errorf(api.CodeUnavailable, "watch: this connection has ended: watch again")
	}
	return s.problem(err)
}

func (s *Server) sendLine(w http.ResponseWriter, control *http.ResponseController, body any) error {
	data, err := encode(body)
	if err != nil {
		s.log.Error("server: encode an event", "error", err)
		return err
	}
	return push(w, control, data, time.Now().Add(s.limits.piece))
}
