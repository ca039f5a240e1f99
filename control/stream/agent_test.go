// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// deadline bounds every wait of a test; nothing comes near it.
const deadline = time.Minute

// authority is a CA made for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) issue(name, role string, uris ...string) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if role != "" {
		template.Subject.Organization = []string{role}
	}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// host issues the certificate of a host of a world.
func (a *authority) host(name string) *tls.Certificate {
	c := a.issue(name, "weft:host", "weft:host:"+world.UUID(api.KindHost, name))
	return &c
}

// controller is a server on loopback.
type controller struct {
	*stream.Server
	t       *testing.T
	ca      *authority
	address string
}

func newController(t *testing.T, ca *authority, o stream.Options) *controller {
	o.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue("controller", "weft:controller")}, ClientCAs: ca.pool()}
	o.Log = slog.New(slog.DiscardHandler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &controller{Server: stream.New(o), t: t, ca: ca, address: l.Addr().String()}
	served := make(chan error, 1)
	go func() { served <- c.Serve(l) }()
	t.Cleanup(func() {
		c.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return c
}

// publish makes a world the one the hosts must have.
func (c *controller) publish(w *world.World) {
	c.Publish(placement.New(1, routing.Derive(w), c.Plan()))
}

// agent is the other end, written against the protocol alone.
type agent struct {
	t      *testing.T
	stream hoststream.HostStream_SyncClient
	close  func()
	rows   map[string][]byte
	last   *hoststream.Delta
}

// dial opens a stream with a certificate, or without one.
func (c *controller) dial(certificate *tls.Certificate) *agent {
	config := &tls.Config{RootCAs: c.ca.pool(), ServerName: "127.0.0.1"}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	connection, err := grpc.NewClient(c.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	a := &agent{t: c.t, rows: map[string][]byte{}}
	a.close = func() { cancel(); connection.Close() }
	c.t.Cleanup(a.close)
	if a.stream, err = hoststream.NewHostStreamClient(connection).Sync(ctx); err != nil {
		a.stream = nil // a test of refusal looks at refusal()
	}
	return a
}

func (a *agent) send(m *hoststream.HostMessage) {
	if err := a.stream.Send(m); err != nil {
		a.t.Fatalf("send %T: %v", m.Body, err)
	}
}

// hello begins with what the agent has.
func (a *agent) hello(version *hoststream.Version) {
	h := &hoststream.Hello{Version: version, AgentVersion: "v1", Kernel: "6.1"}
	for key, body := range a.rows {
		h.Have = append(h.Have, &hoststream.RowHash{Key: key, Hash: xxhash.Sum64(body)})
	}
	a.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Hello{Hello: h}})
}

// delta receives and applies the next delta.
func (a *agent) delta() *hoststream.Delta {
	a.t.Helper()
	m, err := a.stream.Recv()
	if err != nil {
		a.t.Fatalf("receive: %v", err)
	}
	d := m.GetDelta()
	if d == nil {
		a.t.Fatalf("received %T, want a delta", m.Body)
	}
	for _, r := range d.Put {
		a.rows[r.Key] = r.Body
	}
	for _, key := range d.Delete {
		delete(a.rows, key)
	}
	a.last = d
	return d
}

func (a *agent) ack(errors ...*hoststream.RowError) {
	a.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Ack{Ack: &hoststream.Ack{
		Sequence: a.last.Sequence, Version: a.last.Version, Errors: errors,
	}}})
}

// refusal is the error with which the stream ends.
func (a *agent) refusal() error {
	if a.stream == nil {
		a.t.Fatal("the stream could not even be opened")
	}
	for {
		if _, err := a.stream.Recv(); err != nil {
			return err
		}
	}
}

// until waits until the server's state satisfies ok.
func (c *controller) until(what string, ok func() bool) {
	c.t.Helper()
	timeout := time.After(deadline)
	for !ok() {
		select {
		case <-c.Changed():
		case <-timeout:
			c.t.Fatalf("waited for: %s", what)
		}
	}
}
