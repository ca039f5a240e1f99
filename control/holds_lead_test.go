// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/world"
)

// holding is two controllers of which the first leads until it dies, and then the other.
type holding struct {
	m         *memory
	first     *control.Service
	clientTLS *tls.Config
	at        []string // where hosts reach them
	ended     []string // who ended holds
	die       func()
}

func newHolding(t *testing.T) *holding {
	t.Helper()
	h := &holding{m: newMemory("host h1 192.0.2.1\nnetwork blue 10\nport blue a\naddress blue 10.0.0.5 a\nbind a h1")}
	serverTLS, clientTLS := certificates(t, "h1")
	h.clientTLS = clientTLS
	shared := &board{entries: map[string]boardEntry{}, status: h.m}
	term := make(chan struct{})
	for _, name := range []string{"first", "second"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p := shared.join(name, name == "first")
		p.term = term
		s := control.New(control.Options{
			Intent: h.m, Epoch: 1, Listeners: []net.Listener{l}, TLS: serverTLS, Log: slog.New(slog.DiscardHandler), Peers: p, Streams: []string{l.Addr().String()},
			Commit: func(_ context.Context, _ api.Identity, ops []api.Operation) (revision int64, _ error) {
				h.m.edit(func() {
					for _, op := range ops {
						h.m.world.Do("remove draft " + h.m.world.Get(api.KindDraft, op.Object.Head().Meta.UUID).Head().Meta.Name)
						h.ended = append(h.ended, name)
					}
					revision = h.m.world.Revision()
				})
				return revision, nil
			},
		})
		h.at = append(h.at, l.Addr().String())
		s.Start(t.Context())
		if name == "first" {
			h.die = func() {
				s.Stop()
				shared.edit(func() { clear(shared.entries) }) // with its session
				close(term)
			}
		} else {
			t.Cleanup(s.Stop)
		}
	}
	return h
}

// hold makes a hold that lasts some seconds from now.
func (h *holding) hold(seconds int) {
	d := &api.Draft{Spec: api.DraftSpec{Hold: &api.Hold{Seconds: seconds}}}
	d.Meta.UpdatedAt = time.Now()
	h.m.edit(func() {
		h.m.world.Do("held d 0") // which is a write
		h.m.world.Put(d, api.KindDraft, "d")
	})
}

// status is that of the hold, nil once it is gone.
func (h *holding) status() *api.DraftStatus {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if d, is := h.m.world.Get(api.KindDraft, world.UUID(api.KindDraft, "d")).(*api.Draft); is {
		return &d.Status
	}
	return nil
}

func asks(features ...string) *hoststream.HostMessage {
	return &hoststream.HostMessage{Body: &hoststream.HostMessage_Report{Report: &hoststream.Report{Features: features}}}
}

// The leader dies while a host has not yet acknowledged a change that is held. Its
// successor holds it for as long as that takes, and not longer.
func TestAHoldOutlivesItsLeader(t *testing.T) {
	h := newHolding(t)
	row := placement.HoldKey(world.UUID(api.KindDraft, "d"))
	a := dial(t, h.at[0], h.clientTLS)
	a.receive()
	a.send(asks("policy", "strict"))
	h.hold(600)
	for held := false; !held; { // the host gets it, and dies with it for all the controller knows
		m, err := a.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		held = putsRow(m.GetDelta(), row)
	}
	h.m.until(t, "whom the hold waits for", func() bool { s := h.status(); return s != nil && s.Behind == 1 && s.Waiting[0].Host == "h1" })
	h.die()
	h.m.until(t, "the second controller to see that the host is away", func() bool { s := h.status(); return s != nil && s.Behind == 1 && s.Waiting[0].Why == "not connected" })
	b := dial(t, h.at[1], h.clientTLS)
	b.send(asks("policy", "strict"))
	if d := b.receive(); !putsRow(d, row) {
		t.Errorf("the second controller does not tell the host of the hold: %v", d)
	}
	h.m.until(t, "the hold to end", func() bool { return h.status() == nil })
	for gone := false; !gone; {
		for _, key := range b.receive().Delete {
			gone = gone || key == row
		}
	}
	if len(h.ended) != 1 || h.ended[0] != "second" {
		t.Errorf("the hold was ended by %v", h.ended)
	}
}

// The leader dies, and the host does not come back: its successor ends the hold
// when that has lasted as long as it may, and says first without whom.
func TestAHoldOfALeaderThatDiedEndsWithoutTheHost(t *testing.T) {
	h := newHolding(t)
	h.hold(2)
	h.die()
	h.m.until(t, "that it expires", func() bool { s := h.status(); return s != nil && s.Expired && s.Waiting[0].Host == "h1" })
	h.m.until(t, "the hold to end", func() bool { return h.status() == nil })
	if len(h.ended) != 1 || h.ended[0] != "second" {
		t.Errorf("the hold was ended by %v", h.ended)
	}
}

func putsRow(d *hoststream.Delta, key string) bool {
	for _, r := range d.GetPut() {
		if r.Key == key {
			return true
		}
	}
	return false
}
