// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control"
	"github.com/weft-network/weft/control/world"
)

// board is what controllers share, in memory. The one that leads is the leader,
// or who has a term to come.
type board struct {
	mu      sync.Mutex // guards everything that follows
	entries map[string]boardEntry
	members []*peer
	status  control.StatusWriter
}

type boardEntry struct {
	by    *peer
	value []byte
}

// peer is one controller at a board.
type peer struct {
	*board
	name    string
	leads   bool
	term    chan struct{} // if not nil, it leads once this is closed
	changed chan struct{}
}

func (b *board) join(name string, leads bool) *peer {
	p := &peer{board: b, name: name, leads: leads, changed: make(chan struct{}, 1)}
	b.members = append(b.members, p)
	return p
}

func (p *peer) Lead(ctx context.Context, work func(context.Context, control.StatusWriter)) {
	if !p.leads {
		select {
		case <-p.term:
		case <-ctx.Done():
			return
		}
	}
	work(ctx, p.status)
	<-ctx.Done()
}

func (p *peer) Name() string             { return p.name }
func (p *peer) Generation() int64        { return 1 }
func (p *peer) Changed() <-chan struct{} { return p.changed }

func (p *peer) Claim(_ context.Context, key string, value []byte) error {
	p.edit(func() { p.entries[key] = boardEntry{p, value} })
	return nil
}

func (p *peer) Update(_ context.Context, key string, value []byte) (ours bool, _ error) {
	p.edit(func() {
		if ours = p.entries[key].by == p; ours {
			p.entries[key] = boardEntry{p, value}
		}
	})
	return ours, nil
}

func (p *peer) Drop(_ context.Context, key string) error {
	p.edit(func() {
		if p.entries[key].by == p {
			delete(p.entries, key)
		}
	})
	return nil
}

func (b *board) edit(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	for _, m := range b.members {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
}

func (p *peer) Others() map[string][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	others := map[string][]byte{}
	for key, e := range p.entries {
		if e.by != p {
			others[key] = e.value
		}
	}
	return others
}

// The host's stream is at one controller, the statuses are written by another.
// Then the host opens a stream at that one, and the first gives its own up.
func TestStatusesOfHostsAtAnotherController(t *testing.T) {
	m := newMemory("host h1 192.0.2.1\nnetwork blue 10\nport blue a\naddress blue 10.0.0.5 a\nbind a h1")
	serverTLS, clientTLS := certificates(t, "h1")
	shared := &board{entries: map[string]boardEntry{}, status: m}
	var services []*control.Service
	var addresses, asked []string
	names := []string{"leader", "other"}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := control.New(control.Options{
			Intent: m, Epoch: 1, Listeners: []net.Listener{l}, TLS: serverTLS, Log: slog.New(slog.DiscardHandler),
			Peers: shared.join(name, name == "leader"), Streams: []string{l.Addr().String()}, API: []string{name},
			Ask: func(ctx context.Context, at []string, host, table string) (api.Table, error) {
				if asked = append(asked, at...); len(asked) > 10 {
					return api.Table{}, errors.New("controllers ask each other without end")
				}
				return services[slices.Index(names, at[0])].Views().HostTable(ctx, host, table, true)
			},
		})
		services, addresses = append(services, s), append(addresses, l.Addr().String())
	}
	for _, s := range services {
		s.Start(t.Context())
		defer s.Stop()
	}
	at := dial(t, addresses[1], clientTLS)
	if d := at.receive(); len(d.Put) != 4 {
		t.Fatalf("%d rows, want 4", len(d.Put))
	}
	at.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Report{Report: &hoststream.Report{
		Ports: []*hoststream.PortReport{{Port: world.UUID(api.KindPort, "a"), State: "up"}},
	}}})
	m.until(t, "up", func() bool {
		p, h := m.status("a", "h1")
		return p.State == api.PortUp && h.Connected && h.Ports == 1 && h.AgentVersion == "v1"
	})
	m.until(t, "programmed", func() bool { return m.programmed("a:h1") })
	answer := func() {
		q := at.next().GetTableRequest()
		at.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_TableReply{TableReply: &hoststream.TableReply{
			Id: q.GetId(), Columns: []string{q.GetTable()},
		}}})
	}
	go answer()
	table, err := services[0].Views().HostTable(t.Context(), world.UUID(api.KindHost, "h1"), api.HostTableDrops, false)
	if err != nil || len(table.Columns) != 1 || table.Columns[0] != api.HostTableDrops || !slices.Equal(asked, []string{"other"}) {
		t.Errorf("a table of a host at another controller: %v %v, asked %v", table, err, asked)
	}
	// Who was asked by another controller asks nobody.
	var e *api.Error
	_, err = services[0].Views().HostTable(t.Context(), world.UUID(api.KindHost, "h1"), api.HostTableDrops, true)
	if !errors.As(err, &e) || e.Code != api.CodeUnavailable || !strings.Contains(e.Message, "at controller other") || len(asked) != 1 {
		t.Errorf("a table that is only to be read here: %v, asked %v", err, asked)
	}

	hostMoves(t, m, at, dial(t, addresses[0], clientTLS))
}

// hostMoves has a host go from the stream it has to another one.
func hostMoves(t *testing.T, m *memory, at, moved agent) {
	t.Helper()
	moved.receive()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := at.stream.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), "another controller") {
			t.Errorf("the old stream ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the old stream goes on")
	}
	// Statuses are gathered: what is over before a round is in none.
	m.until(t, "at the leader", func() bool { at := m.connects("h1"); return at[len(at)-1] == "leader" })
	if err := moved.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	m.until(t, "disconnected", func() bool { _, h := m.status("a", "h1"); return !h.Connected })
	// It never counted as lost while it moved.
	if got := m.connects("h1"); !slices.Equal(got, []string{"other", "leader", "-"}) {
		t.Errorf("the host was said to be at %v", got)
	}
}

// A host that moves has its controller told, and hosts are told of all that are alive.
func TestControllersAreIntroduced(t *testing.T) {
	m := newMemory("host h1 192.0.2.1")
	serverTLS, clientTLS := certificates(t, "h1")
	shared := &board{entries: map[string]boardEntry{}, status: m}
	var addresses []string
	for _, name := range []string{"a", "b"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, l.Addr().String())
		s := control.New(control.Options{
			Intent: m, Epoch: 1, Listeners: []net.Listener{l}, TLS: serverTLS, Log: slog.New(slog.DiscardHandler),
			Peers: shared.join(name, name == "a"), Streams: []string{"stream of " + name},
		})
		s.Start(t.Context())
		defer s.Stop()
	}
	at := dial(t, addresses[0], clientTLS)
	at.receive()
	known := map[string]string{}
	for id := uint64(1); len(known) < 2; id++ {
		at.send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Ping{Ping: &hoststream.Ping{Id: id}}})
		pong := at.next().GetPong()
		if pong.GetId() != id || pong.GetController() != "a" || pong.GetVersion().GetEpoch() != 1 {
			t.Fatalf("pong: %v", pong)
		}
		for _, c := range pong.Controllers {
			known[c.Name] = strings.Join(c.Streams, " ")
		}
	}
	if known["a"] != "stream of a" || known["b"] != "stream of b" {
		t.Errorf("the host is told of %v", known)
	}
}

// programmed tells whether a binding's condition holds.
func (m *memory) programmed(binding string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.world.Get(api.KindBinding, world.UUID(api.KindBinding, binding)).(*api.Binding)
	return len(b.Status.Conditions) == 1 && b.Status.Conditions[0].Status
}
