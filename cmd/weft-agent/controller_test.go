// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// controller is the least of a controller for one host: it certifies the host
// and gives it rows. It listens on the loopback of the host's own namespace.
type controller struct {
	hoststream.UnimplementedHostStreamServer
	t          *testing.T
	ca         *x509.Certificate
	caKey      *ecdsa.PrivateKey
	api        string
	streamAddr string
	token      string
	server     *grpc.Server
	former     *controller   // of the host that had ports of this one; nil: it is not asked
	gate       chan struct{} // closed when it may answer; nil: at once

	mu       sync.Mutex // guards what follows
	rows     map[string][]byte
	revision int64
	change   chan struct{} // closed and replaced when rows change
	hello    *hoststream.Hello
	sent     int // rows sent in the present stream
	streams  int // so far
	ack      *hoststream.Ack
	acked    int64
	report   *hoststream.Report
	tables   map[uint64]*hoststream.TableReply
	asks     chan *hoststream.TableRequest
	lastAsk  uint64
}

func newController(t *testing.T, ns string) *controller {
	t.Helper()
	c := &controller{
		t: t, rows: map[string][]byte{}, revision: 1, change: make(chan struct{}),
		tables: map[uint64]*hoststream.TableReply{}, asks: make(chan *hoststream.TableRequest, 1),
	}
	c.caKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &c.caKey.PublicKey, c.caKey)
	if err != nil {
		t.Fatal(err)
	}
	c.ca, _ = x509.ParseCertificate(der)
	sum := sha256.Sum256(der)
	c.token = "weft1.id.secret." + hex.EncodeToString(sum[:])
	c.listen(ns)
	return c
}

func (c *controller) certify(name string, key any) []byte {
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, c.ca, key, c.caKey)
	if err != nil {
		c.t.Fatal(err)
	}
	return der
}

func (c *controller) listen(ns string) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	clients := x509.NewCertPool()
	clients.AddCert(c.ca)
	conf := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{c.certify("controller", &key.PublicKey), c.ca.Raw}, PrivateKey: key}},
	}
	var rest, stream net.Listener
	inside(c.t, ns, func() (err error) {
		if rest, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		stream, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	c.api, c.streamAddr = "https://"+rest.Addr().String(), stream.Addr().String()
	web := &http.Server{Handler: http.HandlerFunc(c.join), TLSConfig: conf}
	go func() { _ = web.ServeTLS(rest, "", "") }() // ends with Close
	mutual := conf.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, clients
	c.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(mutual)))
	hoststream.RegisterHostStreamServer(c.server, c)
	go func() { _ = c.server.Serve(stream) }() // ends with Stop
	c.t.Cleanup(func() { web.Close(); c.server.Stop() })
}

func (c *controller) join(w http.ResponseWriter, r *http.Request) {
	var q api.JoinRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.URL.Path != "/v1/hosts/join" || r.Header.Get("Authorization") != "Bearer "+c.token {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(api.Errorf(api.CodeForbidden, "not a good token"))
		return
	}
	block, _ := pem.Decode([]byte(q.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		c.t.Errorf("bad certificate request: %v", err)
		return
	}
	text := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	_ = json.NewEncoder(w).Encode(api.JoinResponse{
		Host: api.Ref{Name: q.Name}, Certificate: text(c.certify(q.Name, csr.PublicKey)), CA: text(c.ca.Raw), Streams: []string{c.streamAddr},
	})
}

// set replaces the host's rows.
func (c *controller) set(rows map[string]*hoststream.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows = map[string][]byte{}
	for k, r := range rows {
		c.rows[k], _ = proto.Marshal(r)
	}
	c.revision++
	close(c.change)
	c.change = make(chan struct{})
}

// Sync implements the stream.
func (c *controller) Sync(s hoststream.HostStream_SyncServer) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	has := map[string]uint64{}
	for _, h := range first.GetHello().GetHave() {
		has[h.Key] = h.Hash
	}
	c.mu.Lock()
	c.hello, c.sent, c.ack = first.GetHello(), 0, nil
	c.streams++
	c.mu.Unlock()
	go c.listenTo(s)
	for sequence := uint64(1); ; sequence++ {
		d, change := c.difference(has, sequence)
		if err := s.Send(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_Delta{Delta: d}}); err != nil {
			return err
		}
		for wait := true; wait; {
			select {
			case <-change:
				wait = false
			case q := <-c.asks:
				if err := s.Send(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_TableRequest{TableRequest: q}}); err != nil {
					return err
				}
			case <-s.Context().Done():
				return nil
			}
		}
	}
}

func (c *controller) difference(has map[string]uint64, sequence uint64) (*hoststream.Delta, chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: c.revision}, Sequence: sequence, InSync: true}
	for k, body := range c.rows {
		if h, ok := has[k]; !ok || h != xxhash.Sum64(body) {
			d.Put = append(d.Put, &hoststream.EncodedRow{Key: k, Body: body})
			has[k] = xxhash.Sum64(body)
			c.sent++
		}
	}
	for k := range has {
		if _, ok := c.rows[k]; !ok {
			d.Delete = append(d.Delete, k)
			delete(has, k)
		}
	}
	return d, c.change
}

func (c *controller) listenTo(s hoststream.HostStream_SyncServer) {
	for {
		m, err := s.Recv()
		if err != nil {
			return
		}
		c.mu.Lock()
		switch b := m.Body.(type) {
		case *hoststream.HostMessage_Ack:
			c.ack, c.acked = b.Ack, b.Ack.Version.Revision
		case *hoststream.HostMessage_Report:
			c.report = b.Report
		case *hoststream.HostMessage_TableReply:
			c.tables[b.TableReply.Id] = b.TableReply
		}
		c.mu.Unlock()
	}
}

// settled waits until the host has acknowledged the newest rows without errors.
func (c *controller) settled() {
	c.t.Helper()
	eventually(c.t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.acked != c.revision || c.ack == nil || len(c.ack.Errors) > 0 {
			return fmt.Errorf("host has acknowledged %v, want revision %d without errors", c.ack, c.revision)
		}
		return nil
	})
}

// settledBut waits until the host has acknowledged everything but one row, of which
// it says why.
func (c *controller) settledBut(key, why string) {
	c.t.Helper()
	eventually(c.t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if e := c.ack.GetErrors(); c.acked != c.revision || len(e) != 1 || e[0].Key != key || !strings.Contains(e[0].Error, why) {
			return fmt.Errorf("host has acknowledged %v, want revision %d but for %s: %s", c.ack, c.revision, key, why)
		}
		return nil
	})
}

// state waits until the host reports a port in a state.
func (c *controller) state(port string, want api.PortState) {
	c.t.Helper()
	eventually(c.t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range c.report.GetPorts() {
			if p.Port == port && p.State == string(want) {
				return nil
			}
		}
		return fmt.Errorf("host reports %v, want port %s %s", c.report, port, want)
	})
}

// table asks the host for one of its tables.
func (c *controller) table(name string) *hoststream.TableReply {
	c.t.Helper()
	reply := c.ask(name)
	for late := time.Now().Add(patience); reply.Error == context.DeadlineExceeded.Error() && time.Now().Before(late); {
		reply = c.ask(name) // a loaded machine may be long in checking the programs of a trace
	}
	if reply.Error != "" {
		c.t.Fatalf("table %s: %s", name, reply.Error)
	}
	return reply
}

// ask is table, whatever the answer.
func (c *controller) ask(name string) *hoststream.TableReply {
	c.t.Helper()
	c.lastAsk++
	id := c.lastAsk
	c.asks <- &hoststream.TableRequest{Id: id, Table: name}
	var reply *hoststream.TableReply
	eventually(c.t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		reply = c.tables[id]
		if reply == nil {
			return fmt.Errorf("no table %s yet", name)
		}
		return nil
	})
	return reply
}
