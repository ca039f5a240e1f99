// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

const beginning = `kind: domain
meta: {name: d}
---
kind: project
meta: {name: p, parent: d}
`

func networkYAML(name, spec string) string {
	return fmt.Sprintf("---\nkind: network\nmeta: {name: %s, parent: \"d:p\"}\nspec: {%s}\n", name, spec)
}

func portYAML(name, network string, host int, more string) string {
	return fmt.Sprintf(`---
kind: port
meta: {name: %s, parent: "d:p"}
spec: {network: "d:p:%s"%s}
---
kind: binding
meta: {name: b, parent: "d:p:%s"}
spec: {host: %s, active: true}
`, name, network, more, name, topology.HostName(host))
}

const learning = ", macLearning: {limit: 3}"

// The workloads of a network of layer 2 have addresses of their own choice on
// three hosts: what nobody knows is flooded, and learned where it may be.
func TestFloodAndLearn(t *testing.T) {
	for name, family := range map[string]topology.Family{"IPv4": topology.IPv4, "IPv6": topology.IPv6} {
		t.Run(name, func(t *testing.T) { floodAndLearn(t, strings.ToLower(name[2:]), family) })
	}
}

func floodAndLearn(t *testing.T, suffix string, family topology.Family) {
	s := start(t, suffix, family, beginning+networkYAML("open", "forwarding: l2, flooding: true, portSecurity: \"off\", mtu: 1400")+
		portYAML("a", "open", 1, "")+portYAML("a2", "open", 1, "")+portYAML("b", "open", 2, "")+portYAML("c", "open", 1, learning)+portYAML("e", "open", 3, learning))
	ns := map[string]string{}
	for i, port := range []string{"a", "a2", "b", "c", "e"} {
		ns[port] = s.workload(port, map[string]int{"a": 1, "a2": 1, "b": 2, "c": 1, "e": 3}[port])
		s.give(ns[port], "eth0", 10+i)
	}
	s.reaches(ns["a"], 12)  // b, across
	s.reaches(ns["a"], 11)  // a2, on the same host
	s.reaches(ns["b"], 13)  // c
	s.reaches(ns["b"], 14)  // e
	s.reaches(ns["a2"], 14) // e

	testAnyProtocol(t, s, ns)
	testBroadcastComesOnce(t, s, ns)

	// Stations behind c, each with a MAC of its own, are learned on all hosts.
	first, second := net.HardwareAddr{2, 0xaa, 0, 0, 0, 1}, net.HardwareAddr{2, 0xaa, 0, 0, 0, 2}
	one, two := s.behind(ns["c"], "one", first, 31), s.behind(ns["c"], "two", second, 32)
	s.reaches(one, 12)
	s.reaches(ns["b"], 31)
	s.reaches(two, 14)
	if at := s.place(1, first); !strings.Contains(at, "d:p:c learned") {
		t.Errorf("host 1 has %v at %q, want behind port c", first, at)
	}
	four, six := topology.HostAddresses(1)
	here := map[topology.Family]netip.Addr{topology.IPv4: four, topology.IPv6: six}[family]
	if at := s.place(2, first); !strings.Contains(at, "tunnel "+here.String()) || !strings.Contains(at, "learned") {
		t.Errorf("host 2 has %v at %q, want at %v", first, at, here)
	}
	if view := s.weft("port", "d:p:c"); !strings.Contains(view, first.String()) {
		t.Errorf("weft port does not show what was learned behind it:\n%s", view)
	}

	// It moves to another host and everybody follows.
	if err := namespace.Delete(one); err != nil {
		t.Fatal(err)
	}
	moved := s.behind(ns["e"], "moved", first, 31)
	s.reaches(moved, 12)
	s.reaches(ns["b"], 31)
	s.reaches(ns["a"], 31)
	if at := s.place(3, first); !strings.Contains(at, "d:p:e learned") {
		t.Errorf("host 3 has %v at %q after it moved there", first, at)
	}

	// More than three behind one port are not let in.
	for n := range 3 {
		s.behind(ns["c"], fmt.Sprint("more", n), net.HardwareAddr{2, 0xaa, 0, 0, 1, byte(n)}, 40+n)
	}
	last := s.lab.Namespace("more2")
	s.eventually("frames beyond the limit are counted", func() bool {
		_, err := probe.Ping{Namespace: last, To: unknown(12)[0].Addr(), Count: 1, Limit: time.Second}.Run()
		return err == nil && s.dropped(1, "mac-limit") > 0
	})

	// A MAC of a port is nobody else's, whatever is unchecked.
	thief := open(t, ns["c"], "eth0")
	before := s.dropped(1, "spoofed-mac")
	thief.send(t, frame(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, macOf(t, ns["b"], "eth0"), "I am b"))
	s.eventually("the theft of a MAC is counted", func() bool { return s.dropped(1, "spoofed-mac") > before })
	s.reaches(ns["a"], 12)
}

// testAnyProtocol sends frames that are no IP.
func testAnyProtocol(t *testing.T, s *system, ns map[string]string) {
	t.Helper()
	from, to := open(t, ns["a"], "eth0"), open(t, ns["b"], "eth0")
	f := frame(macOf(t, ns["b"], "eth0"), macOf(t, ns["a"], "eth0"), "any protocol")
	from.send(t, f)
	if n := to.hears(f); n != 1 {
		t.Errorf("a frame of another protocol came %d times, want once", n)
	}
}

// testBroadcastComesOnce: to every other port of the network, on all hosts, and
// not back to its sender.
func testBroadcastComesOnce(t *testing.T, s *system, ns map[string]string) {
	t.Helper()
	sockets := map[string]raw{}
	for port := range ns {
		sockets[port] = open(t, ns[port], "eth0")
	}
	f := frame(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, macOf(t, ns["a"], "eth0"), "to all")
	sockets["a"].send(t, f)
	for port, socket := range sockets {
		want := 1
		if port == "a" {
			want = 0 // a socket does not see what itself sends, and nothing comes back
		}
		if n := socket.hears(f); n != want {
			t.Errorf("%s heard the broadcast %d times, want %d", port, n, want)
		}
	}
}

// From a network that does not flood nothing leaves but what goes to a known
// MAC; its neighbours' addresses are answered on the host.
func TestNothingLeavesWithoutFlooding(t *testing.T) {
	const vni = 7001
	subnet := "---\nkind: subnet\nmeta: {name: v4, parent: \"d:p:quiet\"}\nspec: {cidr: 10.7.0.0/24}\n---\nkind: subnet\nmeta: {name: v6, parent: \"d:p:quiet\"}\nspec: {cidr: \"fd07::/64\"}\n"
	objects := beginning + networkYAML("quiet", fmt.Sprintf("vni: %d, mtu: 1400", vni)) + subnet + portYAML("q1", "quiet", 1, "") + portYAML("q2", "quiet", 2, "")
	for port, n := range map[string]int{"q1": 11, "q2": 12} {
		objects += fmt.Sprintf("---\nkind: address\nmeta: {name: %s-4, parent: \"d:p:quiet\"}\nspec: {subnet: \"d:p:quiet:v4\", ip: 10.7.0.%d, port: \"d:p:%s\"}\n", port, n, port)
		objects += fmt.Sprintf("---\nkind: address\nmeta: {name: %s-6, parent: \"d:p:quiet\"}\nspec: {subnet: \"d:p:quiet:v6\", ip: \"fd07::%d\", port: \"d:p:%s\"}\n", port, n, port)
	}
	s := start(t, "q", topology.IPv4, objects)
	one, two := s.workload("q1", 1), s.workload("q2", 2)
	capture := watch(t, s.lab.Namespace("underlay"), "h1", vni)
	for _, to := range []string{"10.7.0.12", "fd07::12"} {
		answer, err := probe.Ping{Namespace: one, To: netip.MustParseAddr(to), Count: 3}.Run()
		if err != nil || answer.Received != 3 {
			t.Fatalf("ping of a neighbour: %+v (%v)", answer, err)
		}
	}
	from, to := open(t, one, "eth0"), open(t, two, "eth0")
	mac := macOf(t, one, "eth0")
	known := frame(macOf(t, two, "eth0"), mac, "to a known MAC")
	from.send(t, known)
	if n := to.hears(known); n != 1 {
		t.Errorf("a frame to a known MAC came %d times, want once", n)
	}
	for _, stray := range []net.HardwareAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x33, 0x33, 0, 0, 0, 1}, {2, 9, 9, 9, 9, 9}} {
		from.send(t, frame(stray, mac, "to nobody"))
	}
	for _, to := range []string{"10.7.0.99", "fd07::99", "224.0.0.251"} {
		_, _ = probe.Ping{Namespace: one, To: netip.MustParseAddr(to), Count: 1, Limit: time.Second}.Run() // nobody answers
	}
	s.eventually("what was not flooded is counted", func() bool {
		return s.dropped(1, "broadcast") > 0 && s.dropped(1, "multicast") > 0 && s.dropped(1, "unknown-mac") > 0 &&
			s.dropped(1, "arp-unknown-target") > 0 && s.dropped(1, "nd-unknown-target") > 0
	})
	sent := capture.end()
	if len(sent) < 7 { // six echoes and replies at least, and the frame
		t.Errorf("only %d frames seen in the tunnel", len(sent))
	}
	for _, f := range sent {
		if f[0]&1 != 0 || f[0] == 2 && f[1] == 9 || f[12] == 0x08 && f[13] == 0x06 {
			t.Errorf("left the host: %x", f)
		}
	}
}
