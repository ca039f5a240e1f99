// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

var (
	h1    = world.UUID(api.KindHost, "h1")
	start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
)

// system is a world with hosts at work on it.
type system struct {
	t *testing.T
	*world.World
	hosts map[string]stream.HostState
	grace bool
	usage bool
	now   time.Time
}

func newSystem(t *testing.T, text string) *system {
	return &system{t, world.New(text), map[string]stream.HostState{}, false, false, start}
}

func (s *system) changes() []status.Change {
	return status.Changes(status.Input{
		Snapshot: s.Snapshot(), Plan: placement.New(1, routing.Derive(s), nil), Hosts: s.hosts, ClaimAll: s.grace, Usage: s.usage, Now: s.now,
	})
}

// round computes the statuses, stores them as the store does, and prints those
// that were written. A second round must find nothing to write.
func (s *system) round() string {
	s.t.Helper()
	s.now = s.now.Add(time.Second)
	var lines []string
	for _, c := range s.changes() {
		o := s.Get(c.Kind, c.UUID)
		data, err := json.Marshal(c.Status)
		if err != nil {
			s.t.Fatal(err)
		}
		body, said := reflect.ValueOf(o.StatusBody()).Elem(), words(o.StatusBody())
		body.SetZero()
		if err := json.Unmarshal(data, o.StatusBody()); err != nil {
			s.t.Fatal(err)
		}
		if of, now := reflect.TypeOf(c.Status), words(c.Status); of == reflect.TypeFor[*api.Reported]() && now == said {
			continue // only whether it serves, which TestServing is about
		}
		name := strings.TrimPrefix(o.Head().Meta.FQName, "d:p:")
		lines = append(lines, fmt.Sprintf("%s %s: %s", c.Kind, name, words(c.Status)))
	}
	s.now = s.now.Add(time.Second)
	if again := s.changes(); len(again) > 0 {
		s.t.Errorf("a second round writes again: %v", again)
	}
	return strings.Join(lines, "\n")
}

func words(body any) string {
	var conditions []api.Condition
	switch b := body.(type) {
	case *api.HostStatus:
		return fmt.Sprintf("connected %t, %s on %s, %d ports", b.Connected, b.AgentVersion, b.Kernel, b.Ports)
	case *api.PortStatus:
		text := fmt.Sprintf("%s %s %s", b.State, b.Host, b.Message)
		for _, c := range b.HealthChecks {
			text += fmt.Sprintf(", %s %t %s %s", api.BaseName(c.Check.Name), c.Online, c.Reason, c.Message)
		}
		if b.Withdrawn {
			text += ", withdrawn"
		}
		return strings.TrimSpace(text)
	case *api.SubnetStatus:
		return fmt.Sprintf("%d assignable, %d used, %d reserved, %d resting, %d free", b.Assignable, b.Used, b.Reserved, b.Resting, b.Free)
	case *api.NetworkStatus:
		conditions = append([]api.Condition{{Type: "mtu", Status: true, Reason: fmt.Sprint(b.MTU), Message: b.MTUReason}}, b.Conditions...)
	case *api.BindingStatus:
		conditions = b.Conditions
	case *api.Reported:
		conditions = slices.DeleteFunc(slices.Clone(b.Conditions), func(c api.Condition) bool { return c.Type == status.Serving })
	case *api.NetworkPolicyAttachmentStatus:
		conditions = b.Conditions
	}
	var out []string
	for _, c := range conditions {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %t %s %s", c.Type, c.Status, c.Reason, c.Message)))
	}
	return strings.Join(out, ", ")
}

func (s *system) want(when, text string) {
	s.t.Helper()
	if got := s.round(); got != text {
		s.t.Errorf("%s writes\n%s\nwant\n%s", when, got, text)
	}
}

func (s *system) host(name string, change func(h *stream.HostState)) {
	id := world.UUID(api.KindHost, name)
	h := s.hosts[id]
	h.Host = world.Ref(api.KindHost, name)
	change(&h)
	s.hosts[id] = h
}

func connect(h *stream.HostState) {
	h.Connected, h.InSync, h.AgentVersion, h.Kernel = true, true, "v1", "6.1"
}

func report(port, state, message string) func(h *stream.HostState) {
	return func(h *stream.HostState) {
		h.Report = &hoststream.Report{Features: []string{balance.Feature}}
		if port != "" {
			h.Report.Ports = []*hoststream.PortReport{{Port: world.UUID(api.KindPort, port), State: state, Message: message}}
		}
	}
}

func settled(revision int64) func(h *stream.HostState) {
	return func(h *stream.HostState) { h.Settled = placement.Version{Epoch: 1, Revision: revision} }
}

// The life of a port, from its creation to its move to another host.
func TestPortStatus(t *testing.T) {
	s := newSystem(t, "host h1 192.0.2.1\nhost h2 192.0.2.2\nnetwork n 1\nport n a")
	s.want("an unbound port", "port a: unbound")
	s.Do("bind a h1")
	s.want("binding it", "port a: waiting h1\nbinding a:h1: Programmed false host-away host h1 is not connected")
	s.host("h1", connect)
	s.want("the host connecting", "host h1: connected true, v1 on 6.1, 0 ports\nbinding a:h1: Programmed false pending")
	s.host("h1", settled(5))
	s.want("the host acknowledging", "binding a:h1: Programmed true acknowledged")
	s.host("h1", report("a", "waiting", ""))
	s.want("a report of nothing new", "")
	s.host("h1", report("a", "up", ""))
	s.want("the workload being plugged", "host h1: connected true, v1 on 6.1, 1 ports\nport a: up h1")
	s.host("h1", func(h *stream.HostState) {
		h.RowErrors = map[string]string{"port/" + world.UUID(api.KindPort, "a"): "map full"}
	})
	s.want("a row error", "binding a:h1: Programmed false row-error map full")
	s.host("h1", func(h *stream.HostState) { h.RowErrors = nil })
	s.want("the error going", "binding a:h1: Programmed true acknowledged")
	s.host("h1", func(h *stream.HostState) { h.Connected = false })
	s.want("the agent going away", "host h1: connected false, v1 on 6.1, 1 ports")
	delete(s.hosts, h1)
	s.want("the controller starting again", "")
	s.host("h1", connect)
	s.host("h1", func(h *stream.HostState) { h.InSync = false })
	s.want("the agent coming back, without a report yet", "host h1: connected true, v1 on 6.1, 1 ports")
	s.host("h1", connect)
	s.host("h1", report("a", "failed", strings.Repeat("x", 2000)))
	if got := s.round(); !strings.HasPrefix(got, "host h1: connected true, v1 on 6.1, 0 ports\nport a: failed h1 xxx") || len(got) > 1200 {
		t.Errorf("a failure writes %d bytes: %s", len(got), got)
	}
	s.host("h1", report("a", "strange", ""))
	s.want("an unknown state", "port a: failed h1 the host reports the unknown state strange")
	s.host("h1", report("", "", ""))
	s.want("the host no longer reporting the port", "port a: waiting h1")
	s.host("h1", report("a", "up", ""))
	s.round()
	s.Do("standby a h1\nbind a h2")
	s.want("the port moving", "port a: waiting h2\nbinding a:h1: Programmed false inactive\nbinding a:h2: Programmed false host-away host h2 is not connected")
	s.Do("remove binding a:h2")
	s.want("the binding going", "port a: unbound")
}

// Hosts that never connected here are let be until they had time to.
func TestHostsHaveTimeToConnect(t *testing.T) {
	s := newSystem(t, "host h1 192.0.2.1")
	s.host("h1", connect)
	s.round()
	delete(s.hosts, h1)
	s.want("a start", "")
	s.grace = true
	s.want("after a while", "host h1: connected false, v1 on 6.1, 0 ports")
}

func TestAttachmentStatus(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1
host h2 192.0.2.2
network n 1
network m 2
port n a
port m b
address n 10.0.0.5 a
address m 10.1.0.5 b
policy p n m`)
	s.round()
	s.Do("attach p n")
	s.want("one attachment", "network-policy-attachment p-n: Programmed false nothing-to-join no rule of d:p:p joins the network with another attached one")
	s.Do("attach p m")
	s.want("the other one", "network-policy-attachment p-m: Programmed false no-host\nnetwork-policy-attachment p-n: Programmed false no-host")
	s.Do("bind a h1\nbind b h2") // up to revision 13
	s.host("h1", connect)
	s.host("h2", connect)
	if got := s.round(); !strings.Contains(got, "p-m: Programmed false pending\nnetwork-policy-attachment p-n: Programmed false pending") {
		t.Errorf("hosts that have not acknowledged: %s", got)
	}
	s.host("h1", settled(13))
	s.want("the first acknowledgement", "binding a:h1: Programmed true acknowledged\nnetwork-policy-attachment p-n: Programmed true acknowledged")
	s.host("h2", settled(13))
	s.want("the second", "binding b:h2: Programmed true acknowledged\nnetwork-policy-attachment p-m: Programmed true acknowledged")
	s.Do("port n c\naddress n 10.0.0.6 c")
	s.want("another port in the network", "port c: unbound")
	s.host("h1", func(h *stream.HostState) { h.Connected = false })
	s.want("its host going away", "host h1: connected false, v1 on 6.1, 0 ports")
	s.host("h2", func(h *stream.HostState) { h.RowErrors = map[string]string{"route/2/10.0.0.5/32": "map full"} })
	s.want("a row error", "network-policy-attachment p-m: Programmed false row-error host h2: route/2/10.0.0.5/32: map full")
	s.Do("remove network-policy p")
	s.want("the policy missing", "network-policy-attachment p-m: Programmed false missing-referent\nnetwork-policy-attachment p-n: Programmed false missing-referent")
}

// A rule for any network does not join a network with itself.
func TestOneNetworkIsNotJoined(t *testing.T) {
	s := newSystem(t, "network n 1\npolicy p any any\nattach p n")
	s.want("a lone attachment", "network-policy-attachment p-n: Programmed false nothing-to-join no rule of d:p:p joins the network with another attached one")
}

// The time since when is that of the transition, not of the last round.
func TestTransitionsCarryTheirTime(t *testing.T) {
	s := newSystem(t, "host h1 192.0.2.1\nnetwork n 1\nport n a\nbind a h1")
	s.round()
	at := s.now.Add(-time.Second)
	s.round()
	b := s.Get(api.KindBinding, world.UUID(api.KindBinding, "a:h1")).(*api.Binding)
	if got := b.Status.Conditions[0].Since; !got.Equal(at) {
		t.Errorf("since %v, want %v", got, at)
	}
}

// memory is a store of statuses that can fail.
type memory struct {
	err error

	mu   sync.Mutex // guards puts
	puts []string
}

func (m *memory) PutStatus(_ context.Context, kind api.Kind, uuid string, body any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts = append(m.puts, fmt.Sprintf("%s %s", kind, uuid))
	return m.err
}

// The writer writes once what snapshots do not show yet, again when they still
// do not after a while, and gives up a round when the store does not answer.
func TestWriter(t *testing.T) {
	m := &memory{}
	w := status.NewWriter(m)
	change := func(uuid string, state api.PortState) status.Change {
		return status.Change{Kind: api.KindPort, UUID: uuid, Status: &api.PortStatus{State: state}}
	}
	write := func(now time.Time, c ...status.Change) (error, []string) {
		m.puts = nil
		return w.Write(t.Context(), c, now), m.puts
	}
	for _, step := range []struct {
		name  string
		after time.Duration
		state api.PortState
		want  []string
	}{
		{"first", 0, api.PortUp, []string{"port a"}},
		{"the same", 1 * time.Second, api.PortUp, nil},
		{"another", 2 * time.Second, api.PortFailed, []string{"port a"}},
		{"still not shown", 7 * time.Second, api.PortFailed, []string{"port a"}},
	} {
		if err, puts := write(start.Add(step.after), change("a", step.state)); err != nil || !slices.Equal(puts, step.want) {
			t.Errorf("%s: wrote %v, %v, want %v", step.name, puts, err, step.want)
		}
	}
	// Only the time since when differs: that is no news.
	since := func(at time.Time) []status.Change {
		return []status.Change{
			{Kind: api.KindBinding, UUID: "b", Status: &api.BindingStatus{Conditions: []api.Condition{{Type: "X", Since: at}}}},
			{Kind: api.KindPort, UUID: "p", Status: &api.PortStatus{HealthChecks: []api.CheckedPort{{Reason: "failed", Since: at}}}},
		}
	}
	write(start, since(start)...)
	if _, puts := write(start, since(start.Add(time.Second))...); puts != nil {
		t.Errorf("a later time alone wrote %v", puts)
	}
	m.err = errors.New("no leader")
	var many []status.Change
	for i := range 100 {
		many = append(many, change(fmt.Sprint(i), "up"))
	}
	if err, puts := write(start, many...); err == nil || len(puts) < 3 || len(puts) > 20 { // some were on their way
		t.Errorf("a store that fails: %d writes, %v", len(puts), err)
	}
	m.err = api.Errorf(api.CodeNotFound, "gone")
	if err, _ := write(start, change("5", "up")); err != nil {
		t.Errorf("an object deleted meanwhile: %v", err)
	}
}

// The life of a sub-port: it waits for its trunk's port, works, and says why not.
func TestTrunkStatus(t *testing.T) {
	s := newSystem(t, "host h1 192.0.2.1\nhost h2 192.0.2.2\nnetwork n 1\nnetwork m 2\nport n a\nport m b\ntrunk t a\ncarry t b 5")
	s.want("a trunk whose port is nowhere", "port a: unbound\nport b: unbound\n"+
		"sub-port t:b: Programmed false no-host port d:p:a, which carries it, has no active binding\ntrunk t: Programmed false pending 0 of 1 sub-ports are at work")
	s.host("h1", connect)
	s.Do("bind a h1")
	s.want("binding its port", "host h1: connected true, v1 on 6.1, 0 ports\nport a: waiting h1\nport b: waiting h1\nbinding a:h1: Programmed false pending\nsub-port t:b: Programmed false pending")
	s.host("h1", report("b", "up", ""))
	s.want("the sub-port being up", "host h1: connected true, v1 on 6.1, 1 ports\nport b: up h1\nsub-port t:b: Programmed true acknowledged\ntrunk t: Programmed true acknowledged")
	s.Do("bind b h2")
	s.want("a binding elsewhere", "port b: unbound\nbinding b:h2: Programmed false inactive\n"+
		"sub-port t:b: Programmed false other-host it has a binding of its own that is not to host h1, where port d:p:a is, which carries it: change or delete that\n"+
		"trunk t: Programmed false pending 0 of 1 sub-ports are at work")
	s.Do("remove binding b:h2")
	s.Do("trunk t a down")
	s.want("the trunk going down", "sub-port t:b: Programmed false trunk-down\ntrunk t: Programmed false trunk-down")
	s.Do("trunk t a")
	s.want("the trunk coming up", "port b: up h1\nsub-port t:b: Programmed true acknowledged\ntrunk t: Programmed true acknowledged")
}
