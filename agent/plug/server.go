// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/attachment"
)

const (
	// maxBody bounds a request; the longest parts are names and paths.
	maxBody = 64 << 10
	// maxCollection bounds the list of all interfaces of a host: 20,000 and more.
	maxCollection = 4 << 20
	// stopTimeout is how long requests in flight may take when the agent stops.
	stopTimeout = 2 * time.Second
)

// Serve answers requests on the socket in a directory until the context ends.
// It calls ready once it listens.
func (p *Plugger) Serve(ctx context.Context, runDir string, ready func()) error {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return fmt.Errorf("create run directory: %w", err)
	}
	path := filepath.Join(runDir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove socket of an earlier run: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("protect socket: %w", err)
	}
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s := &http.Server{
		Handler:           p.handler(),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: stopTimeout,
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	ready()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", path, err)
	case <-ctx.Done():
	}
	cancel() // waiting requests end at once
	limited, stop := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer stop()
	err = s.Shutdown(limited)
	<-ended
	return err
}

func (p *Plugger) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/plug", func(w http.ResponseWriter, r *http.Request) {
		var q Request
		if !read(w, r, &q) {
			return
		}
		a, err := p.Plug(r.Context(), q)
		reply(w, a, err)
	})
	mux.HandleFunc("POST /v1/unplug", func(w http.ResponseWriter, r *http.Request) {
		var q Request
		if !read(w, r, &q) {
			return
		}
		reply(w, struct{}{}, p.Unplug(r.Context(), q.Port))
	})
	p.handleAttachments(mux)
	mux.HandleFunc("GET /v1/ports", func(w http.ResponseWriter, r *http.Request) {
		list, err := p.List(r.Context())
		reply(w, list, err)
	})
	return mux
}

// handleAttachments answers a container runtime's plugin.
func (p *Plugger) handleAttachments(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/attach", func(w http.ResponseWriter, r *http.Request) {
		var q attachment.Request
		if read(w, r, &q) {
			a, err := p.Attach(r.Context(), q)
			reply(w, a, err)
		}
	})
	mux.HandleFunc("POST /v1/detach", func(w http.ResponseWriter, r *http.Request) {
		var k attachment.Key
		if read(w, r, &k) {
			reply(w, struct{}{}, p.Detach(r.Context(), k))
		}
	})
	mux.HandleFunc("POST /v1/check", func(w http.ResponseWriter, r *http.Request) {
		var k attachment.Key
		if read(w, r, &k) {
			reply(w, struct{}{}, p.Check(r.Context(), k))
		}
	})
	mux.HandleFunc("POST /v1/collect", func(w http.ResponseWriter, r *http.Request) {
		var q attachment.Collection
		if readUpTo(w, r, &q, maxCollection) {
			done, err := p.Collect(r.Context(), q)
			reply(w, done, err)
		}
	})
	mux.HandleFunc("GET /v1/ready", func(w http.ResponseWriter, r *http.Request) {
		ready, err := p.Ready(r.Context())
		reply(w, ready, err)
	})
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	return readUpTo(w, r, into, maxBody)
}

func readUpTo(w http.ResponseWriter, r *http.Request, into any, most int64) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		reply(w, nil, api.Errorf(api.CodeInvalid, "read request: %v", err))
		return false
	}
	return true
}

var statusOf = map[api.Code]int{
	api.CodeInvalid:     http.StatusBadRequest,
	api.CodeNotFound:    http.StatusNotFound,
	api.CodeConflict:    http.StatusConflict,
	api.CodeTimeout:     http.StatusGatewayTimeout,
	api.CodeUnavailable: http.StatusServiceUnavailable,
}

func reply(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		var e *api.Error
		if !errors.As(err, &e) {
			e = api.Errorf(api.CodeInternal, "%v", err)
		}
		status, known := statusOf[e.Code]
		if !known {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
		body = e
	}
	_ = json.NewEncoder(w).Encode(body) // the caller has gone; nobody is left to tell
}
