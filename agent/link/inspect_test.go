// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/link"
)

// A look finds each thing that was taken away or changed, and changes nothing itself.
func TestInspect(t *testing.T) {
	everything4, everything6 := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	type ends struct {
		in        *netlink.Handle
		eth, host netlink.Link
	}
	for name, c := range map[string]struct {
		spoil func(ends) error
		words []string
	}{
		"nothing":         {func(ends) error { return nil }, nil},
		"IPv6 address":    {func(e ends) error { return e.in.AddrDel(e.eth, address("fd00::5/64")) }, []string{"lacks address fd00::5/64"}},
		"IPv4 address":    {func(e ends) error { return e.in.AddrDel(e.eth, address("10.0.0.5/24")) }, []string{"lacks address 10.0.0.5/24", "default route through eth0 by 10.0.0.1"}},
		"another address": {func(e ends) error { return e.in.AddrAdd(e.eth, address("192.0.2.7/32")) }, nil},
		"IPv4 route": {func(e ends) error {
			return e.in.RouteDel(&netlink.Route{Dst: everything4, LinkIndex: e.eth.Attrs().Index})
		}, []string{"default route through eth0 by 10.0.0.1"}},
		"IPv6 route": {func(e ends) error {
			return e.in.RouteDel(&netlink.Route{Dst: everything6, LinkIndex: e.eth.Attrs().Index})
		}, []string{"default route through eth0 by fd00::1"}},
		"MTU inside":       {func(e ends) error { return e.in.LinkSetMTU(e.eth, 1350) }, []string{"eth0 has MTU 1350 and not 1400"}},
		"MTU on the host":  {func(e ends) error { return netlink.LinkSetMTU(e.host, 1350) }, []string{"on the host has MTU 1350 and not 1400"}},
		"MAC":              {func(e ends) error { return e.in.LinkSetHardwareAddr(e.eth, net.HardwareAddr{2, 0, 0, 0, 0, 9}) }, []string{"has MAC 02:00:00:00:00:09"}},
		"down on the host": {func(e ends) error { return netlink.LinkSetDown(e.host) }, []string{"on the host is down"}},
		"down inside":      {func(e ends) error { return e.in.LinkSetDown(e.eth) }, []string{"interface eth0 is down"}},
		"renamed":          {func(e ends) error { return e.in.LinkSetName(e.eth, "eth9") }, []string{"interface eth0 is gone"}},
		"gone":             {func(e ends) error { return netlink.LinkDel(e.host) }, []string{"on the host is gone"}},
		"somebody else's":  {func(e ends) error { return netlink.LinkSetAlias(e.host, "weft:port:other") }, []string{"is not the port's"}},
	} {
		t.Run(name, func(t *testing.T) {
			inHost(t, func() {
				d, _ := open(t)
				place := link.Place{Netns: workload(t, "a"), Ifname: "eth0"}
				f := must[link.Found](t)(d.Ensure(port, place, settings))
				in := enter(t, place.Netns)
				if err := c.spoil(ends{in, must[netlink.Link](t)(in.LinkByName("eth0")), must[netlink.Link](t)(netlink.LinkByName(f.Name))}); err != nil {
					t.Fatal(err)
				}
				for range 2 { // the first look has mended nothing
					i := must[link.Inspection](t)(d.Inspect(port, place, settings))
					if len(c.words) == 0 && len(i.Problems) > 0 {
						t.Errorf("found %q", i.Problems)
					}
					for _, words := range c.words {
						if !strings.Contains(strings.Join(i.Problems, "; "), words) {
							t.Errorf("found %q, want %s", i.Problems, words)
						}
					}
				}
			})
		})
	}
	inHost(t, func() {
		d, _ := open(t)
		place := link.Place{Netns: workload(t, "a"), Ifname: "eth0"}
		must[link.Found](t)(d.Ensure(port, place, settings))
		place.Netns += "-not"
		if i := must[link.Inspection](t)(d.Inspect(port, place, settings)); len(i.Problems) != 1 || !strings.Contains(i.Problems[0], "cannot be opened") {
			t.Errorf("without its namespace: %q", i.Problems)
		}
	})
}

func address(text string) *netlink.Addr {
	a, err := netlink.ParseAddr(text)
	if err != nil {
		panic(err)
	}
	return a
}
