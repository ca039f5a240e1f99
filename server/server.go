// SPDX-License-Identifier: Apache-2.0

// Package server is the REST API in front of the store: it finds out who asks,
// whether they may ask, decodes strictly, and turns every outcome into JSON;
// each error of whatever layer leaves as an api.Error. It decides nothing about
// objects; that is the store's.
//
// The operations of every kind are registered by one function over api.Kinds,
// and the OpenAPI description is generated from the same registrations.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/server/authority"
	"github.com/weft-network/weft/server/oidc"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
)

const (
	// bodyMax is etcd's limit of a request: nothing larger could be stored.
	bodyMax = 1<<20 + 1<<19
	// headerTimeout and readTimeout end clients that send slowly on purpose.
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	// writeTimeout bounds a reply; the largest lists take seconds.
	writeTimeout = 2 * time.Minute
	idleTimeout  = 2 * time.Minute
	// headerMax is far above any header of ours.
	headerMax = 64 << 10
	// requestTimeout bounds the work of a request; the store's commit has 20 s.
	requestTimeout = 25 * time.Second
	// watchLife ends a watch, so that its credentials are looked at again.
	watchLife = time.Hour
	// streamsMax bounds the requests of one HTTP/2 connection at a time.
	streamsMax = 128
	// pingAfter and pingTimeout find peers that are gone without a word.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// limits bound what clients can make the server hold.
type limits struct {
	// memory is for bodies and replies, in MiB; a list counts a KiB an object.
	memory *gate
	// watches are goroutines and the events that wait for their readers.
	watches *gate
	// connections cost some 50 KiB each, also idle ones.
	connections *gate
	// piece ends a reply or a watch whose reader does not take a piece of it in
	// that time, whole one whose reader does not take all that is ready.
	piece, whole time.Duration
}

func defaultLimits() limits {
	return limits{
		memory:      newGate("MiB of bodies and replies", 512, 128, 5*time.Second),
		watches:     newGate("watches", 10_000, 2_500, 0),
		connections: newGate("connections", 8192, 2048, 0),
		piece:       30 * time.Second,
		whole:       writeTimeout,
	}
}

// Views answers from what the controller has derived and what hosts report.
type Views interface {
	// Routes returns the routes of a network, all or those a host has, and the
	// revision they were derived from.
	Routes(ctx context.Context, networkUUID, hostUUID string) (int64, []api.Route, error)
	// HostTable returns a table of a host as it is now; with local, only if this
	// controller holds its stream.
	HostTable(ctx context.Context, hostUUID, table string, local bool) (api.Table, error)
	// Why returns the chain of rows from an object's intent to the kernel.
	Why(ctx context.Context, s api.Snapshot, o api.Object) ([]api.WhyRow, error)
	// Reach says exactly what policy lets workloads say to others, of those seen.
	Reach(ctx context.Context, seen api.Snapshot, from, to string) (api.Reach, error)
	// Check says which assertions hold, or would after changes.
	Check(ctx context.Context, seen api.Snapshot, assertions []api.Assertion, changes *api.Changes) (api.Check, error)
	// Judge says which conversations would be judged otherwise after changes.
	Judge(ctx context.Context, seen api.Snapshot, conversations []api.Conversation, changes *api.Changes) (api.Judgements, error)
}

// Options are what a server needs.
type Options struct {
	Store *store.Store
	Views Views
	CA    *pki.CA
	// Certificate is the server's own.
	Certificate *pki.ServerCertificate
	// Authority replaces CA's authorities and knows who has which certificate.
	Authority *authority.Keeper
	// Streams are the addresses of stream listeners that joining hosts are told.
	Streams []string
	// People, if set, are known by ID tokens of OpenID Connect.
	People *oidc.People
	// Ready are checks of readiness besides that the store answers.
	Ready []Check
	// SilentAfter is how long an orchestrator may be silent before its condition
	// says so; 0 means ten minutes. Nothing else follows from silence.
	SilentAfter time.Duration
	// Audit, if set, keeps what GET /v1/audit answers from.
	Audit Audit
	// Colleagues, if set, are the other controllers.
	Colleagues Colleagues
	// Metrics, if set, answers GET /metrics for the whole process.
	Metrics http.Handler
	// Log takes the audit and errors of our own.
	Log *slog.Logger
}

// Server serves the REST API.
type Server struct {
	store   *store.Store
	views   Views
	ca      *pki.CA
	keeper  *authority.Keeper
	people  *oidc.People
	checks  []Check
	streams []string
	log     *slog.Logger
	mux     *http.ServeMux
	api     huma.API
	http    *http.Server
	limits  limits
	// listings are lists that are read page by page.
	listings listings
	metrics  metrics
	// kept takes the audit; nil where it is only logged.
	kept Audit
	// colleagues are nil where there are none.
	colleagues Colleagues

	closing context.Context
	close   context.CancelFunc

	silentAfter time.Duration
	presence    presence
	// The goroutine that writes presence begins with the first Serve and ends
	// with Close, which waits for it.
	started sync.Once
	wait    sync.WaitGroup
}

// New makes a server; Serve serves a listener.
func New(o Options) *Server {
	s := &Server{
		store: o.Store, views: o.Views, ca: o.CA, keeper: o.Authority, people: o.People, checks: o.Ready, streams: o.Streams, log: o.Log,
		mux: http.NewServeMux(), limits: defaultLimits(), metrics: newMetrics(),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.silentAfter = o.SilentAfter; s.silentAfter == 0 {
		s.silentAfter = defaultSilentAfter
	}
	s.closing, s.close = context.WithCancel(context.Background())
	s.api = humago.New(s.mux, description())
	s.kept, s.colleagues = o.Audit, o.Colleagues
	s.register()
	s.registerMetrics(o.Metrics)
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: headerMax,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streamsMax, SendPingTimeout: pingAfter, PingTimeout: pingTimeout,
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // handshakes that strangers break off
	}
	if o.Certificate != nil {
		s.http.TLSConfig = o.Certificate.TLS(tls.RequestClientCert) // which are verified with each request
	}
	return s
}

// Serve answers requests of a listener with TLS until Close; it may be called
// for several.
func (s *Server) Serve(l net.Listener) error {
	s.started.Do(func() { s.wait.Go(s.watchPresence) })
	if err := s.http.ServeTLS(boundedListener{l, s.limits.connections}, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API on %v: %w", l.Addr(), err)
	}
	return nil
}

// Close ends watches and listeners, and waits for other requests until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	s.close()
	s.started.Do(func() {}) // nothing begins after this
	s.wait.Wait()
	if err := s.http.Shutdown(ctx); err != nil {
		s.http.Close()
		return fmt.Errorf("end the API: %w", err)
	}
	return nil
}

// OpenAPI returns the description of the API as JSON.
func (s *Server) OpenAPI() ([]byte, error) { return s.api.OpenAPI().MarshalJSON() }

// ServeHTTP answers one request; unknown paths and methods get our errors too.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("server: a request panicked", "method", r.Method, "path", r.URL.Path, "panic", p)
			s.writeError(w, api.Errorf(api.CodeInternal, "%s %s: a fault of ours; the controller's log has the details", r.Method, r.URL.Path))
		}
	}()
	if p := r.URL.EscapedPath(); p != path.Clean(p) { // the mux would redirect, in HTML
		s.writeError(w, noPath(r))
		return
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.noRoute(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// noRoute answers for a path, or a method of a path, that does not exist.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "" {
			w.Header().Add("Allow", method)
		}
	}
	if allowed := w.Header().Values("Allow"); len(allowed) > 0 {
		e := api.Errorf(api.CodeInvalid, "%s %s: the method is not one of %v", r.Method, r.URL.Path, allowed)
		s.writeProblem(w, http.StatusMethodNotAllowed, e)
		return
	}
	s.writeError(w, noPath(r))
}

func noPath(r *http.Request) error {
	return api.Errorf(api.CodeNotFound, "%s %s: there is no such path; GET /v1/openapi.json lists all", r.Method, r.URL.Path)
}
