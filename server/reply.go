// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/weft-network/weft/api"
)

// statusOf is the HTTP status a code is sent with.
func statusOf(code api.Code) int {
	switch code {
	case api.CodeInvalid:
		return http.StatusBadRequest
	case api.CodeUnauthenticated:
		return http.StatusUnauthorized
	case api.CodeForbidden:
		return http.StatusForbidden
	case api.CodeNotFound:
		return http.StatusNotFound
	case api.CodeConflict, api.CodeExhausted:
		return http.StatusConflict
	case api.CodeGone:
		return http.StatusGone
	case api.CodePrecondition:
		return http.StatusPreconditionFailed
	case api.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case api.CodeUnavailable:
		return http.StatusServiceUnavailable
	case api.CodeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// problem turns any error into one of the API. What is not one already is our
// own fault: its text is logged, not sent.
func (s *Server) problem(err error) *api.Error {
	var e *api.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return api.Errorf(api.CodeTimeout, "the request took too long: %v", err)
	}
	s.log.Error("server: an error without a code", "error", err)
	return api.Errorf(api.CodeInternal, "a fault of ours; the controller's log has the details")
}

func (s *Server) writeError(w http.ResponseWriter, err error) {
	e := s.problem(err)
	if e.Code == api.CodeUnauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="weft"`)
	}
	s.writeJSON(w, statusOf(e.Code), e)
}

func (s *Server) writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := encode(body)
	if err != nil {
		s.log.Error("server: encode a reply", "error", err)
		http.Error(w, `{"code":"internal","message":"a fault of ours"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(data) // a client that is gone needs no error
}

// encode writes one line of JSON, with <> as they are: no browser guesses at it.
func encode(body any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(body)
	return b.Bytes(), err
}
