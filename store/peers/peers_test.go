// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
)

// world is controllers at one etcd.
type world struct {
	t       *testing.T
	etcd    *embedded.Server
	objects *store.Store
}

// controller is one of them. terms delivers each term as it begins, ended when
// its context has.
type controller struct {
	*Peers
	terms chan store.Term
	ended chan struct{}
	stop  context.CancelFunc
	done  chan struct{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	objects, err := store.Open(t.Context(), etcd.Client(), store.Options{MaxTxnOps: embedded.MaxTxnOps, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(objects.Close)
	return &world{t, etcd, objects}
}

func (w *world) controller(name string) *controller {
	ctx, cancel := context.WithCancel(w.t.Context())
	c := &controller{
		Peers: New(w.etcd.Client(), name, "test", slog.New(slog.DiscardHandler)),
		terms: make(chan store.Term, 8), ended: make(chan struct{}, 8), stop: cancel, done: make(chan struct{}),
	}
	go func() {
		defer close(c.done)
		c.Lead(ctx, func(ctx context.Context, term store.Term) {
			c.terms <- term
			<-ctx.Done()
			c.ended <- struct{}{}
		})
	}()
	w.t.Cleanup(func() { cancel(); <-c.done })
	return c
}

// receive waits for a fact.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited for: %s", what)
		panic("unreachable")
	}
}

// until waits for a fact that changes with the entries.
func (c *controller) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-c.Changed():
		case <-deadline:
			t.Fatalf("waited for: %s", what)
		}
	}
}

func (w *world) putStatus(term store.Term, connected bool) error {
	host := w.objects.Latest().List(api.KindHost)[0].Head().Meta.UUID
	return w.objects.During(term).PutStatus(w.t.Context(), api.KindHost, host, &api.HostStatus{Connected: connected})
}

// One leads; when its lease goes it learns that, what it still tries to write
// is refused, and another leads.
func TestOneLeads(t *testing.T) {
	w := newWorld(t)
	admin := api.Identity{Name: "admin", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	h := &api.Host{Header: api.Header{Kind: api.KindHost, Meta: api.Meta{Name: "h"}},
		Spec: api.HostSpec{TunnelAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}
	if _, err := w.objects.Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: h}}, store.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	a := w.controller("a")
	first := receive(t, "a leads", a.terms)
	b := w.controller("b")
	b.until(t, "b has a session", func() bool { return b.Generation() == 1 })
	if err := w.putStatus(first, true); err != nil {
		t.Errorf("the leader writes a status: %v", err)
	}
	a.mu.Lock()
	lease := a.lease
	a.mu.Unlock()
	if _, err := w.etcd.Client().Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	second := receive(t, "b leads", b.terms)
	var e *api.Error
	if err := w.putStatus(first, false); !errors.As(err, &e) || e.Code != api.CodeUnavailable {
		t.Errorf("a status written after the term: %v", err)
	}
	if err := w.putStatus(second, false); err != nil {
		t.Errorf("the new leader writes a status: %v", err)
	}
	receive(t, "a knows that its term ended", a.ended)
	a.until(t, "a has another session", func() bool { return a.Generation() == 2 })
	b.stop() // in order: nobody waits for a lease to expire
	began := time.Now()
	receive(t, "a leads again", a.terms)
	if waited := time.Since(began); waited > leaseTTL/2 {
		t.Errorf("after the leader's end in order it took %v until the next one led", waited)
	}
}

// Entries are seen by others, belong to who claimed them last, and go with the
// session.
func TestEntries(t *testing.T) {
	w := newWorld(t)
	a, b := w.controller("a"), w.controller("b")
	for _, c := range []*controller{a, b} {
		c.until(t, "a session", func() bool { return c.Generation() == 1 })
	}
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	sees := func(c *controller, value string) {
		t.Helper()
		c.until(t, c.Name()+" sees "+value, func() bool { return string(c.Others()["host/1"]) == value })
	}
	check("a claims", a.Claim(t.Context(), "host/1", []byte("a1")))
	sees(b, "a1")
	if ours, err := a.Update(t.Context(), "host/1", []byte("a2")); err != nil || !ours {
		t.Errorf("a updates its entry: ours %v, %v", ours, err)
	}
	sees(b, "a2")
	if len(a.Others()) != 0 {
		t.Errorf("a's own entry is another's to itself: %v", a.Others())
	}
	check("b claims", b.Claim(t.Context(), "host/1", []byte("b1")))
	sees(a, "b1")
	if ours, err := a.Update(t.Context(), "host/1", []byte("a3")); err != nil || ours {
		t.Errorf("a updates what b has claimed: ours %v, %v", ours, err)
	}
	check("a drops", a.Drop(t.Context(), "host/1"))
	sees(a, "b1")
	check("b drops", b.Drop(t.Context(), "host/1"))
	sees(a, "")
	check("b claims again", b.Claim(t.Context(), "host/1", []byte("b2")))
	sees(a, "b2")
	b.mu.Lock()
	lease := b.lease
	b.mu.Unlock()
	if _, err := w.etcd.Client().Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	sees(a, "")
	if ours, err := b.Update(t.Context(), "host/1", []byte("b3")); !ours && err == nil {
		t.Error("an entry that went with the session counts as claimed by another controller")
	}
}
