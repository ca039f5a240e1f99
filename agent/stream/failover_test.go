// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/stream"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// beat is short, so that a controller that hangs is noticed soon.
const beat = 100 * time.Millisecond

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// cluster is several controllers and one agent.
type cluster struct {
	t     *testing.T
	conf  *tls.Config
	all   []*controller
	kill  map[*controller]func()
	loop  *host.Loop
	ctx   context.Context
	mu    sync.Mutex
	saved []string
}

// newCluster starts n controllers; the agent knows the first few of them.
func newCluster(t *testing.T, n, known int) *cluster {
	conf := identity(t)
	return newClusterAs(t, n, known, conf, still{conf})
}

// newClusterAs is newCluster with controllers of this configuration and an
// agent of this credential.
func newClusterAs(t *testing.T, n, known int, conf *tls.Config, credential stream.Credential) *cluster {
	c := &cluster{t: t, conf: conf, kill: map[*controller]func(){}}
	var addresses []string
	for range n {
		x, kill := listenAt(t, c.conf, "127.0.0.1:0")
		c.all, c.kill[x] = append(c.all, x), kill
		addresses = append(addresses, x.name)
	}
	p := datapath.NewProgrammer(datapath.NewMemoryKernel(nil).Kernel())
	core := host.NewCore(desired.New(), datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1500}, datapath.Local{}, p)
	core.Start()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	c.loop = host.NewLoop(core, func([]byte) error { return nil }, log)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	c.ctx = ctx
	client := stream.New(stream.Options{
		Addresses: addresses[:known], Credential: credential, AgentVersion: "v1", Beat: beat, TendEvery: beat,
		Remember: func(all []string) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.saved = all
			return nil
		},
	}, c.loop, func(context.Context, string) (api.Table, error) { return api.Table{}, nil }, log)
	var work sync.WaitGroup
	work.Go(func() { c.loop.Run(ctx) })
	work.Go(func() { client.Run(ctx) })
	t.Cleanup(func() { cancel(); work.Wait() })
	return c
}

// next returns the stream on which the agent says hello next, and that hello.
func (c *cluster) next() (session, *hoststream.Hello) {
	c.t.Helper()
	streams := make(chan session)
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	for _, x := range c.all {
		go func() {
			select {
			case s := <-x.streams:
				select {
				case streams <- s:
				case <-ctx.Done():
				}
			case <-ctx.Done():
			}
		}()
	}
	select {
	case s := <-streams:
		return s, expect(c.t, s, hello)
	case <-ctx.Done():
		c.t.Fatal("the agent says hello nowhere")
		panic("unreachable")
	}
}

// settle gives the host a row through a stream.
func (c *cluster) settle(s session, revision int64, key string) {
	c.t.Helper()
	send(c.t, s, 1, revision, key)
	expect(c.t, s, acked)
}

// warm waits until the agent reports, on the stream in use, that it holds one
// in reserve to another controller, and returns that.
func (c *cluster) warm(s session, not ...*controller) *controller {
	c.t.Helper()
	name := expect(c.t, s, func(m *hoststream.HostMessage) (string, bool) {
		name := m.GetReport().GetWarmController()
		return name, name != "" && !slices.ContainsFunc(not, func(x *controller) bool { return x.name == name })
	})
	i := slices.IndexFunc(c.all, func(x *controller) bool { return x.name == name })
	if i < 0 || c.all[i] == s.at {
		c.t.Fatalf("in reserve is %q, in use %s", name, s.at.name)
	}
	return c.all[i]
}

// whole checks that a hello says everything the host was given.
func (c *cluster) whole(h *hoststream.Hello, revision int64, keys ...string) {
	c.t.Helper()
	var have []string
	for _, r := range h.Have {
		have = append(have, r.Key)
	}
	if h.Version.Revision != revision || !slices.Equal(have, keys) {
		c.t.Errorf("hello says %v of revision %d, want %v of %d", have, h.Version.Revision, keys, revision)
	}
}

// The controller in use dies: the agent says hello on the stream that it holds
// in reserve, and what it has with it. The one that died comes back and is in
// reserve then.
func TestReserveTakesOver(t *testing.T) {
	c := newCluster(t, 2, 2)
	s, _ := c.next()
	c.settle(s, 7, "vrf/1")
	w := c.warm(s)
	c.kill[s.at]()
	now, h := c.next()
	c.whole(h, 7, "vrf/1")
	if now.at != w || !now.reserved.Load() {
		t.Errorf("hello at %s, on a stream in reserve: %t; want at %s on that", now.at.name, now.reserved.Load(), w.name)
	}
	c.settle(now, 8, "vrf/2")
	back, kill := listenAt(t, c.conf, s.at.name)
	c.all, c.kill[back] = append(slices.DeleteFunc(c.all, func(x *controller) bool { return x == s.at }), back), kill
	if w := c.warm(now); w != back {
		t.Errorf("in reserve is %s", w.name)
	}
	c.kill[now.at]()
	again, h := c.next()
	c.whole(h, 8, "vrf/1", "vrf/2")
	if again.at != back || !again.reserved.Load() {
		t.Error("the one that came back does not take over")
	}
}

// The controller in reserve dies: another one is taken, and the stream in use
// goes on. Then both die, and the last is found.
func TestReserveDies(t *testing.T) {
	c := newCluster(t, 3, 3)
	s, _ := c.next()
	c.settle(s, 7, "vrf/1")
	w := c.warm(s)
	c.kill[w]()
	third := c.warm(s, w)
	send(t, s, 2, 8, "vrf/2")
	expect(t, s, acked)
	c.kill[third]()
	c.kill[s.at]()
	for _, x := range c.all {
		if x == w {
			back, _ := listenAt(t, c.conf, x.name)
			c.all = []*controller{back}
		}
	}
	_, h := c.next()
	c.whole(h, 8, "vrf/1", "vrf/2")
}

// A controller that hangs, its TCP well, is left; one in reserve that hangs is
// not relied on.
func TestControllersThatHang(t *testing.T) {
	c := newCluster(t, 3, 3)
	s, _ := c.next()
	c.settle(s, 7, "vrf/1")
	w := c.warm(s)
	w.hang.Store(true)
	third := c.warm(s, w)
	s.at.hang.Store(true)
	now, h := c.next()
	c.whole(h, 7, "vrf/1")
	if now.at != third {
		t.Errorf("hello at %s, want %s, the only one that answers", now.at.name, third.name)
	}
}

// A controller whose store is older than what the host has is not relied on,
// and one with a newer epoch is gone to.
func TestEpochs(t *testing.T) {
	c := newCluster(t, 2, 2)
	for _, x := range c.all {
		x.version.Store(&hoststream.Version{Epoch: 1, Revision: 900})
	}
	s, _ := c.next()
	c.settle(s, 7, "vrf/1")
	w := c.warm(s)
	w.version.Store(&hoststream.Version{Epoch: 2, Revision: 1})
	now, h := c.next()
	c.whole(h, 7, "vrf/1")
	if now.at != w {
		t.Fatal("the agent stays where the epoch is older")
	}
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 2, Revision: 1}, Sequence: 1, InSync: true}
	if err := now.Send(&hoststream.ControllerMessage{Body: &hoststream.ControllerMessage_Delta{Delta: d}}); err != nil {
		t.Fatal(err)
	}
	expect(t, now, acked)
	// The other one, of the older epoch, is dropped as reserve: the report says so.
	expect(t, now, func(m *hoststream.HostMessage) (bool, bool) {
		r := m.GetReport()
		return true, r != nil && r.WarmController == ""
	})
}

// A controller that is behind the host has a while to catch up; then another
// one that has is gone to.
func TestControllerBehind(t *testing.T) {
	c := newCluster(t, 2, 2)
	s, _ := c.next()
	c.settle(s, 7, "vrf/1")
	w := c.warm(s)
	w.version.Store(&hoststream.Version{Epoch: 1, Revision: 3})
	address := s.at.name
	c.kill[s.at]()
	behind, _ := c.next() // says nothing
	back, _ := listenAt(t, c.conf, address)
	c.all = []*controller{back, w}
	now, h := c.next()
	c.whole(h, 7, "vrf/1")
	if behind.at != w || now.at != back {
		t.Errorf("first at %s, then at %s", behind.at.name, now.at.name)
	}
}

// Controllers tell of others; those are remembered, and relied on.
func TestControllersAreLearned(t *testing.T) {
	c := newCluster(t, 2, 1)
	s, _ := c.next()
	c.settle(s, 7, "vrf/1")
	list := []*hoststream.Controller{{Name: "a", Streams: []string{c.all[0].name}}, {Name: "b", Streams: []string{c.all[1].name}}}
	c.all[0].list.Store(&list)
	if w := c.warm(s); w != c.all[1] {
		t.Errorf("in reserve is %s", w.name)
	}
	c.mu.Lock()
	saved := slices.Clone(c.saved)
	c.mu.Unlock()
	if !slices.Equal(saved, []string{c.all[0].name, c.all[1].name}) {
		t.Errorf("remembered: %v", saved)
	}
}
