// SPDX-License-Identifier: Apache-2.0

package hostroute

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/datapath"
)

// route is one of the main table: prefix, interface, gateway or "".
func route(prefix string, device int, gateway string) netlink.Route {
	p := netip.MustParsePrefix(prefix)
	r := netlink.Route{
		Dst:       &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		LinkIndex: device, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Family: netlink.FAMILY_V4,
	}
	if gateway != "" {
		r.Gw = net.ParseIP(gateway)
	}
	return r
}

func with(r netlink.Route, change func(*netlink.Route)) netlink.Route {
	change(&r)
	return r
}

func way(prefix string, device, mtu int, onLink bool) datapath.Way {
	return datapath.Way{Prefix: netip.MustParsePrefix(prefix), Device: device, MTU: mtu, OnLink: onLink}
}

// Interfaces 2 and 3 are uplinks, 4 is ours, 5 is no Ethernet.
var devices = map[int]device{1: {mtu: 65536}, 2: {mtu: 1500, ethernet: true}, 3: {mtu: 9000, ethernet: true}, 4: {mtu: 1500, ethernet: true, ours: true}, 5: {mtu: 1400}}

func TestWays(t *testing.T) {
	uplink := netip.MustParseAddr("192.0.2.1")
	for name, c := range map[string]struct {
		routes   []netlink.Route
		policies bool
		ways     []datapath.Way
		uplinks  []int
		warns    bool
	}{
		"default and segment": {
			routes:  []netlink.Route{route("192.0.2.0/24", 2, ""), route("0.0.0.0/0", 2, "192.0.2.254")},
			ways:    []datapath.Way{way("0.0.0.0/0", 2, 1500, false), way("192.0.2.0/24", 2, 1500, true)},
			uplinks: []int{2},
		},
		"what a shorter prefix says as well": {
			routes:  []netlink.Route{route("0.0.0.0/0", 2, "192.0.2.254"), route("10.0.0.0/8", 2, "192.0.2.253"), route("10.1.0.0/16", 3, "10.1.0.1"), route("10.1.2.0/24", 2, "192.0.2.9"), route("11.0.0.0/8", 2, "192.0.2.9")},
			ways:    []datapath.Way{way("0.0.0.0/0", 2, 1500, false), way("10.1.0.0/16", 3, 9000, false), way("10.1.2.0/24", 2, 1500, false)},
			uplinks: []int{2},
		},
		"ours, other tables, links and interfaces of ours are none": {
			routes: []netlink.Route{
				with(route("10.0.0.5/32", 2, "192.0.2.2"), func(r *netlink.Route) { r.Protocol = Protocol }),
				with(route("10.0.0.6/32", 2, ""), func(r *netlink.Route) { r.Table = unix.RT_TABLE_LOCAL }),
				route("169.254.64.0/18", 4, ""), route("fe80::/64", 2, ""), route("10.0.0.7/32", 4, ""),
			},
			uplinks: []int{2},
		},
		"the lower metric, and the MTU of a route": {
			routes: []netlink.Route{
				with(route("10.0.0.0/8", 3, "1.1.1.1"), func(r *netlink.Route) { r.Priority = 20 }),
				with(route("10.0.0.0/8", 2, "192.0.2.3"), func(r *netlink.Route) { r.Priority, r.MTU = 10, 1300 }),
			},
			ways:    []datapath.Way{way("10.0.0.0/8", 2, 1300, false)},
			uplinks: []int{2},
		},
		"what only the host can tell": {
			routes: []netlink.Route{
				with(route("0.0.0.0/0", 0, ""), func(r *netlink.Route) {
					r.MultiPath = []*netlink.NexthopInfo{{LinkIndex: 2}, {LinkIndex: 3}}
				}),
				with(route("10.0.0.0/8", 1, ""), func(r *netlink.Route) { r.Type = unix.RTN_BLACKHOLE }),
				route("11.0.0.0/8", 5, ""),
			},
			ways:    []datapath.Way{way("0.0.0.0/0", 0, 0, false)}, // the others say the same
			uplinks: []int{2},
		},
		"rules of the host's own": {
			routes: []netlink.Route{route("0.0.0.0/0", 2, "192.0.2.254")}, policies: true,
			ways: byHost, uplinks: []int{2}, warns: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := factsOf(table{devices: devices, routes: c.routes, policies: c.policies, own: map[netip.Addr]int{uplink: 2, netip.MustParseAddr("198.51.100.1"): 3}}, []netip.Addr{uplink})
			if !slices.Equal(f.Ways, c.ways) || !slices.Equal(f.Uplinks, c.uplinks) || (f.Warning != "") != c.warns || len(f.Own) != 2 {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestTooManyWays(t *testing.T) {
	var routes []netlink.Route
	for i := range maxWays + 1 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		routes = append(routes, route(p.String(), 2+i%2, "192.0.2.2"))
	}
	if f := factsOf(table{devices: devices, routes: routes}, nil); !slices.Equal(f.Ways, byHost) || f.Warning == "" {
		t.Errorf("%d ways, warning %q", len(f.Ways), f.Warning)
	}
}
