// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"context"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/attachment"
)

func keyed(container, config string) attachment.Key {
	return attachment.Key{Container: container, Ifname: "eth0", Config: config}
}

func (w *world) attach(n int, container, config string) error {
	_, err := w.Attach(w.t.Context(), attachment.Request{Key: keyed(container, config), Port: portID(n), Netns: "/run/netns/" + container, TimeoutSeconds: 1})
	return err
}

func (w *world) mustAttach(n int, container, config string) {
	w.t.Helper()
	if err := w.attach(n, container, config); err != nil {
		w.t.Fatal(err)
	}
}

// What a runtime attached is found by its container alone: after a restart without a
// controller, when a new container of the workload has taken the port, and never twice.
func TestDetachNeedsTheContainerAlone(t *testing.T) {
	l, kernel, dir := newLinks(), datapath.NewMemoryKernel(nil), t.TempDir()
	w := start(t, l, kernel, dir, 1, 2)
	w.mustAttach(1, "a", "weft")
	w.mustAttach(1, "a", "weft") // again is success
	w.mustAttach(2, "c", "weft")
	w.mustAttach(1, "b", "weft") // the workload was started anew
	if got := l.places[portID(1)].Netns; got != "/run/netns/b" {
		t.Errorf("the port leads to %s", got)
	}
	if err := w.Detach(t.Context(), keyed("a", "weft")); err != nil { // and its former container ends late
		t.Error(err)
	}
	w.expect(1, "up", 2)
	w.stop()
	w = start(t, l, kernel, dir)
	for range 2 {
		if err := w.Detach(t.Context(), keyed("b", "weft")); err != nil {
			t.Error(err)
		}
	}
	if _, there := l.ports[portID(1)]; there || len(l.ports) != 1 {
		t.Errorf("interfaces after detaching: %v", l.ports)
	}
	if err := w.Detach(t.Context(), attachment.Key{Container: "b"}); code(err) != api.CodeInvalid {
		t.Errorf("a key without interface: %v", err)
	}
}

// A container whose runtime gave up is gone when the runtime has detached it: nothing is
// made for it afterwards.
func TestDetachEndsAnAttachInFlight(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 2)
	result := make(chan error, 1)
	go func() {
		_, err := w.Attach(context.WithoutCancel(t.Context()), attachment.Request{Key: keyed("a", "weft"), Port: portID(1), Netns: "/run/netns/a", TimeoutSeconds: 60})
		result <- err
	}()
	for !w.InFlight("a") {
		runtime.Gosched()
	}
	if err := w.Detach(t.Context(), keyed("a", "weft")); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err == nil {
		t.Error("the attach that was given up succeeded")
	}
	w.deliver(2, 1, 2)
	w.expect(1, "waiting", 0)
	if len(w.links.ports) != 0 {
		t.Errorf("interfaces: %v", w.links.ports)
	}
}

// An attach that fails half-way leaves what a detach finds.
func TestDetachOfHalfMade(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 1)
	w.links.fail = context.DeadlineExceeded
	if err := w.attach(1, "a", "weft"); err == nil {
		t.Fatal("attached without an interface")
	}
	w.links.fail = nil
	w.expect(1, "failed", 0)
	if err := w.Detach(t.Context(), keyed("a", "weft")); err != nil {
		t.Error(err)
	}
	w.expect(1, "waiting", 0)
}

// Collected is what the configuration attached and is not valid: not what is of another
// configuration, and not what was plugged by hand.
func TestCollectTakesOnlyItsOwn(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 1, 2, 3, 4)
	w.mustAttach(1, "stays", "weft")
	w.mustAttach(2, "goes", "weft")
	w.mustAttach(3, "other", "storage")
	if _, err := w.Plug(t.Context(), plug.Request{Port: portID(4), Place: link.Place{Netns: "/run/netns/d"}}); err != nil {
		t.Fatal(err)
	}
	done, err := w.Collect(t.Context(), attachment.Collection{Config: "weft", Valid: []attachment.Key{{Container: "stays", Ifname: "eth0"}, {Container: "goes", Ifname: "net1"}}})
	if err != nil || !slices.Equal(done.Removed, []attachment.Key{keyed("goes", "weft")}) {
		t.Errorf("collected %v, %v", done, err)
	}
	for n, want := range map[int]string{1: "up", 2: "waiting", 3: "up", 4: "up"} {
		if got := w.state(n); got != want {
			t.Errorf("port %d is %s, want %s", n, got, want)
		}
	}
	if _, err := w.Collect(t.Context(), attachment.Collection{}); code(err) != api.CodeInvalid {
		t.Errorf("a collection of no configuration: %v", err)
	}
}

// A check looks at the interface, the packet path and the port's rows.
func TestCheck(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 1)
	k := keyed("a", "weft")
	if err := w.Check(t.Context(), k); code(err) != api.CodeNotFound {
		t.Errorf("a check of what is not attached: %v", err)
	}
	w.mustAttach(1, "a", "weft")
	if err := w.Check(t.Context(), k); err != nil {
		t.Error(err)
	}
	wrong := func(words string) {
		t.Helper()
		if err := w.Check(t.Context(), k); code(err) != api.CodeConflict || !strings.Contains(err.Error(), words) {
			t.Errorf("check: %v; want %s", err, words)
		}
	}
	ifindex := w.links.ports[portID(1)].Ifindex
	delete(w.links.hooks, ifindex)
	wrong("the packet path is not on its interface")
	w.links.hooks[ifindex] = true
	w.links.places[portID(1)] = link.Place{}
	wrong("it is elsewhere")
	w.links.places[portID(1)] = link.Place{Netns: "/run/netns/a", Ifname: "eth0"}
	w.deliver(2)
	wrong("not bound to this host")
}

// A host is ready once it has heard of its networks, in this run or in an earlier one.
func TestReady(t *testing.T) {
	l, dir := newLinks(), t.TempDir()
	w := start(t, l, datapath.NewMemoryKernel(nil), dir)
	state := func(want attachment.State) {
		t.Helper()
		if r, err := w.Ready(t.Context()); err != nil || r.State != want {
			t.Errorf("ready: %+v, %v; want %s", r, err, want)
		}
	}
	state(attachment.Unavailable)
	w.deliver(1, 1)
	state(attachment.Ready)
	if err := w.loop.Do(t.Context(), func(c *host.Core) { c.SetConnected(false) }); err != nil {
		t.Fatal(err)
	}
	state(attachment.Ready)
	w.mustAttach(1, "a", "weft")
	w.stop()
	w = start(t, l, datapath.NewMemoryKernel(nil), dir) // its rows were lost
	state(attachment.Limited)
}

// The agent's socket speaks it, and errors keep their codes.
func TestAttachOverTheSocket(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 1)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- w.Serve(ctx, dir, func() { close(ready) }) }()
	<-ready
	c := attachment.NewClient(filepath.Join(dir, attachment.SocketName))
	k := keyed("a", "weft")
	a, err := c.Attach(t.Context(), attachment.Request{Key: k, Port: "d:p:1", Netns: "/run/netns/a"})
	if err != nil || a.Port != portID(1) || len(a.Addresses) != 1 || a.Addresses[0].Prefix.String() != "10.0.0.1/24" || a.Addresses[0].Gateway.String() != "10.0.0.1" || a.MTU == 0 {
		t.Errorf("attached %+v, %v", a, err)
	}
	if err := c.Check(t.Context(), k); err != nil {
		t.Error(err)
	}
	if r, err := c.Ready(t.Context()); err != nil || r.State != attachment.Ready {
		t.Errorf("ready: %v, %v", r, err)
	}
	if _, err := c.Collect(t.Context(), attachment.Collection{Config: "weft", Valid: make([]attachment.Key, 5000)}); err != nil { // more than other requests may have
		t.Error(err)
	}
	w.expect(1, "waiting", 0)
	if err := c.Detach(t.Context(), k); err != nil {
		t.Error(err)
	}
	if _, err := c.Attach(t.Context(), attachment.Request{Key: k, Port: portID(5), Netns: "/run/netns/a", TimeoutSeconds: 1}); code(err) != api.CodeNotFound {
		t.Errorf("a port of another host: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := c.Ready(t.Context()); code(err) != api.CodeUnavailable {
		t.Errorf("without an agent: %v", err)
	}
}
