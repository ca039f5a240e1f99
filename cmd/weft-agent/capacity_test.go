// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// refused waits until the host has acknowledged the newest rows but for these,
// for which its table has no room.
func (c *controller) refused(want ...string) {
	c.t.Helper()
	eventually(c.t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		var have []string
		for _, e := range c.ack.GetErrors() {
			if !strings.Contains(e.Error, "the table is full: all of its ") {
				return fmt.Errorf("row %s is refused otherwise: %s", e.Key, e.Error)
			}
			have = append(have, e.Key)
		}
		if c.acked != c.revision || !slices.Equal(have, want) {
			return fmt.Errorf("revision %d of %d: rows that are not in the kernel: %v, want %v", c.acked, c.revision, have, want)
		}
		return nil
	})
}

// short waits until the host reports these tables, full or nearly.
func (c *controller) short(want ...string) {
	c.t.Helper()
	eventually(c.t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		var have []string
		for _, t := range c.report.GetTables() {
			have = append(have, fmt.Sprintf("%s %d %v", t.Table, t.Size, t.Full))
		}
		if !slices.Equal(have, want) {
			return fmt.Errorf("tables reported as short: %q, want %q", have, want)
		}
		return nil
	})
}

// Routes that a table has no room for are told one by one, and which they are
// follows from the order of all; packets to them are counted; the host says
// that the table is full. Those that were there stay, and when there is room
// again the others come and nothing is said any more.
func TestRoutesThatDoNotFit(t *testing.T) {
	m := twoHosts(t, tunnels4)[0]
	m.arguments = []string{"--table-size", "host-routes=7"}
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	rows := network(100, tunnels4)[0] // eight routes, and one of the host's own
	m.controller.set(rows)
	left := []string{"route/100/fd00:a::12/128"} // the last but for the host's own fe80::1
	m.controller.refused(left...)
	m.controller.short("host_routes 7 true")
	w10 := namespace(t, "w10")
	m.mustPlug(portID(100, 10), w10)
	m.controller.refused(left[0], "vrf/100") // at the network, for the host's own
	unreachable(t, w10, ips(12)[1].String())
	if n := m.ended("target-left-out"); n == 0 {
		t.Error("nothing is counted of packets to a route that was left out")
	}
	for _, row := range m.controller.table(api.HostTableDrops).Rows {
		tells := strings.Contains(row.Cells[7], "1 are not here") && strings.Contains(row.Cells[7], vrouter.ErrFull.Error())
		if wanted := slices.Contains(vrouter.LeftOut, row.Cells[0]); tells != wanted {
			t.Errorf("of what ended as %s is told: %s", row.Cells[0], row.Cells[7])
		}
	}
	trace := m.traced(api.TraceQuestion{Port: portID(100, 10), To: ips(12)[1]})
	expectItems(t, trace, map[string]string{api.TraceReason: "target-left-out", "missing route": "fd00:a::12/128 is to be in VRF 100 and is not: update route",
		"route": "none to fd00:a::12 in VRF 100: there is no room for all of its routes in fc00::/6"})

	less := maps.Clone(rows)
	for _, n := range []int{11, 12} {
		for i, ip := range ips(n) {
			delete(less, fmt.Sprintf("route/100/%v/%d", ip, []int{32, 128}[i]))
		}
	}
	m.controller.set(less)
	m.controller.settled()
	m.controller.short()
	reaches(t, w10, ips(1)[0].String())
	eventually(t, func() error { // the host's own route, which is tried again by itself
		if have := m.contents()[api.HostTableRoutes]; len(have) != 5 {
			return fmt.Errorf("routes in the kernel: %v, want four and the host's own", have)
		}
		return nil
	})
	m.controller.set(rows) // five are there and stay; of those that come together the first two fit
	m.controller.refused("route/100/fd00:a::11/128", left[0])
	m.controller.short("host_routes 7 true")
}

// What is for a route that found no room does not follow a shorter one, here to
// another host, also while conversations do that went there before; what the
// shorter one is for goes there. When there is room all goes where it should.
func TestPacketsOfRoutesThatDoNotFit(t *testing.T) {
	m := twoHosts(t, tunnels4)[0]
	m.arguments = []string{"--table-size", "routes=1"}
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	rows := network(100, tunnels4)[0]
	prefix := func(p string, r *hoststream.Route) {
		network := netip.MustParsePrefix(p)
		r = route(100, network.Addr(), r)
		r.PrefixLength, r.Routed, r.Mac = uint32(network.Bits()), true, macOf(1)
		rows[desired.RouteRow(desired.RouteKey{VRF: 100, Prefix: network})] = &hoststream.Row{Body: &hoststream.Row_Route{Route: r}}
	}
	prefix("0.0.0.0/0", &hoststream.Route{NextHop: &hoststream.Route_Remote{Remote: &hoststream.Remote{Host: hostID(1), Vni: 100}}})
	m.controller.set(rows)
	m.controller.settled()
	w10 := namespace(t, "w10")
	m.mustPlug(portID(100, 10), w10)
	traced := func(to string) map[string]string {
		return m.traced(api.TraceQuestion{Port: portID(100, 10), To: netip.MustParseAddr(to)})
	}
	expectItems(t, traced("203.0.113.5"), map[string]string{api.TraceVerdict: "tunnelled"})
	prefix("203.0.113.0/24", &hoststream.Route{NextHop: &hoststream.Route_Discard{Discard: &hoststream.Discard{}}})
	m.controller.set(rows)
	m.controller.refused("route/100/203.0.113.0/24")
	m.controller.short("routes4 1 true")
	expectItems(t, traced("203.0.113.5"), map[string]string{api.TraceReason: "route-left-out", "missing route": "203.0.113.0/24 is to be in VRF 100 and is not: update route",
		"route": "none to 203.0.113.5 in VRF 100: there is no room for all of its routes in 203.0.113.0/24"})
	expectItems(t, traced("203.0.114.5"), map[string]string{api.TraceVerdict: "tunnelled", "route": "0.0.0.0/0 in VRF 100"})
	unreachable(t, w10, "203.0.113.5")
	if m.ended("route-left-out") == 0 {
		t.Error("nothing is counted of packets to a route that was left out")
	}
	m.agent.stop(t, syscall.SIGTERM)
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	expectItems(t, traced("203.0.113.5"), map[string]string{api.TraceReason: "route-left-out"})

	delete(rows, "route/100/0.0.0.0/0")
	m.controller.set(rows)
	m.controller.settled()
	expectItems(t, traced("203.0.113.5"), map[string]string{api.TraceReason: "discard-route"})
	expectItems(t, traced("203.0.114.5"), map[string]string{api.TraceReason: "no-route"})
}

// A port that finds no room is refused and says why, at the port and at the host.
func TestPortsThatDoNotFit(t *testing.T) {
	m := twoHosts(t, tunnels4)[0]
	m.arguments = []string{"--table-size", "ports=1"}
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	m.controller.set(network(100, tunnels4)[0])
	m.controller.settled()
	w10, w12 := namespace(t, "w10"), namespace(t, "w12")
	m.mustPlug(portID(100, 10), w10)
	if a, err := m.plug(portID(100, 12), w12); err == nil || !strings.Contains(err.Error(), "the table is full") {
		t.Errorf("a second port in a table of one: %+v, %v", a, err)
	}
}
