// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"
	"time"

	"github.com/weft-network/weft/api"
)

// readyTimeout bounds all checks of readiness together: whoever asks does so
// every few seconds.
const readyTimeout = 5 * time.Second

// Check is something that must hold for this controller to be of use.
type Check struct {
	Name string
	// Holds returns why it does not, or nil.
	Holds func(ctx context.Context) error
}

func (s *Server) registerHealth() {
	health := s.schemaOf(api.Health{})
	s.add(operation{
		id: "live", method: http.MethodGet, path: "/livez", tag: "about", roles: anybody,
		summary: "Whether this process answers; nothing else is looked at, so that it is restarted only when that helps", reply: health,
		handle: func(context.Context, *request) (any, error) { return api.Health{Status: api.HealthOK}, nil },
	})
	s.add(operation{
		id: "ready", method: http.MethodGet, path: "/readyz", tag: "about", roles: anybody,
		summary: "Whether this controller can serve: 200, or 503 with the checks that fail; why is told to Weft's own credentials only", reply: health,
		stream: s.ready, sends: "application/json",
	})
	s.add(operation{
		id: "health", method: http.MethodGet, path: "/healthz", tag: "about", roles: anybody,
		summary: "Whether the store answers, and whether it is full; its revision is told to Weft's own credentials only", reply: health,
		handle: s.health,
	})
}

// insider tells whether a request to an operation for anybody comes with Weft's
// own credentials. Wrong ones are like none.
func (s *Server) insider(r *request) bool {
	who, err := s.authenticate(r.Request)
	return err == nil && authorize(who, readers) == nil && onlyWeft(who, "health") == nil
}

// ready runs all checks, so that one answer names all that fail.
func (s *Server) ready(w http.ResponseWriter, r *request) error {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	insider := s.insider(r)
	h, status := api.Health{Status: api.HealthReady}, http.StatusOK
	checks := append([]Check{{"store", func(ctx context.Context) error { _, err := s.store.State(ctx); return err }}}, s.checks...)
	for _, c := range checks {
		result := api.HealthCheckResult{Name: c.Name, OK: true}
		if err := c.Holds(ctx); err != nil {
			result.OK = false
			h.Status, status = api.HealthNotReady, http.StatusServiceUnavailable
			if insider {
				result.Message = err.Error()
			}
		}
		h.Checks = append(h.Checks, result)
	}
	data, err := encode(h)
	if err != nil {
		return err
	}
	return s.writeJSON(w, status, data)
}

func (s *Server) health(ctx context.Context, r *request) (any, error) {
	state, err := s.store.State(ctx)
	if err != nil {
		return nil, err
	}
	h := api.Health{Status: api.HealthOK}
	if s.store.Stuck() != "" {
		h.Status = api.HealthNotWriting
	}
	if state.Full {
		h.Status = api.HealthFull // reads and agents are served all the same
	}
	if s.insider(r) {
		h.Revision = state.Revision
	}
	return h, nil
}
