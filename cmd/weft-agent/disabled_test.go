// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// disabled is rows with a port or a network whose adminState is down.
func disabled(rows map[string]*hoststream.Row, key string) map[string]*hoststream.Row {
	down := maps.Clone(rows)
	down[key] = proto.Clone(down[key]).(*hoststream.Row)
	switch b := down[key].Body.(type) {
	case *hoststream.Row_Port:
		b.Port.Disabled = true
	case *hoststream.Row_Vrf:
		b.Vrf.Disabled = true
	}
	return down
}

// ended tells how many packets ended for a reason, at all interfaces.
func (m *machine) ended(reason string) (packets int) {
	m.t.Helper()
	for _, r := range m.controller.table(api.HostTableDrops).Rows {
		if n, err := strconv.Atoi(r.Cells[5]); err == nil && r.Cells[0] == reason {
			packets += n
		}
	}
	return packets
}

// A port whose adminState, or whose network's, is down sends and receives
// nothing, on its host and across, also within conversations that went on
// before; what is dropped has a reason of its own at either end, and the host
// says so. When it is up again all goes on.
func TestDisabled(t *testing.T) {
	m := twoHosts(t, tunnels4)
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	together(m, tunnels4, 100)
	rows, w := network(100, tunnels4)[0], map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, fmt.Sprintf("w%d", n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	for _, ip := range ips(10) {
		reaches(t, w[11], ip.String()) // they know each other's MACs now, and have connections
		reaches(t, w[12], ip.String())
	}
	for key, state := range map[string]map[int]api.PortState{
		desired.PortRow(portID(100, 10)): {10: api.PortDisabled, 12: api.PortUp},
		desired.VRFRow(100):              {10: api.PortDisabled, 12: api.PortDisabled},
	} {
		before := [2]int{m[0].ended("port-disabled"), m[0].ended("receiver-disabled")}
		m[0].controller.set(disabled(rows, key))
		m[0].controller.settled()
		for n, want := range state {
			m[0].controller.state(portID(100, n), want)
		}
		for i, ip := range ips(11) {
			unreachable(t, w[10], ip.String())
			unreachable(t, w[11], ips(10)[i].String())
		}
		if sent, received := m[0].ended("port-disabled")-before[0], m[0].ended("receiver-disabled")-before[1]; sent < 4 || received < 4 {
			t.Errorf("%s: %d packets counted as sent by a disabled port, %d as for one; want 4 of each", key, sent, received)
		}
		m[0].controller.set(rows)
		m[0].controller.settled()
		m[0].controller.state(portID(100, 10), api.PortUp)
		for _, ip := range ips(11) {
			reaches(t, w[10], ip.String())
		}
	}
}

// A workload behind a disabled port can be plugged, and gets neither an address
// nor an advertisement until the port is up.
func TestDisabledPortIsNotServed(t *testing.T) {
	rows := servedRows(api.ModeSLAAC, servedSelf)
	s := serve(t, api.ModeSLAAC, servedSelf)
	s.controller.set(disabled(rows, desired.PortRow(servedPort)))
	s.controller.settled()
	s.controller.state(servedPort, api.PortDisabled)
	c := plug.NewClient(s.dir + "/run")
	if err := c.Unplug(t.Context(), servedPort); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Plug(t.Context(), plug.Request{Port: servedPort, Place: link.Place{Interface: "tap0"}, TimeoutSeconds: 10}); err != nil {
		t.Errorf("plug while disabled: %v", err)
	}
	refused := func() (string, bool) {
		c := exec.Command("udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true")
		out := &lockedBuffer{}
		c.Stdout, c.Stderr = out, out
		command(t, s.workload, c)
		return out.String(), c.Wait() != nil
	}
	if out, is := refused(); !is {
		t.Errorf("a disabled port got a lease:\n%s", out)
	}
	if n := s.ended("port-disabled"); n < 2 {
		t.Errorf("%d packets counted as port-disabled, want those of the DHCP client", n)
	}
	s.controller.set(rows)
	s.controller.settled()
	told := s.client(t, "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", "SCRIPT")
	if !strings.Contains(told, "ip=10.0.0.42\n") {
		t.Errorf("enabled again, udhcpc was told\n%s", told)
	}
}
