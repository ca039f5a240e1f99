// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Headers that say who asks. They are written here and nowhere else: what a
// workload sends under these names is removed.
const (
	HeaderPort      = "X-Weft-Port"             // UUID
	HeaderMachine   = "X-Instance-Id"           // UUID of the port's virtual-machine
	HeaderProject   = "X-Tenant-Id"             // UUID
	HeaderAddress   = "X-Forwarded-For"         // an address of the port
	HeaderSigned    = "X-Instance-Id-Signature" // of the machine's UUID alone
	HeaderSignature = "X-Weft-Signature"        // of port, machine, project and address, a line each
)

// Bounds of the metadata proxy: a workload can take this much of its host.
const (
	maxMetadataHeader = 32 << 10
	maxMetadataBody   = 1 << 20
	maxMetadataAtOnce = 256 // of all workloads together
	maxMetadataEach   = 32  // of one
	metadataPatience  = 30 * time.Second
	// serverPatience is what the metadata server has, less than the workload
	// has: it is to hear why there is no answer.
	serverPatience = 20 * time.Second
)

// Metadata passes what workloads ask at the metadata addresses on to a server,
// and says who asks.
type Metadata struct {
	services *Services
	upstream *url.URL
	secret   []byte
	slots    *Slots
	patience time.Duration // with the server
}

// NewMetadata returns a proxy for a server that knows the secret.
func NewMetadata(s *Services, upstream *url.URL, secret []byte) *Metadata {
	return &Metadata{services: s, upstream: upstream, secret: secret, slots: NewSlots(maxMetadataAtOnce, maxMetadataEach), patience: serverPatience}
}

// Sign returns the signature of a text, HMAC-SHA256 in hexadecimal.
func Sign(secret []byte, text string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// Identify replaces the headers that say who asks.
func Identify(h http.Header, f Facts, six bool, secret []byte) {
	address := ""
	for _, a := range f.Addresses {
		if a.Is6() == six || address == "" {
			address = a.String()
		}
		if a.Is6() == six {
			break
		}
	}
	for key, value := range map[string]string{
		HeaderPort: f.Port, HeaderMachine: f.Machine, HeaderProject: f.Project, HeaderAddress: address,
		HeaderSigned:    Sign(secret, f.Machine),
		HeaderSignature: Sign(secret, f.Port+"\n"+f.Machine+"\n"+f.Project+"\n"+address),
	} {
		for sent := range h { // some servers take an underscore for a dash
			if http.CanonicalHeaderKey(strings.ReplaceAll(sent, "_", "-")) == http.CanonicalHeaderKey(key) {
				delete(h, sent)
			}
		}
		h.Set(key, value)
	}
	if f.Machine == "" { // no machine, and nothing that could be taken for its signature
		h.Del(HeaderMachine)
		h.Del(HeaderSigned)
	}
}

// Run answers at the listeners until the context ends.
func (m *Metadata) Run(ctx context.Context, l *Listeners) error {
	server := &http.Server{
		Handler: m.handler(), MaxHeaderBytes: maxMetadataHeader,
		ReadHeaderTimeout: idle, ReadTimeout: metadataPatience, WriteTimeout: metadataPatience, IdleTimeout: idle,
		ErrorLog: slog.NewLogLogger(m.services.log.Handler(), slog.LevelDebug),
	}
	group, ctx := errgroup.WithContext(ctx)
	slots := NewSlots(maxConnections, maxConnectionsEach)
	for _, s := range l.Streams {
		group.Go(func() error {
			if err := server.Serve(bounded{s, m.services, slots}); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
				return fmt.Errorf("serve metadata: %w", err)
			}
			return nil
		})
	}
	group.Go(func() error { <-ctx.Done(); return server.Close() })
	return group.Wait()
}

func (m *Metadata) handler() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite:   m.rewrite,
		Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: idle}).DialContext, ResponseHeaderTimeout: m.patience, MaxIdleConnsPerHost: 8, IdleConnTimeout: idle},
		ErrorLog:  slog.NewLogLogger(m.services.log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			code, why := statusOf(err)
			if code != http.StatusRequestEntityTooLarge {
				m.services.log.Warn("the metadata server does not answer", "server", m.upstream.Host, "error", err)
			}
			http.Error(w, why, code)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, known := m.services.whose(remote(r.RemoteAddr))
		if !known {
			http.Error(w, "not a workload of this host", http.StatusForbidden)
			return
		}
		if !m.slots.Take(f.Port) {
			m.services.crowded.Add(1)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many ask at once", http.StatusServiceUnavailable)
			return
		}
		defer m.slots.Give(f.Port)
		r.Body = http.MaxBytesReader(w, r.Body, maxMetadataBody)
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), caller{}, f)))
	})
}

// statusOf says what a workload hears of a failure.
func statusOf(err error) (code int, text string) {
	var late net.Error
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("a request has at most %d bytes", long.Limit)
	case errors.As(err, &late) && late.Timeout():
		return http.StatusGatewayTimeout, "metadata server does not answer in time"
	}
	return http.StatusBadGateway, "metadata server does not answer"
}

// caller is the key of the facts of who asks.
type caller struct{}

func (m *Metadata) rewrite(p *httputil.ProxyRequest) {
	f, _ := p.In.Context().Value(caller{}).(Facts)
	p.SetURL(m.upstream)
	p.Out.Host = m.upstream.Host
	p.Out.Trailer = nil // headers after the body, which nobody has looked at
	p.Out.Header.Del("Upgrade")
	p.Out.Header.Del("Connection")
	at, _ := netip.ParseAddrPort(p.In.RemoteAddr)
	Identify(p.Out.Header, f, at.Addr().Is6(), m.secret)
}

// remote is a text as the address that it is.
type remote string

func (r remote) Network() string { return "tcp" }
func (r remote) String() string  { return string(r) }
