// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// whoIs is the identity of workload n.
func whoIs(n int) uint64 { return 0xa000 + uint64(n) }

func selectorOf(id string, members ...int) *hoststream.Row {
	s := &hoststream.Selector{Selector: id}
	for _, n := range members {
		s.Identities = append(s.Identities, whoIs(n))
	}
	return &hoststream.Row{Body: &hoststream.Row_Selector{Selector: s}}
}

// passRule lets TCP to a port pass, or without one ICMP of both families.
func passRule(name string, port uint32, remote *hoststream.Rule) *hoststream.Rule {
	remote.Object, remote.Kind, remote.Name, remote.Owner, remote.Action = name+"-uuid", "security-group-rule", name, "openstack", "pass"
	remote.Via = []string{"security-group/d:p:web"}
	remote.Services = []*hoststream.RuleService{{Family: 4, Protocol: proto.Uint32(1)}, {Family: 6, Protocol: proto.Uint32(58)}}
	if port != 0 {
		remote.Services = []*hoststream.RuleService{{Protocol: proto.Uint32(6), Ports: &hoststream.NumberRange{First: port, Last: port}}}
	}
	return remote
}

func fromMembers() *hoststream.Rule {
	return &hoststream.Rule{Remote: &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{"clients"}}}}
}

// guarded is the rows of the network in which everybody has an identity, and
// workload 10 lets only some clients in: by ICMP, and by TCP to this port.
func guarded(rows map[string]*hoststream.Row, port uint32, clients ...int) map[string]*hoststream.Row {
	all := map[string]*hoststream.Row{}
	for key, row := range rows {
		all[key] = proto.Clone(row).(*hoststream.Row)
	}
	for n := range placed {
		for _, ip := range ips(n) {
			all[desired.RouteRow(desired.RouteKey{VRF: 100, Prefix: netip.PrefixFrom(ip, ip.BitLen())})].GetRoute().Workload = whoIs(n)
		}
	}
	if vrf := all[desired.VRFRow(100)].GetVrf(); vrf != nil {
		vrf.Managed = []*hoststream.Prefix{{Address: []byte{10, 0, 0, 0}, Length: 24}, {Address: netip.MustParseAddr("fd00:a::").AsSlice(), Length: 64}}
	}
	all[desired.SelectorRow("clients")] = selectorOf("clients", clients...)
	in := fmt.Sprint("web-in-", port)
	all[desired.RulesetRow(in)] = &hoststream.Row{Body: &hoststream.Row_Ruleset{Ruleset: &hoststream.Ruleset{
		Ruleset: in, Name: "security-groups d:p:web", Outside: "deny", Identified: "deny",
		Rules: []*hoststream.Rule{passRule("d:p:ping", 0, fromMembers()), passRule("d:p:http", port, fromMembers())},
	}}}
	if p := all[desired.PortRow(portID(100, 10))].GetPort(); p != nil {
		p.Identity = whoIs(10)
		p.Rulesets = []*hoststream.PortRuleset{{Layer: "security-group", Ingress: true, Ruleset: in}}
	}
	return all
}

// serveEcho answers on a TCP port in a namespace what is said there.
func serveEcho(t *testing.T, ns string, port int) {
	t.Helper()
	var l net.Listener
	inside(t, ns, func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// How long is waited for an answer that must come, on a busy machine, and for one that must not.
const (
	answered = 20 * time.Second
	silent   = 2 * time.Second
)

// dial connects from a namespace; it gives up after a time.
func dial(t *testing.T, ns string, to netip.Addr, port int, after time.Duration) (c net.Conn, err error) {
	t.Helper()
	inside(t, ns, func() error {
		c, err = net.DialTimeout("tcp", netip.AddrPortFrom(to, uint16(port)).String(), after)
		return nil
	})
	return c, err
}

// says tells whether a word sent comes back.
func says(c net.Conn, word string, within time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, word); err != nil {
		return err
	}
	heard := make([]byte, len(word))
	if _, err := io.ReadFull(c, heard); err != nil || string(heard) != word {
		return errors.Join(fmt.Errorf("heard %q", heard), err)
	}
	return nil
}

// A security-group as rows: only those pass whom its rules name, on the same
// host and across, by both families; a member that is taken out is cut off
// within its open connection, and another that comes in is let in; what is
// dropped has a reason, and each rule counts what it decided.
func TestSecurityGroup(t *testing.T) {
	m := twoHosts(t, tunnels4)
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	w := map[int]string{}
	guard(m, 8080, 11)
	for n, at := range placed {
		w[n] = namespace(t, fmt.Sprintf("w%d", n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	serveEcho(t, w[10], 8080)
	serveEcho(t, w[10], 8081)
	before := m[0].ended("policy-denied")
	for i, ip := range ips(10) {
		reaches(t, w[11], ip.String())
		unreachable(t, w[12], ip.String())
		reaches(t, w[10], ips(12)[i].String()) // what it begins itself is answered
		refuses(t, w[11], ip, 8081)
		refuses(t, w[12], ip, 8080)
	}
	if dropped := m[0].ended("policy-denied") - before; dropped < 6 {
		t.Errorf("%d packets ended as policy-denied, want the pings of two families and four attempts by TCP", dropped)
	}
	var open []net.Conn
	for _, ip := range ips(10) {
		c, err := dial(t, w[11], ip, 8080, answered)
		if err == nil {
			defer c.Close()
			err = says(c, "before", answered)
		}
		if err != nil {
			t.Fatalf("a client that may: %v", err)
		}
		open = append(open, c)
	}
	m[0].showsPolicy()

	changesMembers(m, w, open)
	staysAfterRestart(m[0], w)
}

// guard gives both hosts the rows of the guarded network and waits for them.
func guard(m [2]*machine, port uint32, clients ...int) {
	rows := network(100, tunnels4)
	for i := range m {
		m[i].controller.set(guarded(rows[i], port, clients...))
	}
	for i := range m {
		m[i].controller.settled()
	}
}

// changesMembers takes client 11 out, whose connections these are, lets 12 in,
// and then opens another port to both.
func changesMembers(m [2]*machine, w map[int]string, open []net.Conn) {
	t := m[0].t
	guard(m, 8080, 12)
	for i, ip := range ips(10) {
		if says(open[i], "after", silent) == nil {
			t.Errorf("a connection from %v goes on after its client was taken out", open[i].LocalAddr())
		}
		unreachable(t, w[11], ip.String())
		reaches(t, w[12], ip.String())
	}
	guard(m, 8081, 11, 12) // another ruleset
	for i, ip := range ips(10) {
		reaches(t, w[11], ip.String())
		c, err := dial(t, w[12], ip, 8081, answered)
		if err == nil {
			defer c.Close()
			err = says(c, "now", answered)
		}
		if err != nil {
			t.Errorf("a port that was opened: %v", err)
		}
		if says(open[i], "again", silent) == nil {
			t.Error("a port that was closed is still open")
		}
	}
}

// staysAfterRestart kills the agent and starts it: what passes, and what does
// not, is as before all the time.
func staysAfterRestart(m *machine, w map[int]string) {
	t := m.t
	before := m.ended("policy-denied")
	m.agent.stop(t, os.Kill)
	same := func() { // what passes and what does not, as before
		t.Helper()
		for _, ip := range ips(10) {
			reaches(t, w[11], ip.String())
			refuses(t, w[11], ip, 8080)
			refuses(t, w[12], ip, 8080)
		}
	}
	same()
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	same()
	if dropped := m.ended("policy-denied") - before; dropped < 8 {
		t.Errorf("%d packets ended as policy-denied around a restart, want eight attempts by TCP", dropped)
	}
}

// refuses fails the test if somebody answers at a port.
func refuses(t *testing.T, ns string, to netip.Addr, port int) {
	t.Helper()
	if c, err := dial(t, ns, to, port, silent); err == nil {
		c.Close()
		t.Errorf("%v port %d takes a connection from %s", to, port, ns)
	}
}

// showsPolicy checks what the host tells of the policy of workload 10.
func (m *machine) showsPolicy() {
	m.t.Helper()
	rows := m.controller.table(api.HostTablePolicy).Rows
	if len(rows) != 1 || !slices.Equal(rows[0].Cells[1:4], []string{portName(100, 10), "ingress", "security-group"}) || rows[0].Cells[6] != "deny" {
		m.t.Errorf("table policy: %v", rows)
	}
	hits := map[string]int{}
	for _, r := range m.controller.table(api.HostTableRules).Rows {
		n, err := strconv.Atoi(r.Cells[4])
		if err != nil || r.Cells[6] != "openstack" || r.Cells[7] != "security-group/d:p:web" {
			m.t.Errorf("table rules: %v", r)
		}
		hits[strings.TrimPrefix(r.Cells[5], "security-group-rule d:p:")] = n
	}
	if hits["ping"] < 2 || hits["http"] < 2 {
		m.t.Errorf("rules decided %v, want two conversations of each at least", hits)
	}
	asked := m.controller.table(api.HostTableRules + "?" + portID(100, 10)).Rows
	if len(asked) != len(hits)+1 {
		m.t.Fatalf("the rules of one port: %v, want the %d of its group and what is said else", asked, len(hits))
	}
	for i, r := range asked {
		want := []string{"ingress", "security-group", strconv.Itoa(i + 1), "pass", "no"}
		if i == len(hits) {
			want = []string{"ingress", "security-group", "-", "deny", "-"}
		}
		if !slices.Equal(r.Cells[:5], want) {
			m.t.Errorf("rule %d of one port: %v, want %v", i, r.Cells, want)
		}
	}
}
