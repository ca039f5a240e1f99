// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/server"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/embedded"
)

// patience bounds what a test waits for.
const patience = 30 * time.Second

var (
	admin   = api.Identity{Name: "admin", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	project = api.Ref{Name: "default-domain:default-project"}
)

// world is a real etcd with a server in front that can be stopped and started.
type world struct {
	t       *testing.T
	etcd    *embedded.Server
	store   *store.Store // of its own: writes also while the server is down
	ca      *pki.CA
	address string
	client  *client.Client
	stop    func()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), t.TempDir())
	check(t, err)
	t.Cleanup(etcd.Close)
	w := &world{t: t, etcd: etcd, address: "127.0.0.1:0"}
	w.store = w.open()
	t.Cleanup(w.store.Close)
	w.ca, err = pki.Open(t.TempDir(), time.Now)
	check(t, err)
	w.start()
	t.Cleanup(func() { w.stop() })
	certificate, key, err := w.ca.IssueClient(admin)
	check(t, err)
	w.client, err = client.New(client.Config{Server: "https://" + w.address, CA: string(w.ca.Bundle()), Certificate: string(certificate), Key: string(key)})
	check(t, err)
	t.Cleanup(w.client.Close)
	return w
}

func (w *world) open() *store.Store {
	s, err := store.Open(w.t.Context(), w.etcd.Client(), store.Options{MaxTxnOps: embedded.MaxTxnOps, Log: slog.New(slog.DiscardHandler)})
	check(w.t, err)
	return s
}

// start serves at the address of before, with a store that remembers nothing.
func (w *world) start() {
	s := w.open()
	certificate, err := w.ca.ServerCertificate([]string{"127.0.0.1"})
	check(w.t, err)
	listener, err := net.Listen("tcp", w.address)
	check(w.t, err)
	w.address = listener.Addr().String()
	rest := server.New(server.Options{Store: s, CA: w.ca, Certificate: certificate, Log: slog.New(slog.DiscardHandler)})
	served := make(chan error, 1)
	go func() { served <- rest.Serve(listener) }()
	w.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(rest.Close(ctx), <-served); err != nil {
			w.t.Error(err)
		}
		s.Close()
	})
}

func (w *world) commit(ops ...api.Operation) int64 {
	w.t.Helper()
	r, err := w.store.Commit(w.t.Context(), admin, ops, store.CommitOptions{})
	check(w.t, err)
	return r.Revision
}

func network(name string, labels map[string]string) api.Object {
	return &api.Network{Header: api.Header{Kind: api.KindNetwork, Meta: api.Meta{Name: name, Parent: project, Labels: labels}}}
}

// mirror is built from what a cache tells its handler alone.
type mirror struct {
	mu       sync.Mutex
	objects  map[string]api.Object
	revision int64
	wrong    []string
	problems int
}

func (m *mirror) changed(c Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Revision < m.revision {
		m.wrong = append(m.wrong, fmt.Sprintf("revision %d after %d", c.Revision, m.revision))
	}
	m.revision = c.Revision
	of := c.New
	if of == nil {
		of = c.Old
	}
	uuid := of.Head().Meta.UUID
	if m.objects[uuid] != c.Old {
		m.wrong = append(m.wrong, fmt.Sprintf("%s: the old object is not the one that was told", of.Head().Meta.FQName))
	}
	if delete(m.objects, uuid); c.New != nil {
		m.objects[uuid] = c.New
	}
}

// run starts a cache and stops it at the end of the test.
func (w *world) run(options Options) (*Cache, *mirror) {
	m := &mirror{objects: map[string]api.Object{}}
	options.Changed = m.changed
	options.Interrupted = func(error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.problems++
	}
	c := New(w.client, options)
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the cache ended: %v", err)
		}
	})
	return c, m
}

// same checks that cache and handler have what the store has at a revision.
func (w *world) same(c *Cache, m *mirror, revision int64, selected func(api.Object) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	check(w.t, c.Wait(ctx, revision))
	var want []api.Object
	for _, o := range w.store.Latest().List(api.KindNetwork) {
		if selected == nil || selected(o) {
			want = append(want, o)
		}
	}
	got := c.List(api.KindNetwork)
	if fmt.Sprint(names(got)) != fmt.Sprint(names(want)) {
		w.t.Fatalf("at %d: the cache has %v\nthe store %v", revision, names(got), names(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			w.t.Errorf("the cache has %+v, the store %+v", got[i], want[i])
		}
		if o := c.Lookup(api.KindNetwork, api.Ref{Name: got[i].Head().Meta.FQName}); o != got[i] {
			w.t.Errorf("lookup of %s: %v", got[i].Head().Meta.FQName, o)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	told := 0
	for _, o := range m.objects {
		if o.Head().Kind == api.KindNetwork {
			told++
		}
	}
	if told != len(want) || len(m.wrong) > 0 {
		w.t.Errorf("the handler was told of %d networks, %d exist; wrong: %v", told, len(want), m.wrong)
	}
}

func names(objects []api.Object) []string {
	var all []string
	for _, o := range objects {
		all = append(all, fmt.Sprint(o.Head().Meta.Name, o.Head().Meta.Labels))
	}
	return all
}

// edit makes one random transaction and returns its revision.
func (w *world) edit(r *rand.Rand) int64 {
	var ops []api.Operation
	for _, n := range slices.Compact([]int{r.IntN(6), 6 + r.IntN(6)}) {
		name := fmt.Sprint("n", n)
		o := network(name, map[string]string{"even": fmt.Sprint(r.IntN(2))})
		old := w.store.Latest().Lookup(api.KindNetwork, api.Ref{Name: project.Name + ":" + name})
		switch {
		case old == nil:
			ops = append(ops, api.Operation{Op: api.OpCreate, Object: o})
		case r.IntN(3) == 0:
			ops = append(ops, api.Operation{Op: api.OpDelete, Object: old})
		default:
			changed := api.Clone(old)
			changed.Head().Meta.Labels = o.Head().Meta.Labels
			ops = append(ops, api.Operation{Op: api.OpUpdate, Object: changed})
		}
	}
	revision := w.commit(ops...)
	_, err := w.store.Snapshot(w.t.Context(), revision)
	check(w.t, err)
	return max(revision, w.store.Latest().Revision())
}

// After random edits, restarts of the server and compaction, a cache is equal
// to a list, and so is what its handler was told.
func TestCacheEqualsList(t *testing.T) {
	w := newWorld(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	even := func(o api.Object) bool { return o.Head().Meta.Labels["even"] == "0" }
	all, told := w.run(Options{Kinds: []api.Kind{api.KindNetwork}})
	some, toldSome := w.run(Options{Kinds: []api.Kind{api.KindNetwork}, Select: client.Selection{Labels: []string{"even=0"}}})
	for round := range 12 {
		var last int64
		for range 8 {
			last = w.edit(r)
		}
		if round%3 == 1 { // the connection breaks; after a compaction there is no way to resume
			w.stop()
			for range 4 {
				last = w.edit(r)
			}
			if round%2 == 1 {
				_, err := w.etcd.Client().Compact(t.Context(), last)
				check(t, err)
			}
			w.start()
		}
		w.same(all, told, last, nil)
		w.same(some, toldSome, last, even)
	}
	if told.problems == 0 {
		t.Error("the cache was never interrupted, so this test tested nothing")
	}
}

// Before the first sync nothing is claimed; a server that is not there yet is
// waited for.
func TestCacheSyncs(t *testing.T) {
	w := newWorld(t)
	w.stop()
	c, m := w.run(Options{})
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var e *api.Error
	if err := c.Wait(short, 0); c.HasSynced() || !errors.As(err, &e) || e.Code != api.CodeTimeout {
		t.Errorf("without a server: synced %v, %v", c.HasSynced(), err)
	}
	revision := w.commit(api.Operation{Op: api.OpCreate, Object: network("n", nil)})
	w.start()
	w.same(c, m, revision, nil)
	if !c.HasSynced() || c.Get(api.KindDomain, "none") != nil || len(c.List(api.KindProject)) != 1 {
		t.Error("not everything is there after the sync")
	}
}

// The objects of one transaction appear together.
func TestTransactionsAreWhole(t *testing.T) {
	w := newWorld(t)
	c, m := w.run(Options{Kinds: []api.Kind{api.KindNetwork}})
	check(t, c.Wait(t.Context(), 0))
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			c.Read(func(s api.Snapshot) {
				if n := len(s.List(api.KindNetwork)); n%5 != 0 {
					t.Errorf("%d networks at revision %d: a part of a transaction", n, s.Revision())
				}
			})
		}
	})
	var last int64
	for round := range 6 {
		var ops []api.Operation
		for i := range 5 {
			ops = append(ops, api.Operation{Op: api.OpCreate, Object: network(fmt.Sprintf("n%d-%d", round, i), nil)})
		}
		last = w.commit(ops...)
	}
	w.same(c, m, last, nil)
	close(stop)
	wait.Wait()
}

// What cannot be helped by waiting ends the cache.
func TestCacheEnds(t *testing.T) {
	w := newWorld(t)
	w.commit(api.Operation{Op: api.OpCreate, Object: network("a", nil)}, api.Operation{Op: api.OpCreate, Object: network("b", nil)})
	for what, x := range map[string]struct {
		options Options
		code    api.Code
	}{
		"too many":     {Options{Kinds: []api.Kind{api.KindNetwork}, Max: 1}, api.CodeTooLarge},
		"no such kind": {Options{Kinds: []api.Kind{"nothing"}}, api.CodeInvalid},
		"no parent":    {Options{Kinds: []api.Kind{api.KindNetwork}, Select: client.Selection{Parent: api.Ref{Name: "none"}}}, api.CodeNotFound},
	} {
		var e *api.Error
		if err := New(w.client, x.options).Run(t.Context()); !errors.As(err, &e) || e.Code != x.code {
			t.Errorf("%s: %v, want %s", what, err, x.code)
		}
	}
}

// TestFollower: events and the batches they make. Words are as in p5a: put at
// revision 5 of object a; b7 is a bookmark.
func TestFollower(t *testing.T) {
	for events, want := range map[string]string{
		"p9a p9b b9":                 "all9[a b]",
		"b9 p10a b12":                "all9[] 10[a] 12[]",
		"b9 p10a p10b p11c b11":      "all9[] 10[a b] 11[c]",
		"b9 p10a p10a d10b b10":      "all9[] 10[a b]", // again, after a lost connection
		"b9 p10a d11a p11b p12c b12": "all9[] 10[a] 11[a b] 12[c]",
		"p9a p9b":                    "",
		"b9 p10a":                    "all9[]",
		"b9 b10 b11":                 "all9[] 10[] 11[]",
		"b9 p10a p11a p12a p13b b20": "all9[] 10[a] 11[a] 12[a] 13[b] 20[]",
	} {
		var f follower
		var got []string
		for _, word := range strings.Fields(events) {
			var e api.Event
			var name string
			fmt.Sscanf(word[1:], "%d%s", &e.Revision, &name)
			e.Type = map[byte]string{'p': api.EventPut, 'd': api.EventDelete, 'b': api.EventBookmark}[word[0]]
			e.Object = &api.Domain{Header: api.Header{Meta: api.Meta{UUID: name}}}
			for _, b := range f.step(e) {
				var uuids []string
				for _, e := range b.events {
					uuids = append(uuids, e.Object.Head().Meta.UUID)
				}
				got = append(got, fmt.Sprintf("%s%d%v", map[bool]string{true: "all"}[b.whole], b.revision, uuids))
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %s, want %s", events, text, want)
		}
	}
}
