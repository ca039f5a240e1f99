// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

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
	s.writeProblem(w, statusOf(e.Code), e)
}

func (s *Server) writeProblem(w http.ResponseWriter, status int, e *api.Error) {
	data, err := encode(bounded(e))
	if err != nil {
		s.log.Error("server: encode an error", "error", err)
		data = []byte(`{"code":"internal","message":"a fault of ours"}`)
	}
	_ = s.writeJSON(w, status, data) // a client that is gone needs no error
}

const (
	// messageMax bounds the texts of an error, which may quote what was sent.
	messageMax = 4096
	// problemsMax bounds how many problems of one object are told.
	problemsMax = 100
)

// bounded is an error whose texts are not as long as the request that they quote.
func bounded(e *api.Error) *api.Error {
	short := *e
	for _, text := range []*string{&short.Message, &short.Object, &short.Field} {
		*text = shortened(*text)
	}
	short.Problems = nil
	for i, p := range e.Problems {
		if i == problemsMax {
			short.Problems = append(short.Problems, api.Problem{Field: p.Field, Reason: fmt.Sprintf("this and %d more are wrong", len(e.Problems)-i-1)})
			break
		}
		short.Problems = append(short.Problems, api.Problem{Field: shortened(p.Field), Reason: shortened(p.Reason)})
	}
	return &short
}

func shortened(text string) string {
	if len(text) <= messageMax {
		return text
	}
	return strings.ToValidUTF8(text[:messageMax], "") + "…"
}

// pieceBytes is what a reader must take in the time of a piece.
const pieceBytes = 256 << 10

// errSlowReader says that a reader did not take what was sent in time.
var errSlowReader = errors.New("the reader does not take it in time")

// push sends some bytes before a deadline.
func push(w io.Writer, control *http.ResponseController, data []byte, deadline time.Time) error {
	err := control.SetWriteDeadline(deadline)
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err = w.Write(data); err != nil && !time.Now().Before(deadline) {
		return errSlowReader // however the version of HTTP calls it
	}
	return err
}

// writeJSON writes a reply, piece by piece: a reader that takes none of it for
// some time is given up, and so is one that takes very long.
func (s *Server) writeJSON(w http.ResponseWriter, status int, data []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	control := http.NewResponseController(w)
	end := time.Now().Add(s.limits.whole)
	for len(data) > 0 {
		n := min(len(data), pieceBytes)
		deadline := time.Now().Add(s.limits.piece)
		if end.Before(deadline) {
			deadline = end
		}
		if err := push(w, control, data[:n], deadline); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// encode writes one line of JSON, with <> as they are: no browser guesses at it.
func encode(body any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(body)
	return b.Bytes(), err
}
