// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// links is the kernel's interfaces in memory, and where hooks are attached.
type links struct {
	mu     sync.Mutex
	next   int
	ports  map[string]link.Found
	places map[string]link.Place
	half   map[string]bool // half-made interfaces by name
	hooks  map[int]bool
	fail   error
	refuse error
	// followed are the calls of Follow: end of the port's UUID, MTU before and after.
	followed []string
}

func newLinks() *links {
	return &links{next: 10, ports: map[string]link.Found{}, places: map[string]link.Place{}, half: map[string]bool{}, hooks: map[int]bool{}}
}

func (l *links) Ensure(port string, place link.Place, _ link.Settings) (link.Found, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return link.Found{}, l.fail
	}
	if _, there := l.ports[port]; !there || l.places[port] != place {
		l.next++
		l.ports[port] = link.Found{Ifindex: l.next, Name: link.HostName(port)}
		l.places[port] = place
	}
	l.hooks[l.ports[port].Ifindex] = true
	return l.ports[port], nil
}

func (l *links) Follow(port string, _ link.Place, was, now link.Settings) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followed = append(l.followed, fmt.Sprint(port[len(port)-1:], was.MTU, now.MTU))
	return l.fail
}

func (l *links) Inspect(port string, place link.Place, _ link.Settings) (i link.Inspection, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i.Ifindex = l.ports[port].Ifindex
	if l.places[port] != place {
		i.Problems = append(i.Problems, "it is elsewhere")
	}
	return i, nil
}

func (l *links) Usable(link.Place) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refuse
}

func (l *links) Find(port string, _ link.Place) (link.Found, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := l.ports[port]; ok {
		return f, l.fail
	}
	return link.Found{}, link.ErrGone
}

func (l *links) Release(port string, _ link.Place) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.hooks, l.ports[port].Ifindex)
	delete(l.ports, port)
	return l.fail
}

func (l *links) Owned() (map[string]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	owned := map[string]string{}
	for port, f := range l.ports {
		if l.places[port].Interface == "" {
			owned[f.Name] = port
		}
	}
	for name := range l.half {
		owned[name] = ""
	}
	return owned, nil
}

func (l *links) RemoveOwned(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.half, name)
	for port, f := range l.ports {
		if f.Name == name {
			delete(l.ports, port)
		}
	}
	return nil
}

func (l *links) Attached() (all []int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.hooks {
		all = append(all, i)
	}
	return all, nil
}

func (l *links) Detach(i int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.hooks, i)
	return nil
}

func portID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// world is an agent without a kernel.
type world struct {
	*plug.Plugger
	t      *testing.T
	loop   *host.Loop
	kernel *datapath.MemoryKernel
	links  *links
	dir    string
	stop   func()
}

// start begins an agent over what an earlier one left.
func start(t *testing.T, l *links, kernel *datapath.MemoryKernel, dir string, rows ...int) *world {
	t.Helper()
	p := datapath.NewProgrammer(kernel.Kernel())
	records, err := plug.OpenRecords(dir)
	if err = errors.Join(err, p.Load(t.Context())); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	loop := host.NewLoop(host.NewCore(desired.New(), datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1500}, datapath.Local{}, p), func([]byte) error { return nil }, log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); loop.Run(ctx) }()
	w := &world{plug.New(loop, l, l, records, []int{1}, log), t, loop, kernel, l, dir, func() { cancel(); <-ended }}
	t.Cleanup(w.stop)
	taken, err := records.Taken()
	if err != nil {
		t.Fatal(err)
	}
	err = loop.Do(t.Context(), func(c *host.Core) { c.RestoreTaken(taken); c.SetConnected(true) })
	if err := errors.Join(err, w.Restore(t.Context(), time.Unix(0, 0)), loop.Do(t.Context(), (*host.Core).Start)); err != nil {
		t.Fatal(err)
	}
	if rows != nil {
		w.deliver(1, rows...)
	}
	return w
}

// deliver gives the agent these ports as its full desired rows.
func (w *world) deliver(revision int64, ports ...int) {
	w.t.Helper()
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: revision}, Sequence: uint64(revision), InSync: true}
	for n := range 10 {
		key := desired.PortRow(portID(n))
		if !slices.Contains(ports, n) {
			d.Delete = append(d.Delete, key)
			continue
		}
		body, _ := proto.Marshal(&hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{
			Port: portID(n), PortName: fmt.Sprint("d:p:", n), Vrf: 1, Mac: []byte{2, 0, 0, 0, 0, byte(n)},
			Addresses: []*hoststream.PortAddress{{Ip: []byte{10, 0, 0, byte(n)}, PrefixLength: 24, Gateway: []byte{10, 0, 0, 1}}},
		}}})
		d.Put = append(d.Put, &hoststream.EncodedRow{Key: key, Body: body})
	}
	if _, err := w.loop.Apply(w.t.Context(), d); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) state(n int) string {
	w.t.Helper()
	list, err := w.List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.Port == portID(n) {
			return p.State
		}
	}
	return "not listed"
}

func (w *world) expect(n int, want string, rows int) {
	w.t.Helper()
	if got := w.state(n); got != want {
		w.t.Errorf("port %d is %s, want %s", n, got, want)
	}
	have := 0
	// The kernel's tables belong to the loop.
	if err := w.loop.Do(w.t.Context(), func(*host.Core) { have = len(w.kernel.Ports.Rows) }); err != nil {
		w.t.Fatal(err)
	}
	if have != rows {
		w.t.Errorf("%d ports in the kernel, want %d", have, rows)
	}
}

func inNetns(name string) link.Place { return link.Place{Netns: "/run/netns/" + name} }

func TestPlugUnplugRestart(t *testing.T) {
	l, kernel, dir := newLinks(), datapath.NewMemoryKernel(nil), t.TempDir()
	w := start(t, l, kernel, dir, 1, 2)
	w.expect(1, "waiting", 0)
	for range 2 {
		a, err := w.Plug(t.Context(), plug.Request{Port: "d:p:1", Place: inNetns("a")})
		want := plug.Answer{Port: portID(1), Name: "d:p:1", Interface: link.HostName(portID(1)), Ifname: "eth0", MAC: "02:00:00:00:00:01",
			Addresses: []string{"10.0.0.1/24"}, Gateways: []string{"10.0.0.1"}, MTU: 1450, VRF: 1}
		if err != nil || fmt.Sprint(a) != fmt.Sprint(want) {
			t.Errorf("answer %+v %v, want %+v", a, err, want)
		}
	}
	w.expect(1, "up", 1)
	if len(l.ports) != 1 {
		t.Errorf("plugging twice made %d interfaces", len(l.ports))
	}
	if _, err := w.Plug(t.Context(), plug.Request{Port: portID(1), Place: inNetns("b")}); err != nil { // the workload moved
		t.Fatal(err)
	}
	w.expect(1, "up", 1)
	w.stop()

	w = start(t, l, kernel, dir, 1, 2)
	w.expect(1, "up", 1)
	w.deliver(2, 2) // the binding goes
	w.expect(1, "unbound", 0)
	if len(l.ports) != 1 {
		t.Error("the interface went with the binding")
	}
	for range 2 {
		if err := w.Unplug(t.Context(), portID(1)); err != nil {
			t.Fatal(err)
		}
	}
	if files, _ := os.ReadDir(dir); len(l.ports)+len(l.hooks)+len(files) != 0 {
		t.Errorf("left after unplug: %v %v %v", l.ports, l.hooks, files)
	}
}

// A port that was deleted and made again while it was plugged has left a plug
// of the same name: unplugging the name ends both.
func TestUnplugByNameEndsAllOfIt(t *testing.T) {
	l, dir := newLinks(), t.TempDir()
	records, err := plug.OpenRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 9} {
		if err := records.Save(plug.Record{Port: portID(n), Name: "d:p:1", Place: inNetns(fmt.Sprint(n))}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Ensure(portID(n), inNetns(fmt.Sprint(n)), link.Settings{}); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, l, datapath.NewMemoryKernel(nil), dir, 1)
	if err := w.Unplug(t.Context(), "d:p:1"); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(dir); len(l.ports)+len(l.hooks)+len(files) != 0 {
		t.Errorf("left after unplug: %v %v %v", l.ports, l.hooks, files)
	}
}

// An interface that must not become a port's leaves no record, by which it
// would be taken down later, and does not end the plug that works.
func TestPlugRefusesInterface(t *testing.T) {
	dir := t.TempDir()
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), dir, 1, 2)
	if _, err := w.Plug(t.Context(), plug.Request{Port: portID(1), Place: inNetns("a")}); err != nil {
		t.Fatal(err)
	}
	w.links.refuse = errors.New("it is the loopback interface")
	for _, n := range []int{1, 2} {
		_, err := w.Plug(t.Context(), plug.Request{Port: portID(n), Place: link.Place{Interface: "lo"}})
		if err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("plugged port %d into the loopback interface: %v", n, err)
		}
	}
	w.expect(1, "up", 1)
	w.expect(2, "waiting", 1)
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("records: %v, want one", files)
	}
}

func TestPlugRefuses(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 1, 2)
	if _, err := w.Plug(t.Context(), plug.Request{Port: portID(2), Place: link.Place{Interface: "tap0"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		request plug.Request
		code    api.Code
		words   string
	}{
		{plug.Request{Place: inNetns("a")}, api.CodeInvalid, "port is required"},
		{plug.Request{Port: portID(1)}, api.CodeInvalid, "either a network namespace or an existing interface"},
		{plug.Request{Port: portID(1), Place: link.Place{Netns: "/n", Interface: "tap0"}}, api.CodeInvalid, "either"},
		{plug.Request{Port: portID(1), Place: link.Place{Netns: "/n", Ifname: "a-much-too-long-name"}}, api.CodeInvalid, "15 bytes"},
		{plug.Request{Port: portID(1), Place: link.Place{Netns: "/n", Ifname: "a/b"}}, api.CodeInvalid, `"a/b" cannot be the name`},
		{plug.Request{Port: portID(1), Place: link.Place{Netns: "n"}}, api.CodeInvalid, "/run/netns/n"},
		{plug.Request{Port: portID(1), Place: inNetns("a"), WaitSeconds: -5}, api.CodeInvalid, "0 to 300 seconds, not for -5"},
		{plug.Request{Port: portID(1), Place: inNetns("a"), WaitSeconds: 301}, api.CodeInvalid, "not for 301"},
		{plug.Request{Port: "d:p:9", Place: inNetns("a"), TimeoutSeconds: 1}, api.CodeNotFound, "not bound to this host"},
		{plug.Request{Port: portID(1), Place: link.Place{Interface: "tap0"}}, api.CodeConflict, portID(2)},
	} {
		_, err := w.Plug(t.Context(), c.request)
		var e *api.Error
		if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%+v: %v, want %s with %q", c.request, err, c.code, c.words)
		}
	}
	w.links.fail = errors.New("out of interfaces")
	if _, err := w.Plug(t.Context(), plug.Request{Port: portID(1), Place: inNetns("a")}); err == nil {
		t.Error("plug without interface succeeded")
	}
	w.expect(1, string(api.PortFailed), 1)
	w.links.fail = nil
	if err := w.Unplug(t.Context(), portID(1)); err != nil {
		t.Error(err)
	}
	w.expect(1, "waiting", 1)
}

// A port that is bound while plug waits is plugged.
func TestPlugWaitsForTheBinding(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 2)
	result := make(chan error)
	go func() {
		_, err := w.Plug(t.Context(), plug.Request{Port: portID(1), Place: inNetns("a")})
		result <- err
	}()
	w.deliver(2, 1, 2)
	if err := <-result; err != nil {
		t.Error(err)
	}
	w.expect(1, "up", 1)
}

// An interface that vanishes makes its port fail, and after a while wait for a new plug.
func TestInterfaceGone(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 1)
	if _, err := w.Plug(t.Context(), plug.Request{Port: portID(1), Place: inNetns("a")}); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	refresh := func() { _ = w.Refresh(t.Context(), now) } // what is not well is the state looked at next
	w.links.mu.Lock()
	w.links.fail = errors.New("cannot look")
	w.links.mu.Unlock()
	refresh()
	w.expect(1, "up", 1)
	w.links.mu.Lock()
	w.links.fail = nil
	clear(w.links.ports)
	w.links.mu.Unlock()
	refresh()
	w.expect(1, "failed", 0)
	if len(w.links.hooks) != 0 {
		t.Errorf("hooks of an interface that is gone: %v", w.links.hooks)
	}
	now = now.Add(plug.GoneKeep)
	refresh()
	w.expect(1, "waiting", 0)
}

// With the state directory lost, interfaces are found by their mark: those of
// ports bound here go on, others are swept, but only after the first full sync.
func TestSweep(t *testing.T) {
	l, kernel, dir := newLinks(), datapath.NewMemoryKernel(nil), t.TempDir()
	w := start(t, l, kernel, dir, 1, 2)
	for n := 1; n <= 2; n++ {
		if _, err := w.Plug(t.Context(), plug.Request{Port: portID(n), Place: inNetns(fmt.Sprint(n))}); err != nil {
			t.Fatal(err)
		}
	}
	w.stop()
	l.half["wfhalf"], l.hooks[77], l.hooks[1] = true, true, true // 1 is the tunnel's
	w = start(t, l, kernel, filepath.Join(dir, "lost"))
	if done, err := w.Sweep(t.Context()); done || err != nil || len(l.ports) != 2 || len(l.half) != 1 || len(l.hooks) != 4 {
		t.Errorf("swept before the first full sync: %v %v %v %v", done, err, l.ports, l.hooks)
	}
	w.deliver(1, 1)
	if done, err := w.Sweep(t.Context()); !done || err != nil {
		t.Errorf("sweep: %v %v", done, err)
	}
	w.expect(1, "up", 1)
	if len(l.ports) != 1 || len(l.half) != 0 || len(l.hooks) != 2 || l.hooks[77] {
		t.Errorf("after the sweep: interfaces %v, half made %v, hooks %v", l.ports, l.half, l.hooks)
	}
}

// The socket speaks the same words and keeps others out.
func TestSocket(t *testing.T) {
	w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 1)
	run := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- w.Serve(ctx, run, func() { close(ready) }) }()
	<-ready
	info, err := os.Stat(filepath.Join(run, plug.SocketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info.Mode(), err)
	}
	c := plug.NewClient(run)
	if a, err := c.Plug(t.Context(), plug.Request{Port: "d:p:1", Place: inNetns("a")}); err != nil || a.Port != portID(1) {
		t.Errorf("plug: %+v %v", a, err)
	}
	var e *api.Error
	if _, err := c.Plug(t.Context(), plug.Request{Port: "d:p:5", Place: inNetns("a"), TimeoutSeconds: 1}); !errors.As(err, &e) || e.Code != api.CodeNotFound {
		t.Errorf("plug of an unknown port: %v", err)
	}
	if l, err := c.Ports(t.Context()); err != nil || len(l.Items) != 1 || l.Items[0].State != "up" || l.Items[0].Netns != "/run/netns/a" {
		t.Errorf("ports: %+v %v", l, err)
	}
	if err := c.Unplug(t.Context(), "d:p:1"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serve: %v", err)
	}
}
