// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/process"
	"github.com/weft-network/weft/api"
)

func lockThread() { runtime.LockOSThread() }

// Ten reloads, with another configuration each, lose no request: new connections of both
// families, connections that are kept, and answers that take longer than the reloads.
func TestReloadLosesNothing(t *testing.T) {
	w := newHall(t)
	w.serve("127.0.2.1:8080", "a")
	w.serve("[fd00:c::1]:8080", "b")
	p := shop()
	w.update(p)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients sync.WaitGroup
	var done, failed atomic.Int64
	ask := func(keep bool, url string) {
		clients.Add(1)
		go func() {
			defer clients.Done()
			c := w.client(keep)
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				a, err := get(context.WithoutCancel(ctx), c, url, nil)
				done.Add(1)
				if err != nil || a.code != http.StatusOK {
					failed.Add(1)
					t.Errorf("GET %s: %d %v", url, a.code, err)
				}
			}
		}()
	}
	for _, url := range []string{"http://127.0.1.1/", "http://[::1]/"} {
		ask(false, url)
		ask(false, url)
		ask(true, url)
		ask(false, url+"slow")
	}
	for i := range 10 {
		before := done.Load()
		p.Listeners[0].InsertHeaders = map[string]string{"X-Proto": strconv.Itoa(i)}
		w.update(p)
		w.until("clients are served by what was reloaded", func() bool { return done.Load() > before+50 || failed.Load() > 0 })
		a, err := get(t.Context(), w.client(false), "http://127.0.1.1/", nil)
		if err != nil || !strings.HasSuffix(a.head.Get("X-Saw"), ";"+strconv.Itoa(i)) {
			t.Errorf("reload %d: %v %v", i, a, err)
		}
	}
	cancel()
	clients.Wait()
	master, err := procs(t.Context(), w.runner.at(p.ID))
	if err != nil || master.reloads < 10 || master.failed > 0 {
		t.Errorf("the master has reloaded %+v: %v", master, err)
	}
	t.Logf("%d requests, %d failed", done.Load(), failed.Load())
}

// What is served already stays as it is; a runner that has just begun finds it, sweeps what it is
// not given, and nobody else's.
func TestProxyOutlivesItsRunner(t *testing.T) {
	w := newHall(t)
	w.serve("127.0.2.1:8080", "a")
	p := shop()
	w.update(p)
	before, err := w.runner.processes()
	if err != nil || len(before[p.ID]) != 2 {
		t.Fatalf("a master and a worker: %v %v", before, err)
	}
	rights := 0
	for _, pid := range before[p.ID] {
		var status unix.Stat_t
		if err := unix.Stat("/proc/"+strconv.Itoa(pid), &status); err != nil {
			t.Fatal(err)
		}
		if status.Uid == 0 {
			rights++
		}
	}
	if rights != 1 {
		t.Errorf("%d of master and worker are root's, want the master alone", rights)
	}
	w.runner = w.another()
	owned, err := w.runner.Owned(t.Context())
	if err != nil || !slices.Equal(slices.Collect(maps.Keys(owned)), []string{p.ID}) {
		t.Errorf("owned: %v %v", owned, err)
	}
	w.update(p)
	after, err := w.runner.processes()
	slices.Sort(before[p.ID])
	slices.Sort(after[p.ID])
	if err != nil || !slices.Equal(before[p.ID], after[p.ID]) {
		t.Errorf("the same row again: %v, was %v (%v)", after, before, err)
	}
	if err := w.runner.Delete(t.Context(), p.ID); err != nil {
		t.Error(err)
	}
	if owned, err := w.runner.Owned(t.Context()); err != nil || len(owned) > 0 {
		t.Errorf("owned after the end: %v %v", owned, err)
	}
	if err := w.runner.Delete(t.Context(), p.ID); err != nil {
		t.Errorf("again: %v", err)
	}
}

// Whoever is killed comes back: a worker takes its master with it.
func TestKilledProxyComesBack(t *testing.T) {
	w := newHall(t)
	w.serve("127.0.2.1:8080", "a")
	p := shop()
	p.Pools[0].Members = p.Pools[0].Members[:1]
	w.update(p)
	if revived, err := w.runner.Revive(t.Context()); err != nil || len(revived) > 0 {
		t.Errorf("revived %v, and nothing was dead: %v", revived, err)
	}
	for range 2 {
		all, err := w.runner.processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range all[p.ID] {
			if err := process.Mark(w.runner.mark).Signal(p.ID, pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		w.until("it has ended", func() bool { return !process.AnyLeft(all[p.ID]) })
		if revived, err := w.runner.Revive(t.Context()); err != nil || !slices.Equal(revived, []string{p.ID}) {
			t.Fatalf("revived %v: %v", revived, err)
		}
		if a, err := get(t.Context(), w.client(false), "http://127.0.1.1/", nil); err != nil || a.code != http.StatusOK {
			t.Errorf("after it was killed: %v %v", a, err)
		}
	}
}

// HAProxy refuses ciphers that it does not know: that port is closed and says why, all else is
// served. So it is with a certificate without key and a member without address.
func TestWhatIsRefusedIsSaid(t *testing.T) {
	w := newHall(t)
	w.serve("127.0.2.1:8080", "a")
	p := shop()
	key := certificate(t, "shop.example")
	p.Certificates = map[string][]byte{"shop": key, "no-key": key[:strings.Index(string(key), "-----BEGIN PRIVATE")]}
	p.Pools[0].Members[1].Address = p.Pools[0].Members[1].MonitorAddress
	p.Listeners = append(p.Listeners,
		Listener{ID: id(3), Protocol: "TERMINATED_HTTPS", Port: 443, Pool: id(10), TLS: &api.ListenerTLS{Certificates: []string{"shop"}, Ciphers: "NO-SUCH-CIPHER"}},
		Listener{ID: id(4), Protocol: "TERMINATED_HTTPS", Port: 444, Pool: id(10), TLS: &api.ListenerTLS{Certificates: []string{"no-key"}}})
	w.update(p)
	for object, want := range map[string]string{id(3): "NO-SUCH-CIPHER", id(4): `certificate "no-key" cannot be used`, id(21): "has no address"} {
		if !slices.ContainsFunc(w.runner.Faults(p.ID), func(f Fault) bool { return f.ID == object && !f.Partly && strings.Contains(f.Message, want) }) {
			t.Errorf("%s does not say %q: %v", object, want, w.runner.Faults(p.ID))
		}
	}
	if a, err := get(t.Context(), w.client(false), "http://127.0.1.1/", nil); err != nil || a.code != http.StatusOK {
		t.Errorf("the listener beside them: %v %v", a, err)
	}
	for _, url := range []string{"https://127.0.1.1/", "https://127.0.1.1:444/"} {
		if _, err := get(t.Context(), w.client(false), url, nil); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v, want a closed port", url, err)
		}
	}
	p.Listeners[1].TLS.Ciphers = ""
	w.update(p)
	if a, err := get(t.Context(), w.client(false), "https://127.0.1.1/", nil); err != nil || a.code != http.StatusOK {
		t.Errorf("once its ciphers are mended: %v %v", a, err)
	}
	if slices.ContainsFunc(w.runner.Faults(p.ID), func(f Fault) bool { return f.ID == id(3) }) {
		t.Errorf("it still says %v", w.runner.Faults(p.ID))
	}
}

// Figures tell who is up, and a reload does not forget it: no request goes to a member that is down.
func TestMembersThatAreDown(t *testing.T) {
	w := newHall(t)
	w.serve("127.0.2.1:8080", "a")
	p := shop()
	w.update(p)
	down := func() MemberFigures {
		f, err := w.runner.Figures(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		if f.Members[id(20)].State != "UP" && !strings.HasPrefix(f.Members[id(20)].State, "UP") {
			t.Logf("the other one is %+v", f.Members[id(20)])
		}
		return f.Members[id(21)]
	}
	w.until("the member that nobody serves is down", func() bool { return down().State == "DOWN" })
	if m := down(); m.Up || !m.Tried || !strings.Contains(m.Reason, "L4CON") {
		t.Errorf("it says %+v", m)
	}
	p.Listeners[0].InsertHeaders = map[string]string{"X-Proto": "{protocol}"}
	w.update(p)
	if m := down(); m.Up {
		t.Errorf("after a reload: %+v", m)
	}
	for range 20 {
		if a, err := get(t.Context(), w.client(false), "http://127.0.1.1/", nil); err != nil || a.head.Get("X-Member") != "a" {
			t.Fatalf("%v %v", a, err)
		}
	}
	f, err := w.runner.Figures(t.Context(), p.ID)
	if err != nil || f.Members[id(20)].Total < 20 || f.Listeners[id(2)].Total < 20 || f.Listeners[id(2)].Out == 0 {
		t.Errorf("figures of 20 requests: %+v %v", f, err)
	}
	w.serve("[fd00:c::1]:8080", "b")
	w.until("it is up once it is served", func() bool { return down().Up })
}
