// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weft-network/weft/api"
)

// request is one request whose sender is known and may use the operation.
type request struct {
	*http.Request
	who  api.Identity
	body []byte
	// leave gives back what the request holds of the server's memory.
	leave []func()
}

// hold takes memory for something that the request keeps until it is answered.
func (s *Server) hold(ctx context.Context, r *request, bytes int) error {
	leave, err := s.limits.memory.enter(ctx, holderOf(r.who), 1+bytes>>20)
	if err == nil {
		r.leave = append(r.leave, leave)
	}
	return err
}

// operation is one method of one path, for serving and for the description.
type operation struct {
	id      string
	method  string
	path    string
	summary string
	tag     string
	roles   []api.Role
	query   []parameter
	body    *huma.Schema // nil: takes none
	media   string       // of the body; JSON when empty
	status  int          // of success
	reply   *huma.Schema // nil: has none
	// handle does the work and returns the reply's body.
	handle func(context.Context, *request) (any, error)
	// stream, in place of handle, writes the reply itself, of media type sends.
	stream func(http.ResponseWriter, *request) error
	sends  string
}

// parameter is one of the query.
type parameter struct {
	name   string
	doc    string
	number bool
	many   bool
}

// add serves an operation and describes it.
func (s *Server) add(o operation) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	description := s.describe(o)
	s.api.OpenAPI().AddOperation(description)
	s.api.Adapter().Handle(description, func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		begun, code := time.Now(), codeDone
		if err := s.serve(w, r, &o); err != nil {
			e := s.problem(err)
			code = string(e.Code)
			s.writeError(w, e)
		}
		s.metrics.observe(o.id, code, begun)
	})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, o *operation) error {
	q := &request{Request: r}
	defer func() {
		for _, leave := range q.leave {
			leave()
		}
	}()
	if o.roles != nil {
		who, err := s.authenticate(r)
		if err != nil {
			return err
		}
		if err := authorize(who, o.roles); err != nil {
			if r.Method != http.MethodGet {
				s.audit(who, o.id, "", r.URL.Path, 0, err)
			}
			return err
		}
		q.who = who
		s.presence.note(who, time.Now())
	}
	if err := checkQuery(r, o.query); err != nil {
		return err
	}
	if o.body != nil {
		var err error
		if q.body, err = s.readBody(w, q); err != nil {
			return err
		}
	}
	if o.stream != nil {
		return o.stream(w, q)
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	body, err := o.handle(ctx, q)
	if err != nil {
		return err
	}
	if body == nil {
		w.WriteHeader(o.status)
		return nil
	}
	data, err := encode(body)
	if err != nil {
		return fmt.Errorf("encode a reply: %w", err)
	}
	s.cut(q, s.writeJSON(w, o.status, data))
	return nil
}

// checkQuery refuses parameters an operation does not have: a mistyped filter
// would otherwise select everything.
func checkQuery(r *http.Request, known []parameter) error {
	for name, values := range r.URL.Query() {
		var p *parameter
		for i := range known {
			if known[i].name == name {
				p = &known[i]
			}
		}
		bad := func(reason string) error {
			e := api.Errorf(api.CodeInvalid, "%s %s: query parameter %q %s", r.Method, r.URL.Path, name, reason)
			e.Field = "query." + name
			return e
		}
		if p == nil {
			var names []string
			for _, k := range known {
				names = append(names, k.name)
			}
			return bad(fmt.Sprintf("is not known: want one of %v", names))
		}
		if len(values) > 1 && !p.many {
			return bad("is given more than once")
		}
		if n, err := strconv.ParseInt(values[0], 10, 64); p.number && (err != nil || n < 0) {
			return bad("is not a whole number")
		}
	}
	return nil
}

// number returns a numeric query parameter that was checked, 0 if absent.
func (r *request) number(name string) int64 {
	n, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	return n
}

// readBody reads a body, once there is room for it. One that says itself that it
// is too large is not read at all.
func (s *Server) readBody(w http.ResponseWriter, r *request) ([]byte, error) {
	tooLarge := api.Errorf(api.CodeTooLarge, "%s %s: the body is larger than %d bytes: send less at once", r.Method, r.URL.Path, bodyMax)
	if r.ContentLength > bodyMax {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // rather than read the rest
		}
		return nil, tooLarge
	}
	room := bodyMax // of one that does not say how long it is
	if r.ContentLength >= 0 {
		room = int(r.ContentLength)
	}
	if err := s.hold(r.Context(), r, room); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, api.Errorf(api.CodeTimeout, "%s %s: the body did not come in %v", r.Method, r.URL.Path, s.http.ReadTimeout)
	case err != nil:
		return nil, api.Errorf(api.CodeInvalid, "%s %s: read the body: %v", r.Method, r.URL.Path, err)
	}
	return data, nil
}

// decodeObject reads an object of a kind strictly. The kind may be left out
// where the path says it.
func decodeObject(data []byte, kind api.Kind) (api.Object, error) {
	var fields map[string]json.RawMessage
	if err := api.DecodeStrictly(data, &fields); err != nil {
		return nil, err
	}
	if kind != "" && fields["kind"] == nil {
		fields["kind"] = json.RawMessage(strconv.Quote(string(kind)))
		var err error
		if data, err = json.Marshal(fields); err != nil {
			return nil, api.Errorf(api.CodeInvalid, "read the body: %v", err)
		}
	}
	o, err := api.Decode(data, true)
	if err != nil {
		return nil, err
	}
	if kind != "" && o.Head().Kind != kind {
		e := api.Errorf(api.CodeInvalid, "read the body: it is a %s, the path is for a %s", o.Head().Kind, kind)
		e.Field = "kind"
		return nil, e
	}
	return o, nil
}

// schemaOf returns the schema of a Go type.
func (s *Server) schemaOf(v any) *huma.Schema {
	return s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}
