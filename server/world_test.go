// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/server/audit"
	"github.com/weft-network/weft/server/authority"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
)

// world is the API on a real etcd over real TLS.
type world struct {
	t     testing.TB
	store *store.Store
	ca    *pki.CA
	url   string
	audit *lines
	admin *client.Client
	// server is the one behind url.
	server *Server
	etcd   *clientv3.Client
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns what was logged since the last time.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// fakeViews answers with what it was asked.
type fakeViews struct{}

func (fakeViews) Routes(_ context.Context, network, host string) (int64, []api.Route, error) {
	return 7, []api.Route{{Network: api.Ref{UUID: network}, State: api.RoutePrimary, OriginKind: api.KindNetwork, Host: api.Ref{UUID: host}}}, nil
}

func (fakeViews) HostTable(_ context.Context, host, table string, _ bool) (api.Table, error) {
	if table == api.HostTableRoutes {
		return api.Table{}, api.Errorf(api.CodeUnavailable, "host %s is not connected", host)
	}
	if table != api.HostTableDrops && !strings.HasPrefix(table, api.HostTableCapture+"?") {
		return api.Table{}, errors.New("secret of ours")
	}
	return api.Table{Columns: []string{"host"}, Rows: [][]string{{host}}}, nil
}

func (fakeViews) Reach(_ context.Context, seen api.Snapshot, from, _ string) (api.Reach, error) {
	kind, name, _ := strings.Cut(from, "/")
	if seen.Lookup(api.Kind(kind), api.ParseRef(name)) == nil {
		return api.Reach{}, api.Errorf(api.CodeNotFound, "there is no %s", from)
	}
	return api.Reach{Revision: 7, Rows: []api.ReachRow{}}, nil
}

func (fakeViews) Check(_ context.Context, _ api.Snapshot, assertions []api.Assertion, changes *api.Changes) (api.Check, error) {
	c := api.Check{Revision: 7, Verdicts: []api.Checked{}}
	for _, a := range assertions {
		c.Verdicts = append(c.Verdicts, api.Checked{Assertion: a.Name, Holds: changes == nil})
	}
	return c, nil
}

func (fakeViews) Judge(_ context.Context, _ api.Snapshot, all []api.Conversation, _ *api.Changes) (api.Judgements, error) {
	return api.Judgements{Revision: 7, Differ: []api.Judgement{{Index: len(all) - 1}}}, nil
}

func (fakeViews) Why(_ context.Context, s api.Snapshot, o api.Object) ([]api.WhyRow, error) {
	if o == nil {
		panic("asked for nothing")
	}
	return []api.WhyRow{{Stage: api.StageIntent, What: o.Head().Meta.FQName}}, nil
}

func newWorld(t testing.TB) *world { return newWorldWith(t, fakeViews{}, nil) }

func newWorldWith(t testing.TB, views Views, tune func(*Server)) *world {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), t.TempDir())
	check(t, err)
	t.Cleanup(etcd.Close)
	w := &world{t: t, audit: &lines{}, etcd: etcd.Client()}
	log := slog.New(slog.NewTextHandler(w.audit, nil))
	w.store, err = store.Open(t.Context(), etcd.Client(), store.Options{MaxTxnOps: embedded.MaxTxnOps, Local: etcd, Log: log})
	check(t, err)
	t.Cleanup(w.store.Close)
	w.ca, err = pki.Open(t.TempDir(), time.Now)
	check(t, err)
	certificate, err := w.ca.ServerCertificate([]string{"127.0.0.1", "::1", "localhost"})
	check(t, err)
	keeper := keep(t, etcd, w.store, w.ca, log)
	kept, err := audit.Open(filepath.Join(t.TempDir(), "audit"))
	check(t, err)
	t.Cleanup(func() { check(t, kept.Close()) })
	s := New(Options{Audit: kept, Store: w.store, Views: views, CA: w.ca, Certificate: certificate, Authority: keeper, Streams: []string{"c:7444"}, Log: log})
	w.server = s
	if tune != nil {
		tune(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	w.url = "https://" + l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(s.Close(ctx), <-served); err != nil {
			t.Errorf("end of the server: %v", err)
		}
	})
	w.admin = w.as(api.Identity{Name: "admin", Orchestrator: "weft", Role: api.RoleAdmin})
	return w
}

// keep runs the keeper of the authorities of a controller.
func keep(t testing.TB, etcd *embedded.Server, objects *store.Store, ca *pki.CA, log *slog.Logger) *authority.Keeper {
	t.Helper()
	k, err := authority.Open(t.Context(), authority.Options{
		CA: ca, Authorities: store.NewAuthorities(etcd.Client(), "c1"), Name: "c1", Now: time.Now, Log: log,
		Adopted: func(context.Context) {},
		Hosts: func() (all []api.Ref) {
			for _, h := range api.ListOf[*api.Host](objects.Latest(), api.KindHost) {
				all = append(all, api.RefTo(h))
			}
			return all
		},
	})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); k.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return k
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// as connects with a client certificate.
func (w *world) as(who api.Identity) *client.Client {
	w.t.Helper()
	certificate, key, err := w.ca.IssueClient(who)
	check(w.t, err)
	return w.connect(client.Config{Server: w.url, CA: string(w.ca.Bundle()), Certificate: string(certificate), Key: string(key)})
}

func (w *world) connect(config client.Config) *client.Client {
	w.t.Helper()
	c, err := client.New(config)
	check(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

// with connects with a token, which pins the CA.
func (w *world) with(request api.TokenRequest) (*client.Client, api.Token) {
	w.t.Helper()
	token, err := w.admin.CreateToken(w.t.Context(), request)
	check(w.t, err)
	return w.connect(client.Config{Server: w.url, Token: token.Secret}), token
}

// raw sends a request as an administrator and returns status and body.
func (w *world) raw(method, path, body string) (int, string) {
	w.t.Helper()
	certificate, key, err := w.ca.IssueClient(api.Identity{Name: "admin", Orchestrator: "weft", Role: api.RoleAdmin})
	check(w.t, err)
	pair, err := tls.X509KeyPair(certificate, key)
	check(w.t, err)
	return w.send(&tls.Config{RootCAs: w.ca.Pool(), Certificates: []tls.Certificate{pair}}, "", method, path, body)
}

func (w *world) send(config *tls.Config, authorization, method, path, body string) (int, string) {
	w.t.Helper()
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	check(w.t, err)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	reply, err := transport.RoundTrip(r)
	check(w.t, err)
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	check(w.t, err)
	return reply.StatusCode, string(text)
}

// isError checks that a reply is an api.Error with a code and a text.
func isError(t *testing.T, what string, status int, body string, wantStatus int, code api.Code, text string) {
	t.Helper()
	var e api.Error
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Errorf("%s: the reply %q is not an api.Error: %v", what, body, err)
		return
	}
	if status != wantStatus || e.Code != code || !strings.Contains(e.Error(), text) {
		t.Errorf("%s: got %d %s %q, want %d %s with %q", what, status, e.Code, e.Error(), wantStatus, code, text)
	}
}

func hasCode(t *testing.T, what string, err error, code api.Code) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func network(name string) *api.Network {
	return &api.Network{Header: api.Header{Kind: api.KindNetwork, Meta: api.Meta{Name: name, Parent: api.Ref{Name: "default-domain:default-project"}}}}
}

func csr(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func joinRequest(t testing.TB, name, ip string) api.JoinRequest {
	return api.JoinRequest{Name: name, TunnelAddresses: []netip.Addr{netip.MustParseAddr(ip)}, CSR: csr(t)}
}
