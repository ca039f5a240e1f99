// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// A port whose network has a subnet that found no room does not begin to ask its
// policy: strangers there would be taken for somebody from outside. One that is
// there goes on, and so do those of other networks.
func TestPortsWaitForManagedSubnets(t *testing.T) {
	m := datapath.NewMemoryKernel(nil)
	m.Managed.Size = 1
	tables := datapath.Tables{PortAddresses: map[int][]netip.Addr{}, PortPrefixes: map[int][]datapath.PortPrefix{}, Ports: map[int]vrouter.Port{}}
	tables.Policies, tables.Waiting, tables.Managed = map[int]datapath.Policy{}, map[int]string{}, map[vrouter.RouteKey]struct{}{}
	plug := func(ifindex int, vrf uint32) {
		tables.PortAddresses[ifindex], tables.PortPrefixes[ifindex] = nil, nil
		tables.Ports[ifindex], tables.Policies[ifindex] = vrouter.Port{VRF: vrf, Policed: true, ID: uint32(ifindex)}, datapath.Policy{}
	}
	manage := func(vrf uint32, prefix string) {
		tables.Managed[vrouter.RouteKey{VRF: vrf, Prefix: netip.MustParsePrefix(prefix)}] = struct{}{}
	}
	plug(4, 7)
	manage(7, "10.0.0.0/24")
	program(t, m, tables)
	manage(7, "10.0.1.0/24") // no room
	plug(5, 7)
	plug(6, 8)
	changed := tables.Ports[4]
	changed.MTU = 1400
	tables.Ports[4] = changed
	p := program(t, m, tables)
	if len(m.Ports.Rows) != 2 || m.Ports.Rows[4].MTU != 1400 || m.Ports.Rows[6].VRF != 8 {
		t.Errorf("ports %v, want 4, as it is wanted, and 6", m.Ports.Rows)
	}
	if why := p.PortProblem(datapath.Attachment{Ifindex: 5}); !strings.Contains(why, "subnet 10.0.1.0/24") || !strings.Contains(why, vrouter.ErrFull.Error()) {
		t.Errorf("port 5: %q", why)
	}
	rows := desired.Rows{VRFs: map[uint32]desired.VRF{7: {ID: 7, Managed: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.1.0/24")}}, 8: {ID: 8}}}
	if told := p.Problems(rows, nil); len(told) != 1 || !strings.Contains(told[desired.VRFRow(7)], vrouter.ErrFull.Error()) {
		t.Errorf("of the networks is told: %v", told)
	}
	m.Managed.Size = 2
	for p.Round(context.Background(), time.Unix(1000, 0)) {
	}
	if len(m.Ports.Rows) != 3 {
		t.Errorf("ports %v, want three when there is room", m.Ports.Rows)
	}
}

// A port whose limits find no room works all the same: it has not failed, and its row says
// what is missing.
func TestPortsWorkWithoutTheirLimits(t *testing.T) {
	m := datapath.NewMemoryKernel(nil)
	m.Limits.Size = 1
	tables := datapath.Tables{Ports: map[int]vrouter.Port{4: {VRF: 7}, 5: {VRF: 7}}, Limits: map[int]vrouter.Limits{}}
	tables.PortAddresses, tables.PortPrefixes = map[int][]netip.Addr{4: nil, 5: nil}, map[int][]datapath.PortPrefix{4: nil, 5: nil}
	for ifindex := range tables.Ports {
		tables.Limits[ifindex] = vrouter.Limits{Device: ifindex, Out: vrouter.Limit{Rate: 1000}}
	}
	p := program(t, m, tables)
	rows := desired.Rows{Ports: map[string]desired.Port{"a": {}, "b": {}}}
	attached := map[string]datapath.Attachment{"a": {Ifindex: 4}, "b": {Ifindex: 5}}
	for id, a := range attached {
		if why := p.PortProblem(a); why != "" {
			t.Errorf("port %s has failed: %s", id, why)
		}
	}
	if told := p.Problems(rows, attached); len(told) != 1 || !strings.Contains(told[desired.PortRow("b")], vrouter.ErrFull.Error()) {
		t.Errorf("of the ports is told: %v", told)
	}
}

// What has no row of its own and finds no room is told where whoever misses it
// looks: services at their network, aliases and routes of the underlay at their port.
func TestWhatHasNoRowIsTold(t *testing.T) {
	port, network := desired.PortRow("p5"), desired.VRFRow(7)
	rows := desired.Rows{VRFs: map[uint32]desired.VRF{7: {ID: 7}}, Ports: map[string]desired.Port{"p5": {}, "p6": {}}}
	attached := map[string]datapath.Attachment{"p5": {Ifindex: 5}, "p6": {Ifindex: 6}}
	hop := func(ifindex int) vrouter.NextHop {
		return vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: ifindex}
	}
	for what, c := range map[string]struct {
		fill func(*datapath.MemoryKernel, *datapath.Tables)
		want string
	}{
		"a service": {func(m *datapath.MemoryKernel, t *datapath.Tables) {
			m.Services.Size = 1
			t.Services = map[vrouter.Service]uint16{{VRF: 6, Port: 53}: 1, {VRF: 7, Port: 53}: 2}
		}, network},
		"an alias": {func(m *datapath.MemoryKernel, t *datapath.Tables) {
			m.Aliases.Size = 1
			t.Aliases = map[uint32]int{1: 6, 2: 5}
		}, port},
		"a route of the underlay": {func(m *datapath.MemoryKernel, t *datapath.Tables) {
			m.Routes.Size = 1
			t.NextHops = map[vrouter.NextHop]struct{}{hop(5): {}, hop(6): {}}
			t.Routes = map[vrouter.RouteKey]datapath.Route{
				{Prefix: netip.MustParsePrefix("192.0.2.1/32")}: {NextHop: hop(6)}, {Prefix: netip.MustParsePrefix("192.0.2.2/32")}: {NextHop: hop(5)},
			}
		}, port},
		"a route to what the host itself has": {func(m *datapath.MemoryKernel, t *datapath.Tables) {
			m.Routes.Size = 1
			t.NextHops = map[vrouter.NextHop]struct{}{hop(5): {}}
			t.Routes = map[vrouter.RouteKey]datapath.Route{
				{VRF: 6, Prefix: netip.MustParsePrefix("fe80::1/128")}: {NextHop: hop(5)}, {VRF: 7, Prefix: netip.MustParsePrefix("fe80::1/128")}: {NextHop: hop(5)},
			}
		}, network},
	} {
		m := datapath.NewMemoryKernel(nil)
		tables := datapath.Tables{
			Ports:         map[int]vrouter.Port{5: {VRF: 7}, 6: {VRF: 7}},
			PortAddresses: map[int][]netip.Addr{5: nil, 6: nil},
			PortPrefixes:  map[int][]datapath.PortPrefix{5: nil, 6: nil},
		}
		c.fill(m, &tables)
		told := program(t, m, tables).Problems(rows, attached)
		if len(told) != 1 || !strings.Contains(told[c.want], vrouter.ErrFull.Error()) {
			t.Errorf("%s that finds no room: told is %v, want %s", what, told, c.want)
		}
	}
}

// A member that finds no room is told at its row, and a listener at its own.
func TestMembersThatFindNoRoom(t *testing.T) {
	for what, fill := range map[string]func(*datapath.MemoryKernel){
		"member":   func(m *datapath.MemoryKernel) { m.PoolMembers.Size = 2 },
		"listener": func(m *datapath.MemoryKernel) { m.Listeners.Size = -1 },
	} {
		m := datapath.NewMemoryKernel(nil)
		if fill(m); m.Listeners.Size < 0 {
			m.Listeners.Size, m.Listeners.Rows[vrouter.ListenerKey{VRF: 9}] = 1, vrouter.Listener{}
		}
		told := program(t, m, balancedBy(func(*desired.Listener, map[string]*desired.Member) {})).Problems(desired.Rows{}, nil)
		want := map[string]string{"member": desired.MemberRow(theBalancer, "c"), "listener": desired.ListenerRow(theBalancer, "i")}[what]
		full := 0
		for _, why := range told {
			if strings.Contains(why, vrouter.ErrFull.Error()) {
				full++
			}
		}
		if full != 1 || !strings.Contains(told[want], vrouter.ErrFull.Error()) {
			t.Errorf("a %s that finds no room: told is %v, want %s", what, told, want)
		}
	}
}
