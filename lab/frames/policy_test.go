// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// How long a connection that rules forbid is waited for.
const refusedAfter = 2 * time.Second

// TestRulesHoldForFrames tries security-groups in a network that knows frames
// only, between hosts and on one: what a rule allows goes, and its answer comes
// back, for which nobody has a rule; nothing else does.
func TestRulesHoldForFrames(t *testing.T) {
	group := func(name string) string {
		return fmt.Sprintf("---\nkind: security-group\nmeta: {name: %s, parent: \"d:p\"}\n", name)
	}
	objects := beginning + networkYAML("plain", "forwarding: l2, mtu: 1400") + group("client") + group("server") +
		"---\nkind: subnet\nmeta: {name: v4, parent: \"d:p:plain\"}\nspec: {cidr: 10.8.0.0/24}\n---\nkind: subnet\nmeta: {name: v6, parent: \"d:p:plain\"}\nspec: {cidr: \"fd08::/64\"}\n"
	for _, family := range []string{"IPv4", "IPv6"} {
		objects += fmt.Sprintf("---\nkind: security-group-rule\nmeta: {name: out-%s, parent: \"d:p:client\"}\nspec: {direction: egress, family: %s}\n", family, family) +
			fmt.Sprintf("---\nkind: security-group-rule\nmeta: {name: in-%s, parent: \"d:p:server\"}\nspec: {direction: ingress, family: %s, match: {protocol: tcp, ports: {from: %d}}, remoteGroup: \"d:p:client\"}\n", family, family, probe.ResponderPort)
	}
	places := []struct {
		name, group string
		host        int
	}{{"c1", "client", 1}, {"s1", "server", 1}, {"s2", "server", 2}}
	for i, p := range places {
		objects += portYAML(p.name, "plain", p.host, fmt.Sprintf(", securityGroups: [\"d:p:%s\"]", p.group))
		for _, family := range []string{"4", "6"} {
			objects += fmt.Sprintf("---\nkind: address\nmeta: {name: %s-%s, parent: \"d:p:plain\"}\nspec: {subnet: \"d:p:plain:v%s\", ip: \"%v\", port: \"d:p:%s\"}\n",
				p.name, family, family, plainAddress(family == "6", i), p.name)
		}
	}
	s := start(t, "r", topology.IPv4, objects)
	ns := map[string]string{}
	for _, p := range places {
		ns[p.name] = s.workload(p.name, p.host)
		r, err := probe.Answering(ns[p.name], p.name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
	}
	for i, p := range places[1:] {
		for _, six := range []bool{false, true} {
			client, server := plainAddress(six, 0), plainAddress(six, i+1)
			s.eventually(fmt.Sprintf("%s answers at %v", p.name, server), func() bool {
				return asked(t, ns["c1"], "tcp", server, refusedAfter) == p.name
			})
			for network, from := range map[string]string{"tcp": p.name, "udp": "c1"} {
				to := map[string]netip.Addr{"tcp": client, "udp": server}[network]
				if who := asked(t, ns[from], network, to, refusedAfter); who != "" {
					t.Errorf("%s answered %s over %s at %v, which no rule allows", who, from, network, to)
				}
			}
			answer, err := probe.Ping{Namespace: ns["c1"], To: server, Count: 2, Limit: refusedAfter}.Run()
			if err != nil || answer.Received != 0 {
				t.Errorf("ping of %v: %+v (%v), want no answer", server, answer, err)
			}
		}
	}
	s.tracesFrames()
	for host := 1; host <= 2; host++ {
		if s.dropped(host, "policy-denied") == 0 {
			t.Errorf("host %d counts nothing that policy denied", host)
		}
	}
}

// tracesFrames asks weft trace about what was tried: packets go by the MAC of who
// has the address, for nobody but workloads answers there; and so does a frame
// that is no packet, which no rule is about.
func (s *system) tracesFrames() {
	s.t.Helper()
	port := strconv.Itoa(probe.ResponderPort)
	for _, c := range []struct {
		arguments []string
		ways      int
		arrives   bool
	}{
		{[]string{"--from", "d:p:c1", "--to", "d:p:s1", "--proto", "tcp", "--dport", port}, 2, true},
		{[]string{"--from", "d:p:c1", "--to", "d:p:s2", "--proto", "tcp", "--dport", port}, 2, true},
		{[]string{"--from", "d:p:c1", "--to", "d:p:s2", "--proto", "tcp", "--dport", port, "--ipv6"}, 2, true},
		{[]string{"--from", "d:p:c1", "--to", "d:p:s2"}, 1, false},
		{[]string{"--from", "d:p:c1", "--to", "d:p:s2", "--ethertype", "0x88b5"}, 2, true},
		{[]string{"--from", "d:p:c1", "--to-mac", "02:00:00:00:99:99"}, 1, false},
	} {
		out, err := s.lab.Weft(s.t.Context(), append([]string{"trace", "-o", "json"}, c.arguments...)...)
		var v struct {
			Ways []struct{ Arrived bool }
		}
		if broken := json.Unmarshal([]byte(out), &v); broken != nil || len(v.Ways) != c.ways {
			s.t.Errorf("weft trace %v: %v %v\n%s", c.arguments, err, broken, out)
			continue
		}
		for _, w := range v.Ways {
			if w.Arrived != c.arrives {
				s.t.Errorf("weft trace %v: want %v\n%s", c.arguments, c.arrives, out)
			}
		}
	}
}

func plainAddress(six bool, number int) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0xfd, 8, 15: byte(11 + number)})
	}
	return netip.AddrFrom4([4]byte{10, 8, 0, byte(11 + number)})
}

// asked is who answers, empty if nobody does in time.
func asked(t *testing.T, ns, network string, to netip.Addr, limit time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	who, err := probe.Ask(ctx, ns, network, to)
	if err != nil {
		return ""
	}
	return who
}
