// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store/embedded"
)

// patience bounds what a test waits for.
const patience = time.Minute

// until reads a watch up to an event with the text and returns all it read.
func until(t *testing.T, w *Watch, text string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var lines []string
	for {
		events, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("wait for %q: %v; so far %q", text, err, lines)
		}
		for _, e := range events {
			line := e.Type
			if e.Object != nil {
				line += " " + string(e.Kind) + " " + e.Object.Head().Meta.Name
			}
			lines = append(lines, line)
			if line == text {
				return lines
			}
		}
	}
}

func (w *world) watch(revision int64, kinds ...api.Kind) *Watch {
	w.t.Helper()
	watch, err := w.Watch(w.t.Context(), admin, revision, kinds)
	if err != nil {
		w.t.Fatal(err)
	}
	return watch
}

func is(t *testing.T, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	w.create(admin, network("n1", project))
	revision := w.Latest().Revision()
	fromNow := w.watch(0, api.KindNetwork)
	is(t, until(t, fromNow, "bookmark"), "put network n1, bookmark")

	n2 := w.create(admin, network("n2", project))
	w.create(admin, port("p", project, named("default-domain:default-project:n2")))
	if err := w.PutStatus(t.Context(), api.KindNetwork, n2.Head().Meta.UUID, api.NetworkStatus{Conditions: []api.Condition{{Type: "X"}}}); err != nil {
		t.Fatal(err)
	}
	w.remove(admin, port("p", project, api.Ref{}), network("n2", project))
	want := "put network n2, put network n2, delete network n2"
	is(t, until(t, fromNow, "delete network n2"), want)
	// The same again from the past, and for every kind.
	is(t, until(t, w.watch(revision, api.KindNetwork), "delete network n2"), want)
	is(t, until(t, w.watch(revision), "delete network n2"), "put network n2, put port p, put network n2, delete port p, delete network n2")
	// A second controller was not there, and reads it from etcd.
	late := &world{t: t, etcd: w.etcd, client: w.client, Store: w.open()}
	is(t, until(t, late.watch(revision, api.KindNetwork), "delete network n2"), want)
	replayed := late.watch(revision, api.KindNetwork)
	w.create(admin, network("n3", project))
	is(t, until(t, replayed, "put network n3"), want+", put network n3")

	if _, err := w.client.Compact(t.Context(), w.Latest().Revision()); err != nil {
		t.Fatal(err)
	}
	var e *api.Error
	if _, err := w.open().Watch(t.Context(), admin, revision, nil); !errors.As(err, &e) || e.Code != api.CodeGone {
		t.Errorf("a watch from a compacted revision: %v, want gone", err)
	}
	if _, err := w.Watch(t.Context(), admin, w.Latest().Revision()+1000, nil); !errors.As(err, &e) || e.Code != api.CodeInvalid {
		t.Errorf("a watch from the future: %v, want invalid", err)
	}
}

// An object that leaves what a watch selects is a deletion, one that enters a
// put; what is never selected costs nothing but bookmarks, soon if asked for.
func TestWatchSelected(t *testing.T) {
	w := newWorld(t)
	mtu := func(n *api.Network, mtu int) *api.Network {
		n.Spec.MTU = mtu
		return n
	}
	large := WatchOptions{Kinds: []api.Kind{api.KindNetwork}, Selected: func(o api.Object) bool { return o.(*api.Network).Spec.MTU == 9000 }}
	w.create(admin, network("small", project), mtu(network("big", project), 9000))
	revision := w.Latest().Revision()
	watch, err := w.WatchSelected(t.Context(), admin, 0, large)
	if err != nil {
		t.Fatal(err)
	}
	is(t, until(t, watch, "bookmark"), "put network big, bookmark")
	w.update(admin, mtu(network("small", project), 9000))
	w.update(admin, mtu(network("big", project), 1500))
	w.update(admin, mtu(network("big", project), 1400))
	w.remove(admin, network("big", project))
	w.remove(admin, network("small", project))
	want := "put network small, delete network big, delete network small"
	is(t, until(t, watch, "delete network small"), want)
	// The same from memory, and from etcd by one who was not there.
	for _, s := range []*Store{w.Store, w.open()} {
		late, err := s.WatchSelected(t.Context(), admin, revision, large)
		if err != nil {
			t.Fatal(err)
		}
		is(t, until(t, late, "delete network small"), want)
	}
	large.Soon = true
	if watch, err = w.WatchSelected(t.Context(), admin, w.Latest().Revision(), large); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.update(admin, mtu(w.create(admin, network("n", project)).(*api.Network), 1300))
		w.remove(admin, network("n", project))
		ctx, cancel := context.WithTimeout(t.Context(), bookmarkEvery/2)
		for seen := int64(0); seen < w.Latest().Revision(); {
			events, err := watch.Next(ctx)
			if err != nil || len(events) != 1 || events[0].Type != api.EventBookmark {
				t.Fatalf("got %v, %v; want a bookmark soon", events, err)
			}
			seen = events[0].Revision
		}
		cancel()
	}
}

// What refers to an object is found by index, whichever field refers.
func TestReferrers(t *testing.T) {
	w := newWorld(t)
	n := w.create(admin, network("n", project))
	w.create(admin, network("m", project), port("p", project, named("default-domain:default-project:n")), port("q", project, named("default-domain:default-project:m")))
	uuid := n.Head().Meta.UUID
	found := w.latest().Referrers(api.KindPort, api.KindNetwork, uuid)
	if len(found) != 1 || found[0].Head().Meta.Name != "p" || len(w.latest().Referrers(api.KindSubnet, api.KindNetwork, uuid)) != 0 {
		t.Errorf("ports of n: %v", found)
	}
}

// A reader that is slower than the memory is long is told so.
func TestWatchTooSlow(t *testing.T) {
	h := newHistory(&Snapshot{revision: 1})
	w := &Watch{sight: &sight{everything: true}, store: &Store{history: h}, revision: 1}
	events := make([]api.Event, historyEvents/2+1)
	for r := int64(2); r < 5; r++ {
		h.add(&Snapshot{revision: r}, events, nil)
	}
	var e *api.Error
	if _, err := w.Next(t.Context()); !errors.As(err, &e) || e.Code != api.CodeUnavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	if b, ok, _ := h.after(3); !ok || b.revision != 4 || len(b.events) != len(events) {
		t.Errorf("after 3 comes %d with %d events, %v", b.revision, len(b.events), ok)
	}
}

// The follower that missed what was compacted reads everything again, and
// watches see the difference.
func TestReload(t *testing.T) {
	w := newWorld(t)
	w.create(admin, network("n1", project), network("n2", project))
	t1, revision, err := load(t.Context(), w.client, 0)
	if err != nil {
		t.Fatal(err)
	}
	n2 := network("n2", project)
	n2.Spec.MTU = 9000
	w.update(admin, n2)
	w.remove(admin, network("n1", project))
	w.create(admin, network("n3", project))

	behind := &Store{client: w.client, log: w.log, allocator: newAllocator(), history: newHistory(t1.snapshot(revision)), ctx: t.Context()}
	watch := &Watch{sight: &sight{everything: true}, store: behind, revision: revision}
	if _, err := w.client.Compact(t.Context(), w.Latest().Revision()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); behind.follow(ctx, t1, revision) }()
	is(t, until(t, watch, "delete network n1"), "put network n2, put network n3, delete network n1")
	w.create(admin, network("n4", project)) // and it goes on from there
	until(t, watch, "put network n4")
	cancel()
	<-done
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	var before api.Snapshot
	for start := range 3 {
		etcd, err := embedded.Start(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), etcd.Client(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if before != nil {
			sameObjects(t, before, s.Latest())
		}
		o := network(fmt.Sprintf("n%d", start), project)
		if _, err := s.Commit(t.Context(), admin, []api.Operation{{Op: api.OpCreate, Object: o}}, CommitOptions{}); err != nil {
			t.Fatal(err)
		}
		if vni := s.Latest().Lookup(api.KindNetwork, named("default-domain:default-project:"+o.Meta.Name)).(*api.Network).Spec.VNI; vni != uint32(start+1) {
			t.Errorf("start %d: VNI %d", start, vni)
		}
		before = s.Latest()
		checkKeys(t, etcd.Client())
		s.Close()
		etcd.Close()
	}
}

func TestFollowAndSnapshot(t *testing.T) {
	w := newWorld(t)
	other := &world{t: t, etcd: w.etcd, client: w.client, Store: w.open()}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	follow := other.Follow(ctx)
	for i := range 20 {
		name := fmt.Sprintf("n%d", i)
		w.create(admin, network(name, project))
		// What one controller committed, the other's next read has.
		s, err := other.Snapshot(ctx, 0)
		if err != nil || s.Lookup(api.KindNetwork, named("default-domain:default-project:"+name)) == nil {
			t.Fatalf("%s is not in the other controller's snapshot (%v)", name, err)
		}
	}
	last := w.Latest().Revision()
	var revision int64
	for revision < last {
		s, ok := <-follow
		if !ok {
			t.Fatalf("the channel ended at %d, before %d", revision, last)
		}
		if s.Revision() <= revision {
			t.Errorf("revision %d after %d", s.Revision(), revision)
		}
		revision = s.Revision()
	}
	cancel()
	for range follow { // it closes
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	var e *api.Error
	if _, err := w.Snapshot(short, last+1000); !errors.As(err, &e) || e.Code != api.CodeTimeout {
		t.Errorf("a snapshot of the future: %v, want timeout", err)
	}
}
