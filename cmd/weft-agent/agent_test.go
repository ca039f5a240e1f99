// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// asAgent in the environment makes the test program be the agent: a process of
// its own, and go test knows that its results depend on the agent's code.
const asAgent = "WEFT_TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// binary returns the path of the agent.
func binary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asAgent, "1")
	return path
}

// machine is one host of a test.
type machine struct {
	t          *testing.T
	ns         string
	binary     string
	dir        string
	controller *controller
	agent      *process
	arguments  []string // further ones of run
}

func (m *machine) flags() []string {
	return []string{"--state-dir", m.dir + "/state", "--run-dir", m.dir + "/run", "--bpf-dir", m.dir + "/bpf"}
}

func (m *machine) start(tunnel netip.Prefix) {
	m.t.Helper()
	m.agent = start(m.t, m.ns, m.binary, append([]string{"run", "--name", m.ns, "--controller", m.controller.api,
		"--token", m.controller.token, "--tunnel-address", tunnel.Addr().String()}, append(m.flags(), m.arguments...)...)...)
}

func (m *machine) plug(port, ns string) (plug.Answer, error) {
	return plug.NewClient(m.dir+"/run").Plug(context.Background(),
		plug.Request{Port: port, Place: placeIn(ns), TimeoutSeconds: 10})
}

func (m *machine) mustPlug(port, ns string) plug.Answer {
	m.t.Helper()
	a, err := m.plug(port, ns)
	if err != nil {
		m.t.Fatal(err)
	}
	return a
}

// links lists the interfaces of a namespace.
func links(t *testing.T, ns string) (names []string) {
	t.Helper()
	inside(t, ns, func() error {
		all, err := netlink.LinkList()
		for _, l := range all {
			names = append(names, l.Attrs().Name)
		}
		slices.Sort(names)
		return err
	})
	return names
}

// uninstall runs the command and checks that nothing is left.
func (m *machine) uninstall(before []string) {
	m.t.Helper()
	c := exec.Command(m.binary, append([]string{"uninstall"}, m.flags()...)...)
	c.Stderr = os.Stderr
	command(m.t, m.ns, c)
	if err := c.Wait(); err != nil {
		m.t.Fatalf("uninstall: %v", err)
	}
	if after := links(m.t, m.ns); !slices.Equal(before, after) {
		m.t.Errorf("links after uninstall %v, before the agent %v", after, before)
	}
	left, err := os.ReadDir(m.dir)
	if err != nil || len(left) > 0 {
		m.t.Errorf("left after uninstall: %v %v", left, err)
	}
}

// twoHosts makes two hosts with an underlay of one family, agents running.
func twoHosts(t *testing.T, tunnel [2]netip.Prefix) [2]*machine {
	t.Helper()
	bin := binary(t)
	var m [2]*machine
	ns := [2]string{namespace(t, "h1"), namespace(t, "h2")}
	underlay(t, ns, [2][]netip.Prefix{{tunnel[0]}, {tunnel[1]}})
	for i := range m {
		m[i] = &machine{t: t, ns: ns[i], binary: bin, dir: t.TempDir(), controller: newController(t, ns[i])}
		t.Cleanup(func() { _ = syscall.Unmount(m[i].dir+"/bpf", syscall.MNT_DETACH) }) // only still there after a failure
	}
	return m
}

var (
	tunnels4 = [2]netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24")}
	tunnels6 = [2]netip.Prefix{netip.MustParsePrefix("2001:db8:ffff::1/64"), netip.MustParsePrefix("2001:db8:ffff::2/64")}
)

// together gives the hosts the rows of some networks and waits until they have them.
func together(m [2]*machine, tunnel [2]netip.Prefix, vrfs ...uint32) {
	var rows [2]map[string]*hoststream.Row
	for i := range m {
		rows[i] = map[string]*hoststream.Row{}
		for _, vrf := range vrfs {
			maps.Copy(rows[i], network(vrf, tunnel)[i])
		}
		m[i].controller.set(rows[i])
	}
	for i := range m {
		m[i].controller.settled()
	}
}

// Workloads reach each other within their network, on one host and across, in
// both families, whatever the family of the underlay; networks with the same
// addresses do not meet; nothing is left in the end.
func TestTwoHosts(t *testing.T) {
	for name, tunnel := range map[string][2]netip.Prefix{"IPv4 underlay": tunnels4, "IPv6 underlay": tunnels6} {
		t.Run(name, func(t *testing.T) {
			m := twoHosts(t, tunnel)
			before := [2][]string{links(t, m[0].ns), links(t, m[1].ns)}
			for i := range m { // both load their programs at the same time
				m[i].start(tunnel[i])
			}
			for i := range m {
				m[i].agent.waitReady(t)
			}
			together(m, tunnel, 100, 200)
			w := map[int]string{}
			for n, at := range placed {
				w[n] = namespace(t, fmt.Sprintf("w%d", n))
				a := m[at].mustPlug(portName(100, n), w[n])
				want := map[bool]int{true: 1450, false: 1430}[tunnel[0].Addr().Is4()]
				if a.MTU != want || a.VRF != 100 || len(a.Gateways) != 2 {
					t.Errorf("answer to plug: %+v, want MTU %d", a, want)
				}
				m[at].controller.state(portID(100, n), api.PortUp)
			}
			for _, n := range []int{1, 11, 12} {
				for _, ip := range ips(n) {
					reaches(t, w[10], ip.String())
				}
			}
			other := namespace(t, "other")
			m[0].mustPlug(portID(200, 12), other) // the same address as w12, another network
			unreachable(t, other, ips(10)[0].String())
			unreachable(t, other, ips(11)[1].String())

			m[0].checkTables()
			m[0].checkUnplug(w[12], w[10])
			for i := range m {
				m[i].agent.stop(t, syscall.SIGTERM)
			}
			reaches(t, w[10], ips(11)[0].String()) // nobody is running
			for i := range m {
				m[i].uninstall(before[i])
			}
			if left := links(t, w[10]); !slices.Equal(left, []string{"lo"}) {
				t.Errorf("links of a workload after uninstall: %v", left)
			}
		})
	}
}

// checkTables looks at the tables people see.
func (m *machine) checkTables() {
	m.t.Helper()
	for table, words := range map[string][]string{
		api.HostTableDrops:         {"arp-unknown-target", "dropped", portName(200, 12)},
		api.HostTableCounters:      {portName(100, 10)},
		api.HostTablePorts:         {portName(100, 10), "up", "waiting"},
		api.HostTableRoutes:        {"10.0.0.11/32", "fd00:a::11/128", "tunnel", "gateway", "unresolved"},
		api.HostTableNextHops:      {"vni 100", "vni 200"},
		api.HostTableVNIs:          {"100", "200"},
		api.HostTablePortAddresses: {"10.0.0.10", "fd00:a::10"},
		api.HostTableDesired:       {"port/" + portID(100, 10), "done"},
	} {
		var text strings.Builder
		for _, r := range m.controller.table(table).Rows {
			text.WriteString(strings.Join(r.Cells, "  ") + "\n")
		}
		for _, w := range words {
			if !strings.Contains(text.String(), w) {
				m.t.Errorf("table %s does not have %q:\n%s", table, w, text.String())
			}
		}
	}
}

// checkUnplug unplugs port 12 of network 100, whose workload is in ns.
func (m *machine) checkUnplug(ns, neighbour string) {
	m.t.Helper()
	c := plug.NewClient(m.dir + "/run")
	for range 2 { // the second time it is not plugged, which is success
		if err := c.Unplug(context.Background(), portName(100, 12)); err != nil {
			m.t.Fatal(err)
		}
	}
	m.controller.state(portID(100, 12), api.PortWaiting)
	if left := links(m.t, ns); !slices.Equal(left, []string{"lo"}) {
		m.t.Errorf("links of the workload after unplug: %v", left)
	}
	unreachable(m.t, neighbour, ips(12)[0].String())
	m.mustPlug(portID(100, 12), ns)
	reaches(m.t, neighbour, ips(12)[0].String())
}

// Restarting the agent, killing it, and having no controller loses no packet,
// and what comes after a restart is only the difference.
func TestRestart(t *testing.T) {
	m := twoHosts(t, tunnels4)
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	together(m, tunnels4, 100)
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, fmt.Sprintf("w%d", n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	across, local := pinging(t, w[10], ips(11)[0].String()), pinging(t, w[10], ips(12)[1].String())
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for i := range m {
			m[i].agent.stop(t, signal)
			m[i].start(tunnels4[i])
			m[i].agent.waitReady(t)
			m[i].controller.settled()
			m[i].controller.mu.Lock()
			if m[i].controller.sent != 0 {
				t.Errorf("after %v the controller had to send %d rows", signal, m[i].controller.sent)
			}
			m[i].controller.mu.Unlock()
			m[i].controller.state(portID(100, 10+i), api.PortUp)
		}
	}
	across.lossless(t)
	local.lossless(t)

	// A port that was delivered plugs again without a controller.
	m[0].agent.stop(t, syscall.SIGKILL)
	m[0].controller.server.Stop()
	across = pinging(t, w[10], ips(11)[0].String())
	m[0].start(tunnels4[0])
	fresh := namespace(t, "fresh")
	eventually(t, func() error { _, err := m[0].plug(portID(100, 12), fresh); return err })
	reaches(t, fresh, ips(11)[0].String())
	reaches(t, fresh, ips(10)[1].String())
	across.lossless(t)
	m[0].agent.stop(t, syscall.SIGTERM)
	m[1].agent.stop(t, syscall.SIGTERM)
	for i := range m {
		m[i].uninstall([]string{"lo", "u0"})
	}
}

// A port whose binding goes away stops, keeps its interface, and starts again
// with its binding. One that is not bound here is refused with a reason. A
// namespace that goes takes the port's rows with it.
func TestBindingGoes(t *testing.T) {
	m := twoHosts(t, tunnels4)
	m[0].start(tunnels4[0])
	m[0].agent.waitReady(t)
	rows := network(100, tunnels4)[0]
	m[0].controller.set(rows)
	m[0].controller.settled()
	w10, w12 := namespace(t, "w10"), namespace(t, "w12")
	m[0].mustPlug(portID(100, 10), w10)
	m[0].mustPlug(portID(100, 12), w12)
	reaches(t, w10, ips(12)[0].String())

	less := maps.Clone(rows)
	delete(less, "port/"+portID(100, 12))
	m[0].controller.set(less)
	m[0].controller.settled()
	unreachable(t, w10, ips(12)[0].String())
	unreachable(t, w12, ips(10)[0].String())
	if have := links(t, w12); !slices.Contains(have, "eth0") {
		t.Errorf("the workload lost its interface with the binding: %v", have)
	}
	m[0].controller.set(rows)
	m[0].controller.settled()
	reaches(t, w10, ips(12)[0].String())

	_, err := plug.NewClient(m[0].dir+"/run").Plug(t.Context(), plug.Request{Port: "d:p:nowhere", Place: placeIn(w12), TimeoutSeconds: 1})
	if err == nil || !strings.Contains(err.Error(), "not bound to this host") {
		t.Errorf("plug of a port that is not bound here: %v", err)
	}
	if err := netns.DeleteNamed(w12); err != nil {
		t.Fatal(err)
	}
	m[0].controller.state(portID(100, 12), api.PortFailed)
	again := namespace(t, "w12") // its cleanup serves for both
	m[0].mustPlug(portID(100, 12), again)
	reaches(t, w10, ips(12)[0].String())
	m[0].agent.stop(t, syscall.SIGTERM)
	m[0].uninstall([]string{"lo", "u0"})
}

// An interface that somebody else made is attached, and is still there, down,
// when weft has gone. The command line does the same as the socket.
func TestExistingInterface(t *testing.T) {
	m := twoHosts(t, tunnels4)[0]
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	m.controller.set(network(100, tunnels4)[0])
	m.controller.settled()
	w10, w12 := namespace(t, "w10"), namespace(t, "w12")
	m.mustPlug(portID(100, 12), w12)
	cable(t, m.ns, "tap0", w10, "eth0", 10)
	m.cli("plug", "--run-dir", m.dir+"/run", "--port", portName(100, 10), "--interface", "tap0", "--timeout", "10s")
	reaches(t, w10, ips(12)[0].String())
	reaches(t, w12, ips(10)[1].String())
	m.agent.stop(t, syscall.SIGKILL)
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	reaches(t, w10, ips(12)[1].String())
	if out := m.cli("ports", "--run-dir", m.dir+"/run"); !strings.Contains(out, "tap0") {
		t.Errorf("ports:\n%s", out)
	}
	m.agent.stop(t, syscall.SIGTERM)
	m.uninstall([]string{"lo", "tap0", "u0"})
	inside(t, m.ns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err == nil && l.Attrs().Flags&net.FlagUp != 0 {
			err = errors.New("tap0 is up without the packet path on it")
		}
		return err
	})
}

// cli runs the agent's command on the host and returns what it prints.
func (m *machine) cli(arguments ...string) string {
	m.t.Helper()
	var out bytes.Buffer
	c := exec.Command(m.binary, arguments...)
	c.Stdout, c.Stderr = &out, &out
	command(m.t, m.ns, c)
	if err := c.Wait(); err != nil {
		m.t.Fatalf("weft-agent %v: %v\n%s", arguments, err, out.String())
	}
	return out.String()
}
