// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/stream"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// identity is one self-signed certificate that everybody here has and trusts.
func identity(t *testing.T) *tls.Config { return identityOf(t, 1) }

func identityOf(t *testing.T, serial int64) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// still is a credential that never changes.
type still struct{ *tls.Config }

func (s still) TLS(string) (*tls.Config, error) { return s.Config, nil }

func (still) Tend(context.Context, hoststream.HostStreamClient) (bool, error) { return false, nil }

// controller hands each stream that is in use to the test, and answers pings
// under its address as name.
type controller struct {
	hoststream.UnimplementedHostStreamServer
	name    string
	streams chan session
	hang    atomic.Bool // accepts, and never says anything
	version atomic.Pointer[hoststream.Version]
	list    atomic.Pointer[[]*hoststream.Controller]
	standby atomic.Int32 // streams held in reserve now
	old     atomic.Bool  // knows neither pings nor standby
	shown   sync.Map     // what the hosts of streams in reserve showed: their certificates' serial numbers
}

// session is one stream seen from the controller; ending it ends the stream.
type session struct {
	hoststream.HostStream_SyncServer
	at       *controller
	messages chan *hoststream.HostMessage
	end      chan struct{}
	sending  *sync.Mutex
	reserved *atomic.Bool // it was in reserve before
}

func (x session) Send(m *hoststream.ControllerMessage) error {
	x.sending.Lock()
	defer x.sending.Unlock()
	return x.HostStream_SyncServer.Send(m)
}

// serial is that of the certificate that the host showed.
func (x session) serial() int64 {
	who, _ := peer.FromContext(x.Context())
	return who.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].SerialNumber.Int64()
}

func (c *controller) Sync(s hoststream.HostStream_SyncServer) error {
	x := session{s, c, make(chan *hoststream.HostMessage), make(chan struct{}), &sync.Mutex{}, &atomic.Bool{}}
	ended := make(chan error, 1)
	go func() { ended <- c.receive(x) }()
	select {
	case <-x.end:
		return errors.New("the test ends the stream")
	case err := <-ended:
		return err
	case <-s.Context().Done():
		return nil
	}
}

func (c *controller) receive(x session) error {
	greeted := false
	for {
		m, err := x.HostStream_SyncServer.Recv()
		if err != nil {
			return nil
		}
		switch {
		case c.hang.Load(), c.old.Load() && m.GetPing() != nil:
			continue
		case c.old.Load() && m.GetStandby() != nil:
			return status.Error(codes.InvalidArgument, "the first message of a stream must be a hello")
		case m.GetPing() != nil:
			pong := &hoststream.Pong{Id: m.GetPing().Id, Controller: c.name, Version: c.version.Load(), Controllers: *c.list.Load()}
			err := x.Send(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_Pong{Pong: pong}})
			if err != nil {
				return nil
			}
			continue
		case m.GetStandby() != nil:
			x.reserved.Store(true)
			c.standby.Add(1)
			defer c.standby.Add(-1)
			c.shown.Store(x.serial(), true)
			defer c.shown.Delete(x.serial())
			continue
		case !greeted:
			greeted = true
			select {
			case c.streams <- x:
			case <-x.Context().Done():
				return nil
			}
		}
		select {
		case x.messages <- m:
		case <-x.Context().Done():
			return nil
		}
	}
}

// Recv returns the next message that is no ping.
func (x session) Recv() (*hoststream.HostMessage, error) {
	select {
	case m := <-x.messages:
		return m, nil
	case <-x.Context().Done():
		return nil, x.Context().Err()
	}
}

func listen(t *testing.T, conf *tls.Config) (*controller, string) {
	t.Helper()
	c, _ := listenAt(t, conf, "127.0.0.1:0")
	return c, c.name
}

// listenAt starts a controller; kill ends it as kill -9 would.
func listenAt(t *testing.T, conf *tls.Config, address string) (c *controller, kill func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c = &controller{name: l.Addr().String(), streams: make(chan session)}
	c.version.Store(&hoststream.Version{Epoch: 1, Revision: 7})
	c.list.Store(&[]*hoststream.Controller{})
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)), grpc.MaxRecvMsgSize(64<<20))
	hoststream.RegisterHostStreamServer(s, c)
	go func() { _ = s.Serve(l) }() // ends with Stop
	t.Cleanup(s.Stop)
	return c, s.Stop
}

// expect receives messages until one is what the test waits for.
func expect[T any](t *testing.T, s session, what func(*hoststream.HostMessage) (T, bool)) T {
	t.Helper()
	for {
		m, err := s.Recv()
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		if v, ok := what(m); ok {
			return v
		}
	}
}

func hello(m *hoststream.HostMessage) (*hoststream.Hello, bool) {
	return m.GetHello(), m.GetHello() != nil
}
func acked(m *hoststream.HostMessage) (*hoststream.Ack, bool) { return m.GetAck(), m.GetAck() != nil }
func tabled(m *hoststream.HostMessage) (*hoststream.TableReply, bool) {
	return m.GetTableReply(), m.GetTableReply() != nil
}

func send(t *testing.T, s session, sequence uint64, revision int64, keys ...string) {
	t.Helper()
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: revision}, Sequence: sequence, InSync: true}
	for _, k := range keys {
		d.Put = append(d.Put, &hoststream.EncodedRow{Key: k, Body: []byte{0xff}})
	}
	if err := s.Send(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_Delta{Delta: d}}); err != nil {
		t.Fatal(err)
	}
}

// tablesAsked asks for a table, one that does not exist, and one that no
// message could hold: that is cut, and the stream goes on.
func tablesAsked(t *testing.T, s session) {
	t.Helper()
	for i, name := range []string{"drops", "nonsense"} {
		q := &hoststream.TableRequest{Id: uint64(i), Table: name}
		if err := s.Send(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_TableRequest{TableRequest: q}}); err != nil {
			t.Fatal(err)
		}
		if r := expect(t, s, tabled); r.Id != uint64(i) || (r.Error == "") != (name == "drops") || len(r.Rows) != 1-i {
			t.Errorf("table %s: %v", name, r)
		}
	}
	if err := s.Send(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_TableRequest{TableRequest: &hoststream.TableRequest{Id: 7, Table: "huge"}}}); err != nil {
		t.Fatal(err)
	}
	if r := expect(t, s, tabled); r.Id != 7 || len(r.Rows) < 20 || len(r.Rows)+int(r.LeftOut) != 100 {
		t.Errorf("a huge table: %d rows, %d left out", len(r.Rows), r.LeftOut)
	}
}

// The agent says what it has, acknowledges each delta, answers questions,
// leaves a controller that is behind, and tells the next what it kept.
func TestConversation(t *testing.T) {
	conf := identity(t)
	a, addressA := listen(t, conf)
	b, addressB := listen(t, conf)
	p := datapath.NewProgrammer(datapath.NewMemoryKernel(nil).Kernel())
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	core := host.NewCore(desired.New(), datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1500}, datapath.Local{}, p)
	core.Start()
	loop := host.NewLoop(core, func([]byte) error { return nil }, log)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	ended := make(chan struct{}, 2)
	go func() { loop.Run(ctx); ended <- struct{}{} }()
	c := stream.New(stream.Options{Addresses: []string{addressA, addressB}, Credential: still{conf}, AgentVersion: "v1"}, loop,
		func(_ context.Context, name string) (api.Table, error) {
			if name == "huge" {
				return api.Table{Columns: []string{"A"}, Rows: slices.Repeat([][]string{{strings.Repeat("x", 1<<20)}}, 100)}, nil
			}
			if name != "drops" {
				return api.Table{}, errors.New("no such table")
			}
			return api.Table{Columns: []string{"A"}, Rows: [][]string{{"1"}}}, nil
		}, log)
	go func() { c.Run(ctx); ended <- struct{}{} }()
	defer func() { cancel(); <-ended; <-ended }()

	next := func() session { // at whichever controller it comes to
		t.Helper()
		select {
		case s := <-a.streams:
			return s
		case s := <-b.streams:
			return s
		case <-ctx.Done():
			t.Fatal("no stream in time")
			panic("unreachable")
		}
	}
	s := next()
	if h := expect(t, s, hello); len(h.Have) != 0 || h.Version.Revision != 0 || h.AgentVersion != "v1" {
		t.Errorf("first hello: %v", h)
	}
	for sequence := range uint64(3) { // each delta has its acknowledgement, in order
		send(t, s, sequence+1, 7, "vrf/1")
	}
	for sequence := range uint64(3) {
		if x := expect(t, s, acked); x.Sequence != sequence+1 || x.Version.Revision != 7 || len(x.Errors) != 1 || x.Errors[0].Key != "vrf/1" {
			t.Errorf("acknowledgement: %v", x)
		}
	}
	tablesAsked(t, s)
	send(t, s, 4, 6, "vrf/2") // older: it must go elsewhere, and not take the row
	s = next()
	if h := expect(t, s, hello); len(h.Have) != 1 || h.Have[0].Key != "vrf/1" || h.Version.Revision != 7 {
		t.Errorf("hello after an older delta: %v", h)
	}
	close(s.end)
	s = next()
	if h := expect(t, s, hello); len(h.Have) != 1 {
		t.Errorf("hello after the end of a stream: %v", h)
	}
	send(t, s, 1, 7)
	if x := expect(t, s, acked); x.Sequence != 1 {
		t.Errorf("sequences of a new stream: %v", x)
	}
}
