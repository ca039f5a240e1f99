// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

const (
	// goal is within what new connections are to be served again after a member was
	// lost; tests bear ten times as much, for what else the machine does.
	goal  = time.Second
	borne = 10 * goal
	// missed is within what a host that died is missed: not the goal's yet.
	missed = 10 * time.Second
	// short is how long a request may take while somebody is away.
	short = 500 * time.Millisecond
)

// member writes how a member of a pool of red's is to be.
func (s *system) member(t *testing.T, pool, name string, weight int, state, admin string) {
	t.Helper()
	s.apply(t, fmt.Sprintf("kind: member\nmeta: {name: %s, parent: \"red:shop:web:%s\"}\nspec: {port: \"red:shop:%s\", targetPort: 8080, weight: %d, state: %s, adminState: %s}\n", name, pool, name, weight, state, admin))
}

// spread is who answers so many new connections.
func (s *system) spread(t *testing.T, from Workload, at netip.AddrPort, times int) map[string]int {
	t.Helper()
	c, met := browser(s.namespace(from), false, patience), map[string]int{}
	for range times {
		a, err := get(c, at)
		if err != nil {
			t.Fatalf("%s calls %v: %v", from.Short(), at, err)
		}
		met[a.who]++
	}
	return met
}

// avoided waits until a member gets no new connections from any client.
func (s *system) avoided(t *testing.T, at netip.AddrPort, who string) {
	t.Helper()
	eventually(t, func() error {
		for _, c := range clients() {
			if met := s.spread(t, c, at, 20); met[who] > 0 {
				return fmt.Errorf("%s goes on being served by %s: %v", c.Short(), who, met)
			}
		}
		return nil
	})
}

// chosen waits until each of red's members gets new connections.
func (s *system) chosen(t *testing.T, at netip.AddrPort) {
	t.Helper()
	eventually(t, func() error {
		for _, c := range clients() {
			if met := s.spread(t, c, at, 30); len(met) != 3 {
				return fmt.Errorf("%s is served by %v", c.Short(), met)
			}
		}
		return nil
	})
}

// weighed: members get connections by their weights, and of weight 0 none.
func (s *system) weighed(t *testing.T) {
	s.member(t, "tcp-80", "m1", 4, "active", "up")
	s.member(t, "tcp-80", "m3", 0, "active", "up")
	for _, f := range Families {
		at := netip.AddrPortFrom(f.Virtual, 80)
		s.avoided(t, at, "red-m3")
		for _, c := range []Workload{Find("red", "c1"), Find("red", "m2")} {
			const times = 500
			met := s.spread(t, c, at, times)
			t.Logf("%s over %s: %v", c.Short(), f.Name, met)
			if share := float64(met["red-m1"]) / times; share < 0.7 || share > 0.9 || met["red-m3"] != 0 {
				t.Errorf("%s: of weights 4, 1 and 0 came %v", c.Short(), met)
			}
		}
	}
	s.member(t, "tcp-80", "m1", 1, "active", "up")
	s.member(t, "tcp-80", "m3", 1, "active", "up")
}

// stays: a client is remembered, and keeps its member though others weigh more since.
func (s *system) stays(t *testing.T) {
	s.apply(t, "kind: pool\nmeta: {name: tcp-8000, parent: \"red:shop:web\"}\nspec: {protocol: TCP, affinity: {by: source-address, seconds: 60}}\n")
	type end struct {
		client Workload
		at     netip.AddrPort
	}
	has := map[end]string{}
	for _, f := range Families {
		for _, c := range clients() {
			e := end{c, netip.AddrPortFrom(f.Virtual, 8000)}
			eventually(t, func() error {
				met := s.spread(t, c, e.at, 20)
				for has[e] = range met {
				}
				if len(met) != 1 {
					return fmt.Errorf("%s is served by %v and not by one", c.Short(), met)
				}
				return nil
			})
		}
	}
	taken := map[string]int{}
	for _, who := range has {
		taken[who]++
	}
	s.member(t, "tcp-8000", "m1", 250, "active", "up")
	for e, who := range has {
		for range 3 {
			if met := s.spread(t, e.client, e.at, 10); len(met) != 1 || met[who] == 0 {
				t.Errorf("%s had %s at %v, and is served by %v", e.client.Short(), who, e.at, met)
			}
		}
	}
	t.Logf("members of remembered clients: %v", taken)
}

// drained: a member keeps its conversations and gets no new ones; switched off it
// loses them.
func (s *system) drained(t *testing.T) {
	const conversations = 20
	for _, f := range Families {
		at := netip.AddrPortFrom(f.Virtual, 80)
		s.chosen(t, at)
		kept := map[*http.Client]answer{}
		lost := 0
		for i := range conversations {
			c := browser(s.namespace(clients()[i%len(clients())]), true, patience)
			a, err := get(c, at)
			if err != nil {
				t.Fatal(err)
			}
			if kept[c] = a; a.who == "red-m2" {
				lost++
			}
		}
		if lost == 0 {
			t.Fatalf("%s: none of %d conversations is with m2", f.Name, conversations)
		}
		goesOn := func(what string) {
			t.Helper()
			s.avoided(t, at, "red-m2")
			for c, was := range kept {
				if a, err := get(c, at); err != nil || a != was {
					t.Errorf("%s, %s: a conversation with %v goes on with %v: %v", f.Name, what, was, a, err)
				}
			}
		}
		s.member(t, "tcp-80", "m2", 1, "draining", "up")
		goesOn("draining")
		s.member(t, "tcp-80", "m2", 0, "active", "up")
		goesOn("weight 0")
		s.member(t, "tcp-80", "m2", 1, "active", "down")
		s.avoided(t, at, "red-m2")
		for c, was := range kept {
			a, err := get(c, at) // the client begins another one, if it may
			if gone := was.who == "red-m2"; err == nil && gone == (a == was) || err != nil && !gone {
				t.Errorf("%s, switched off: a conversation with %v goes on with %v: %v", f.Name, was, a, err)
			}
			c.CloseIdleConnections()
		}
		s.member(t, "tcp-80", "m2", 1, "active", "up")
	}
}

const monitor = `kind: health-monitor
meta: {name: alive, parent: "red:shop:web:tcp-80"}
spec: {probe: {type: tcp, intervalMilliseconds: 200, timeoutMilliseconds: 200, rise: 2, fall: 2}}
`

// monitored: a member that does not answer its monitor gets no new connections, and
// gets them again when it answers.
func (s *system) monitored(t *testing.T) {
	s.apply(t, monitor)
	s.online(t, 3)
	m := Find("red", "m2")
	for _, f := range Families {
		at := netip.AddrPortFrom(f.Virtual, 80)
		s.chosen(t, at)
		l := put(s.namespace(Find("red", "c1")), at, 2, false, short)
		time.Sleep(short)
		s.servers[m.Short()].close()
		closed := time.Now()
		s.online(t, 2)
		time.Sleep(2 * short)
		served, failures := l.end()
		took := recovered(failures, closed)
		t.Logf("%s: the last of %d failed connections began %v after the member ended; served %v", f.Name, len(failures), took, served)
		if took > borne || len(failures) == 0 {
			t.Errorf("%s: connections failed for %v (%d), at most %v is borne", f.Name, took, len(failures), borne)
		}
		s.serve(t, m)
		s.online(t, 3)
		s.chosen(t, at)
	}
}

// online waits until so many members answer their monitor.
func (s *system) online(t *testing.T, members int) {
	t.Helper()
	want := fmt.Sprintf("%d of 3 members up", members)
	eventually(t, func() error {
		out, err := s.lab.Weft(t.Context(), "get", "pool", "red:shop:web:tcp-80", "-o", "yaml")
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("want %s:\n%s", want, out)
		}
		return err
	})
}

// hostDies: new connections are served by members of other hosts, also those that
// nobody refuses.
func (s *system) hostDies(t *testing.T) {
	var loads []*load
	for _, f := range Families {
		for _, c := range []string{"c1", "c2", "m1"} {
			loads = append(loads, put(s.namespace(Find("red", c)), netip.AddrPortFrom(f.Virtual, 80), 2, false, short))
		}
	}
	time.Sleep(short)
	if err := s.lab.Kill("h3"); err != nil {
		t.Fatal(err)
	}
	s.uplink(t, "h3", "down")
	died := time.Now()
	s.online(t, 2)
	time.Sleep(2 * time.Second)
	for i, l := range loads {
		served, failures := l.end()
		took := recovered(failures, died)
		t.Logf("load %d: the last of %d failed connections began %v after the host died; served %v", i, len(failures), took, served)
		if took > missed+borne {
			t.Errorf("connections failed for %v, at most %v is borne", took, missed+borne)
		}
	}
	s.uplink(t, "h3", "up")
	if err := s.lab.StartAgent(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	s.online(t, 3)
	for _, f := range Families {
		s.chosen(t, netip.AddrPortFrom(f.Virtual, 80))
	}
}

// uplink takes a host's link to the underlay down, or up.
func (s *system) uplink(t *testing.T, host, to string) {
	t.Helper()
	if out, err := namespace.Run(s.lab.Namespace("underlay"), "ip", "link", "set", host, to); err != nil {
		t.Fatal(err, out)
	}
}

// agentsRestart: nothing fails while the agents of clients and members are away.
func (s *system) agentsRestart(t *testing.T) {
	var loads []*load
	for _, f := range Families {
		for i, name := range []string{"c1", "c2", "c3", "m1"} {
			loads = append(loads, put(s.namespace(Find("red", name)), netip.AddrPortFrom(f.Virtual, 80), 1, i%2 == 0, patience))
		}
	}
	for n := 1; n <= Hosts; n++ {
		if err := s.lab.Stop(topology.HostName(n)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(short)
		if err := s.lab.StartAgent(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	s.online(t, 3)
	total := 0
	for _, l := range loads {
		served, failures := l.end()
		for _, n := range served {
			total += n
		}
		if len(failures) > 0 {
			t.Errorf("%d requests failed while agents restarted, first: %v", len(failures), failures[0].err)
		}
	}
	t.Logf("%d requests were served", total)
}
