// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	lab "github.com/weft-network/weft/lab/namespace"
)

// carry makes a port's row that of a sub-port.
func carry(rows map[string]*hoststream.Row, port, trunk string, vlan uint32) {
	if row := rows[desired.PortRow(port)]; row != nil {
		p := row.GetPort()
		p.Trunk, p.Vlan = trunk, vlan
	}
}

// nested gives a namespace inside a workload's an interface with a VLAN tag on
// the workload's, configured as number n.
func nested(t *testing.T, ns, inner string, vlan uint16, n int) string {
	t.Helper()
	v := &lab.VLAN{Namespace: ns, Parent: "eth0", ID: vlan, Inside: inner, Name: "eth0", MAC: macOf(n), MTU: 1450}
	if err := v.Add(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	inside(t, inner, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for i, ip := range ips(n) {
			a := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask([]int{24, 64}[i], ip.BitLen())}, Flags: syscall.IFA_F_NODAD}
			if ip.Is4() {
				a.Flags = 0
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(l)
	})
	return inner
}

// Network 7 has ordinary ports, 10 and 12 on the first host and 11 on the
// second. Network 8, with the same addresses, has sub-ports alone: 10 and 12
// carried by 7's port 10, 11 by 7's port 11. 7 has a sub-port of its own, too.
func trunked(tunnel [2]netip.Prefix) (rows [2]map[string]*hoststream.Row) {
	seven, eight := network(7, tunnel), network(8, tunnel)
	for host := range rows {
		addWorkload(seven[host], 7, 13, 0, host)
		carry(seven[host], portID(7, 13), portID(7, 10), 7)
		carry(eight[host], portID(8, 10), portID(7, 10), 5)
		carry(eight[host], portID(8, 12), portID(7, 10), 4094)
		carry(eight[host], portID(8, 11), portID(7, 11), 5)
		rows[host] = seven[host]
		maps.Copy(rows[host], eight[host])
	}
	return rows
}

// Sub-ports reach each other on one trunk, across hosts, and their parents,
// each in its own network; they come and go without harm to others; the host's
// tables name them; an unknown tag is counted.
func TestSubPorts(t *testing.T) {
	m := twoHosts(t, tunnels4)
	rows := trunked(tunnels4)
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
		m[i].controller.set(rows[i])
		m[i].controller.settled()
	}
	a, b, c := namespace(t, "wa"), namespace(t, "wb"), namespace(t, "wc")
	m[0].controller.state(portID(8, 10), api.PortWaiting)
	m[0].mustPlug(portID(7, 10), a)
	m[0].mustPlug(portID(7, 12), c)
	m[1].mustPlug(portID(7, 11), b)
	for i, port := range []string{portID(8, 10), portID(8, 12), portID(7, 13)} {
		m[0].controller.state(port, api.PortUp)
		if _, err := m[0].plug(port, c); err == nil {
			t.Errorf("sub-port %d can be plugged by itself", i)
		}
	}
	m[1].controller.state(portID(8, 11), api.PortUp)
	a5, a6, a7 := nested(t, a, namespace(t, "a5"), 5, 10), nested(t, a, namespace(t, "a6"), 4094, 12), nested(t, a, namespace(t, "a7"), 7, 13)
	b5 := nested(t, b, namespace(t, "b5"), 5, 11)
	for i := range 2 {
		reaches(t, a, ips(11)[i].String())  // parents as ever
		reaches(t, a5, ips(12)[i].String()) // another sub-port of the same trunk
		reaches(t, a5, ips(11)[i].String()) // one of another host
		reaches(t, b5, ips(12)[i].String())
		reaches(t, a7, ips(10)[i].String()) // its parent
		reaches(t, c, ips(13)[i].String())
		reaches(t, a7, ips(1)[i].String()) // gateway
		unreachable(t, a5, ips(13)[i].String())
	}
	m[0].namesSubPorts(a, a5)
	flows := []*running{pinging(t, a, ips(11)[0].String()), pinging(t, a5, ips(11)[0].String()), pinging(t, b5, ips(10)[1].String())}
	for range 5 {
		without := maps.Clone(rows[0])
		delete(without, desired.PortRow(portID(8, 12)))
		m[0].controller.set(without)
		m[0].controller.settled()
		unreachable(t, a6, ips(1)[0].String())
		m[0].controller.set(rows[0])
		m[0].controller.settled()
		reaches(t, a6, ips(11)[0].String())
	}
	m[0].agent.stop(t, syscall.SIGKILL)
	m[0].start(tunnels4[0])
	m[0].agent.waitReady(t)
	for _, f := range flows {
		f.lossless(t)
	}
}

// namesSubPorts reads the host's tables.
func (m *machine) namesSubPorts(parent, sub string) {
	m.t.Helper()
	stray := namespace(m.t, "stray")
	nested(m.t, parent, stray, 99, 10)
	unreachable(m.t, stray, ips(11)[0].String())
	spoofing := ips(77)[0].String()
	inside(m.t, sub, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ips(77)[0].AsSlice(), Mask: net.CIDRMask(24, 32)}})
	})
	if out, err := ping(m.t, sub, ips(11)[0].String(), "-I", spoofing, "-c", "2", "-i", "0.05", "-W", "1"); err == nil {
		m.t.Errorf("a sub-port spoofs an address\n%s", out)
	}
	device := ""
	ports := m.controller.table(api.HostTablePorts)
	for _, r := range ports.Rows {
		if r.Cells[0] == portID(7, 10) {
			device = r.Cells[3]
		}
	}
	for _, r := range ports.Rows {
		if r.Cells[0] == portID(8, 10) && (r.Cells[3] != device+".5" || r.Cells[2] != "8" || r.Cells[4] != net.HardwareAddr(macOf(10)).String()) {
			m.t.Errorf("sub-port is shown as %v", r.Cells)
		}
	}
	drops := map[string]int{}
	for _, r := range m.controller.table(api.HostTableDrops).Rows {
		drops[strings.Join([]string{r.Cells[0], r.Cells[3], r.Cells[4]}, " ")], _ = strconv.Atoi(r.Cells[5])
	}
	for _, want := range []string{"unknown-vlan " + device + " " + portName(7, 10), "spoofed-address " + device + ".5 " + portName(8, 10)} {
		if drops[want] == 0 {
			m.t.Errorf("no drop %q among %v", want, drops)
		}
	}
	counted := m.controller.table(api.HostTableCounters)
	if !slices.ContainsFunc(counted.Rows, func(r *hoststream.TableRow) bool {
		return r.Cells[0] == device+".4094" && r.Cells[2] != "0" && r.Cells[4] != "0"
	}) {
		m.t.Errorf("no counters of a sub-port among %v", counted.Rows)
	}
}
