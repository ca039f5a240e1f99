// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control"
	"github.com/weft-network/weft/control/world"
)

// memory is the store's end: a world that can be edited, followed and given statuses.
type memory struct {
	mu      sync.Mutex // guards everything that follows
	world   *world.World
	changed chan struct{}
	rests   int  // how often what rests changed
	down    bool // statuses cannot be written
	writes  int
	at      map[string][]string // where each host was said to have its stream; - where not connected
}

func newMemory(text string) *memory {
	return &memory{world: world.New(text), changed: make(chan struct{})}
}

func (m *memory) edit(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) do(text string) { m.edit(func() { m.world.Do(text) }) }

func (m *memory) Follow(ctx context.Context) <-chan api.Snapshot {
	out := make(chan api.Snapshot)
	go func() {
		defer close(out)
		seen, rested := int64(-1), 0
		for {
			m.mu.Lock()
			snapshot, changed, rests := m.world.Snapshot(), m.changed, m.rests
			m.mu.Unlock()
			var send chan api.Snapshot
			if snapshot.Revision() > seen || rests > rested {
				send = out
			}
			select {
			case send <- snapshot:
				seen, rested = snapshot.Revision(), rests
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (m *memory) PutStatus(_ context.Context, kind api.Kind, uuid string, body any) error {
	var err error
	m.edit(func() {
		m.writes++
		if m.down {
			err = errors.New("no leader")
			return
		}
		o := m.world.Get(kind, uuid)
		if o == nil {
			err = api.Errorf(api.CodeNotFound, "gone")
			return
		}
		data, _ := json.Marshal(body)
		reflect.ValueOf(o.StatusBody()).Elem().SetZero()
		if err = json.Unmarshal(data, o.StatusBody()); err == nil {
			if h, ok := o.(*api.Host); ok {
				m.place(h)
			}
			m.world.Do("network status-revision 999") // a status is a revision of the store
		}
	})
	return err
}

// place notes where a host is said to have its stream.
func (m *memory) place(h *api.Host) {
	where := "-"
	if h.Status.Connected {
		where = h.Status.Controller
	}
	if m.at == nil {
		m.at = map[string][]string{}
	}
	if was := m.at[h.Meta.Name]; len(was) == 0 || was[len(was)-1] != where {
		m.at[h.Meta.Name] = append(was, where)
	}
}

// connects returns where a host was said to have its stream, in order.
func (m *memory) connects(host string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.at[host])
}

// status reads one port's and one host's status.
func (m *memory) status(port, host string) (api.PortStatus, api.HostStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.world.Get(api.KindPort, world.UUID(api.KindPort, port)).(*api.Port)
	h := m.world.Get(api.KindHost, world.UUID(api.KindHost, host)).(*api.Host)
	return p.Status, h.Status
}

// until waits until the store satisfies ok.
func (m *memory) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("waited for: %s", what)
		}
	}
}

// certificates returns a controller's and a host's end of mutual TLS.
func certificates(t *testing.T, host string) (server, client *tls.Config) {
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key := newKey()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	sign := func(c *x509.Certificate, public any) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, root, public, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	ca, err := x509.ParseCertificate(sign(root, key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	leaf := func(subject pkix.Name, id string) tls.Certificate {
		k := newKey()
		return tls.Certificate{PrivateKey: k, Certificate: [][]byte{sign(&x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: subject, NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, URIs: []*url.URL{{Scheme: "weft", Opaque: "host:" + id}},
		}, k.Public())}}
	}
	controller := leaf(pkix.Name{CommonName: "controller"}, "")
	agent := leaf(pkix.Name{CommonName: host, Organization: []string{"weft:host"}}, world.UUID(api.KindHost, host))
	return &tls.Config{Certificates: []tls.Certificate{controller}, ClientCAs: pool},
		&tls.Config{Certificates: []tls.Certificate{agent}, RootCAs: pool, ServerName: "127.0.0.1"}
}

// agent is the other end of the real stream; it acknowledges all it gets.
type agent struct {
	t      *testing.T
	stream hoststream.HostStream_SyncClient
}

func dial(t *testing.T, address string, config *tls.Config) agent {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	stream, err := hoststream.NewHostStreamClient(connection).Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a := agent{t, stream}
	a.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Hello{Hello: &hoststream.Hello{AgentVersion: "v1"}}})
	return a
}

func (a agent) send(m *hoststream.HostMessage) {
	if err := a.stream.Send(m); err != nil {
		a.t.Fatal(err)
	}
}

func (a agent) receive() *hoststream.Delta {
	a.t.Helper()
	m, err := a.stream.Recv()
	if err != nil {
		a.t.Fatal(err)
	}
	d := m.GetDelta()
	a.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Ack{Ack: &hoststream.Ack{Sequence: d.Sequence, Version: d.Version}}})
	return d
}

// next returns the next message that is no delta; those are acknowledged.
func (a agent) next() *hoststream.ControllerMessage {
	for {
		m, err := a.stream.Recv()
		if err != nil {
			a.t.Error(err)
			return nil
		}
		d := m.GetDelta()
		if d == nil {
			return m
		}
		a.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Ack{Ack: &hoststream.Ack{Sequence: d.Sequence, Version: d.Version}}})
	}
}

// From an object to an agent's row and back to the object's status, over the
// real stream.
func TestFromIntentToHostAndBack(t *testing.T) {
	m := newMemory("host h1 192.0.2.1\nnetwork blue 10\nport blue a\naddress blue 10.0.0.5 a")
	serverTLS, clientTLS := certificates(t, "h1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := control.New(control.Options{
		Intent: m, Status: m, Epoch: 1, Listeners: []net.Listener{l}, TLS: serverTLS, Log: slog.New(slog.DiscardHandler),
	})
	s.Start(t.Context())
	defer s.Stop()
	m.until(t, "the port to be unbound", func() bool { p, _ := m.status("a", "h1"); return p.State == api.PortUnbound })
	a := dial(t, l.Addr().String(), clientTLS)
	if d := a.receive(); len(d.Put) != 0 || !d.InSync {
		t.Errorf("a host without ports is sent %d rows, in sync %t", len(d.Put), d.InSync)
	}
	m.do("bind a h1")
	if d := a.receive(); len(d.Put) != 4 {
		t.Errorf("the first port sends %d rows, want its VRF, its name, itself and its route", len(d.Put))
	}
	m.until(t, "waiting", func() bool { p, h := m.status("a", "h1"); return p.State == api.PortWaiting && h.Connected })
	a.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Report{Report: &hoststream.Report{
		Ports: []*hoststream.PortReport{{Port: world.UUID(api.KindPort, "a"), State: "up"}},
	}}})
	m.until(t, "up", func() bool { p, h := m.status("a", "h1"); return p.State == api.PortUp && h.Ports == 1 })
	m.until(t, "programmed", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		b := m.world.Get(api.KindBinding, world.UUID(api.KindBinding, "a:h1")).(*api.Binding)
		return len(b.Status.Conditions) == 1 && b.Status.Conditions[0].Status
	})
	if _, routes, err := s.Views().Routes(t.Context(), world.UUID(api.KindNetwork, "blue"), ""); err != nil || len(routes) != 1 {
		t.Errorf("routes: %v %v", routes, err)
	}
	if err := a.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	m.until(t, "disconnected", func() bool { p, h := m.status("a", "h1"); return p.State == api.PortUp && !h.Connected })
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writes > 12 {
		t.Errorf("%d statuses were written for a handful of transitions", m.writes)
	}
}

// Without hosts: statuses are retried until the store takes them, and hosts
// that never come are given time.
func TestStatusesAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory("host h1 192.0.2.1\nnetwork blue 10\nport blue a")
		m.world.Get(api.KindHost, world.UUID(api.KindHost, "h1")).(*api.Host).Status.Connected = true
		m.down = true
		s := control.New(control.Options{Intent: m, Status: m, TLS: &tls.Config{}, Log: slog.New(slog.DiscardHandler)})
		begin := time.Now()
		s.Start(t.Context())
		defer s.Stop()
		for n := range 50 { // what changes meanwhile makes it try no sooner
			<-time.After(100 * time.Millisecond)
			m.do(fmt.Sprintf("address blue 10.0.0.%d", n+2))
		}
		if m.writes != 3 {
			t.Errorf("%d attempts in %v, want 3: at once, and every 2 s", m.writes, time.Since(begin))
		}
		m.edit(func() { m.down = false })
		m.until(t, "unbound", func() bool { p, _ := m.status("a", "h1"); return p.State == api.PortUnbound })
		if took := time.Since(begin); m.writes != 4 || took > 7*time.Second {
			t.Errorf("done after %d attempts and %v", m.writes, took)
		}
		if _, h := m.status("a", "h1"); !h.Connected {
			t.Error("the host was given no time to connect")
		}
		timer := time.NewTimer(time.Minute)
		<-timer.C
		if _, h := m.status("a", "h1"); h.Connected {
			t.Error("after a minute the host that never came still counts as connected")
		}
	})
}

// Addresses that come and go make one write a subnet in a while, not one each.
func TestUsageIsWrittenNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory("network n 1\nsubnet n 10.0.0.0/24")
		s := control.New(control.Options{Intent: m, Status: m, TLS: &tls.Config{}, Log: slog.New(slog.DiscardHandler)})
		s.Start(t.Context())
		defer s.Stop()
		for n := range 200 {
			m.do(fmt.Sprintf("address n 10.0.0.%d", n+2))
			<-time.After(10 * time.Millisecond)
		}
		<-time.After(time.Minute)
		used := m.world.Get(api.KindSubnet, world.UUID(api.KindSubnet, "n:10.0.0.0/24")).(*api.Subnet).Status.Used
		if used != 200 || m.writes != 1 {
			t.Errorf("%d used after %d writes, want 200 after 1", used, m.writes)
		}
		m.do("remove address n:10.0.0.7")
		<-time.After(time.Minute)
		if m.writes != 2 {
			t.Errorf("%d writes, want 2", m.writes)
		}
		// No object changes when a rest begins or ends.
		m.edit(func() { m.world.Rest("n", "10.0.0.7"); m.rests++ })
		<-time.After(time.Minute)
		if n := m.world.Get(api.KindSubnet, world.UUID(api.KindSubnet, "n:10.0.0.0/24")).(*api.Subnet).Status.Resting; n != 1 {
			t.Errorf("%d rest, want 1", n)
		}
	})
}

// A source of objects that ends is an error that the process must see.
func TestSourceThatEndsIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := control.New(control.Options{Intent: ended{}, Status: newMemory(""), TLS: &tls.Config{}, Log: slog.New(slog.DiscardHandler)})
		s.Start(t.Context())
		defer s.Stop()
		<-s.Done()
		if s.Err() == nil {
			t.Error("no error")
		}
	})
}

type ended struct{}

func (ended) Follow(context.Context) <-chan api.Snapshot {
	c := make(chan api.Snapshot)
	close(c)
	return c
}
