// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// What lies behind a port, or in its allowed pairs, answers from there while
// the host's rows say so, in the midst of its connections; a longer route
// elsewhere ends what lies behind, and not a pair.
func TestSourcesBehindPort(t *testing.T) {
	m := twoHosts(t, tunnels4)[0]
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	w10, w12 := namespace(t, "w10"), namespace(t, "w12")
	behind := [2]netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("fd07::/64")}
	inside(t, w10, func() error {
		lo, err := netlink.LinkByName("lo")
		for _, p := range behind {
			if err == nil {
				err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(p.Addr().Next().AsSlice())})
			}
		}
		return err
	})
	give := func(sources, pairs []netip.Prefix, elsewhere bool) {
		m.controller.set(rowsBehind(behind[:], sources, pairs, elsewhere))
		m.controller.settled()
	}
	give(nil, nil, false)
	m.mustPlug(portID(100, 10), w10)
	m.mustPlug(portID(100, 12), w12)
	// A workload asks for its neighbour's MAC from the address it answers from; it
	// must know it already, else only that question is tried.
	for _, to := range ips(12) {
		reaches(t, w10, to.String())
	}
	for _, p := range behind {
		unreachable(t, w12, p.Addr().Next().String())
	}
	for name, c := range map[string]struct {
		sources, pairs []netip.Prefix
		elsewhere      bool
		answers        bool
	}{
		"behind it":                         {sources: behind[:], answers: true},
		"behind it but for a longer route":  {sources: behind[:], elsewhere: true},
		"pairs":                             {pairs: behind[:], answers: true},
		"pairs, whatever the routes say":    {sources: behind[:], pairs: behind[:], elsewhere: true, answers: true},
		"pairs and sources that went again": {},
	} {
		give(c.sources, c.pairs, c.elsewhere)
		for _, p := range behind {
			out, err := ping(t, w12, p.Addr().Next().String(), "-c", "2", "-i", "0.05", "-W", "1")
			if answered := err == nil && strings.Contains(out, " 0% packet loss"); answered != c.answers {
				t.Errorf("%s: ping of %v answered %v, want %v\n%s", name, p.Addr().Next(), answered, c.answers, out)
			}
		}
	}
	give(behind[:], nil, false)
	var cells []string
	for _, r := range m.controller.table(api.HostTablePortAddresses).Rows {
		cells = append(cells, strings.Join(r.Cells, " "))
	}
	if all := strings.Join(cells, "\n"); !strings.Contains(all, "192.168.7.0/24 02:00:00:00:00:0a while routed here") {
		t.Errorf("table %s:\n%s", api.HostTablePortAddresses, all)
	}
	m.agent.stop(t, syscall.SIGTERM)
	m.uninstall([]string{"lo", "u0"})
}

// rowsBehind are those of a host where routes lead to workload 10 and its port
// has these sources and pairs; elsewhere: a longer route too.
func rowsBehind(behind, sources, pairs []netip.Prefix, elsewhere bool) map[string]*hoststream.Row {
	rows := network(100, tunnels4)[0]
	port := rows[desired.PortRow(portID(100, 10))].GetPort()
	for _, p := range sources {
		port.Sources = append(port.Sources, wire(p))
	}
	for _, p := range pairs {
		port.Pairs = append(port.Pairs, &hoststream.AllowedPair{Range: wire(p), Mac: macOf(10)})
	}
	for _, p := range behind {
		there := func() *hoststream.Route {
			return &hoststream.Route{Mac: macOf(10), Routed: true, NextHop: &hoststream.Route_Port{Port: portID(100, 10)}}
		}
		r := route(100, p.Addr(), there())
		r.PrefixLength = uint32(p.Bits())
		put(rows, r)
		if elsewhere {
			put(rows, route(100, p.Addr().Next(), there()))
		}
	}
	return rows
}

func wire(p netip.Prefix) *hoststream.Prefix {
	return &hoststream.Prefix{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())}
}
