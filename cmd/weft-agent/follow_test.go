// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

// addressed are the rows of the first host where the port of workload 10 has
// these addresses, an MTU and these gateways.
func addressed(mtu uint32, gateways [2]string, all ...string) map[string]*hoststream.Row {
	rows := network(100, tunnels4)[0]
	port := rows[desired.PortRow(portID(100, 10))].GetPort()
	port.Addresses, port.Mtu = nil, mtu
	for _, text := range all {
		ip := netip.MustParseAddr(text)
		length, gateway := uint32(24), gateways[0]
		if ip.Is6() {
			length, gateway = 64, gateways[1]
		}
		port.Addresses = append(port.Addresses, &hoststream.PortAddress{Ip: ip.AsSlice(), PrefixLength: length, Gateway: netip.MustParseAddr(gateway).AsSlice()})
		put(rows, route(100, ip, &hoststream.Route{Mac: macOf(10), NextHop: &hoststream.Route_Port{Port: port.Port}}))
		put(rows, route(100, netip.MustParseAddr(gateway), &hoststream.Route{NextHop: &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}}))
	}
	return rows
}

// interior is what the workload's namespace has: MTU, addresses, default routes.
func interior(t *testing.T, ns string) string {
	t.Helper()
	var words []string
	inside(t, ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if a.IP.IsGlobalUnicast() {
				words = append(words, a.IP.String())
			}
		}
		routes, err := netlink.RouteList(l, netlink.FAMILY_ALL)
		for _, r := range routes {
			if ones, _ := r.Dst.Mask.Size(); ones == 0 && r.Gw != nil {
				words = append(words, "via "+r.Gw.String())
			}
		}
		words = append(words, fmt.Sprint("mtu ", l.Attrs().MTU))
		return err
	})
	slices.Sort(words)
	return strings.Join(words, ", ")
}

// takeAway removes an address as the workload itself may.
func takeAway(t *testing.T, ns, prefix string) {
	t.Helper()
	inside(t, ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		return netlink.AddrDel(l, a)
	})
}

// The interface that weft made inside a workload's namespace follows its port
// under traffic: addresses come and go, also the first of a subnet, and
// gateway and MTU change. What the workload has from elsewhere stays, what it
// took away stays away, and an agent that was restarted goes on.
func TestInterfaceFollowsPort(t *testing.T) {
	m := twoHosts(t, tunnels4)[0]
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	gateways := [2]string{"10.0.0.1", "fd00:a::1"}
	give := func(mtu uint32, gateways [2]string, all ...string) {
		m.controller.set(addressed(mtu, gateways, all...))
		m.controller.settled()
	}
	give(1400, gateways, "10.0.0.10", "fd00:a::10")
	w10, w12 := namespace(t, "w10"), namespace(t, "w12")
	m.mustPlug(portID(100, 10), w10)
	m.mustPlug(portID(100, 12), w12)
	inside(t, w10, func() error { // its own, which weft must leave
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, p := range []string{"10.0.0.99/24", "192.168.9.9/24"} {
			a, _ := netlink.ParseAddr(p)
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.IP{10, 0, 0, 12}, Dst: &net.IPNet{IP: net.IP{172, 16, 0, 0}, Mask: net.CIDRMask(12, 32)}})
	})
	is := func(want string) {
		t.Helper()
		eventually(t, func() error {
			if got := interior(t, w10); got != want {
				return fmt.Errorf("the workload has %s, want %s", got, want)
			}
			return nil
		})
	}
	const own = ", 10.0.0.99, 192.168.9.9" // in the order of words
	is("10.0.0.10" + own + ", fd00:a::10, mtu 1400, via 10.0.0.1, via fd00:a::1")
	four, six := pinging(t, w12, "10.0.0.10"), pinging(t, w12, "fd00:a::10")
	give(1400, gateways, "10.0.0.10", "10.0.0.20", "fd00:a::10", "fd00:a::20")
	is("10.0.0.10, 10.0.0.20" + own + ", fd00:a::10, fd00:a::20, mtu 1400, via 10.0.0.1, via fd00:a::1")
	reaches(t, w12, "10.0.0.20")
	reaches(t, w12, "fd00:a::20")
	give(1300, gateways, "10.0.0.10", "10.0.0.20", "fd00:a::10", "fd00:a::20")
	is("10.0.0.10, 10.0.0.20" + own + ", fd00:a::10, fd00:a::20, mtu 1300, via 10.0.0.1, via fd00:a::1")
	give(1300, [2]string{"10.0.0.2", "fd00:a::2"}, "10.0.0.10", "10.0.0.20", "fd00:a::10", "fd00:a::20")
	is("10.0.0.10, 10.0.0.20" + own + ", fd00:a::10, fd00:a::20, mtu 1300, via 10.0.0.2, via fd00:a::2")
	m.agent.stop(t, syscall.SIGKILL)
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	give(1500, gateways, "10.0.0.10", "fd00:a::10")
	is("10.0.0.10" + own + ", fd00:a::10, mtu 1500, via 10.0.0.1, via fd00:a::1")
	four.lossless(t)
	six.lossless(t)
	six = pinging(t, w12, "fd00:a::10")
	give(1500, gateways, "10.0.0.30", "10.0.0.20", "fd00:a::10") // away goes the first of its subnet, with which the kernel takes the others
	is("10.0.0.20, 10.0.0.30" + own + ", fd00:a::10, mtu 1500, via 10.0.0.1, via fd00:a::1")
	reaches(t, w12, "10.0.0.30")
	takeAway(t, w10, "10.0.0.20/24")
	give(1400, gateways, "10.0.0.30", "10.0.0.20", "fd00:a::10")
	is("10.0.0.30" + own + ", fd00:a::10, mtu 1400, via 10.0.0.1, via fd00:a::1")
	six.lossless(t)
	m.agent.stop(t, syscall.SIGTERM)
	m.uninstall([]string{"lo", "u0"})
}
