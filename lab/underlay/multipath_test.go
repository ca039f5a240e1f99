// SPDX-License-Identifier: Apache-2.0

package underlay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// loopbackOf is a host's only tunnel address, which is on no cable.
func loopbackOf(host int, family topology.Family) netip.Addr {
	if family == topology.IPv6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:ff::%d", host))
	}
	return netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", host))
}

// wirePairs joins both hosts by a cable on each side, and leads to the other's
// address by both.
func wirePairs(l *topology.Lab, family topology.Family) error {
	ns := [2]string{l.Namespace("h1"), l.Namespace("h2")}
	for i := range ns {
		for _, version := range []string{"ipv4", "ipv6"} { // cables made later have it from "default"
			for _, of := range []string{"all", "default"} {
				if err := namespace.Sysctl(ns[i], version+"/conf/"+of+"/ignore_routes_with_linkdown", "1"); err != nil {
					return err
				}
			}
		}
		if err := namespace.Sysctl(ns[i], "ipv6/conf/all/keep_addr_on_down", "1"); err != nil {
			return err
		}
		own := loopbackOf(i+1, family)
		if err := namespace.AddAddress(ns[i], "lo", netip.PrefixFrom(own, own.BitLen())); err != nil {
			return err
		}
		l.UseAgent(i+1, topology.AgentBuild{Arguments: []string{"--tunnel-address", own.String()}})
	}
	for side, name := range sides {
		end := func(i int) namespace.End {
			return namespace.End{Namespace: ns[i], Name: name, GRO: true, Addresses: []netip.Prefix{at(i+1, side, family)}}
		}
		if err := namespace.Veth(end(0), end(1), l.UnderlayMTU); err != nil {
			return err
		}
	}
	for i := range ns {
		if err := multipath(ns[i], loopbackOf(i+1, family), loopbackOf(2-i, family), at(2-i, 0, family).Addr(), at(2-i, 1, family).Addr()); err != nil {
			return err
		}
	}
	return nil
}

// multipath leads to an address by one gateway on each side.
func multipath(ns string, own, to netip.Addr, gateways ...netip.Addr) error {
	h, err := namespace.Netlink(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	dst, err := netlink.ParseIPNet(netip.PrefixFrom(to, to.BitLen()).String())
	if err != nil {
		return err
	}
	r := &netlink.Route{Dst: dst, Src: own.AsSlice()}
	for side, gateway := range gateways {
		link, err := h.LinkByName(sides[side])
		if err != nil {
			return err
		}
		r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()})
	}
	return h.RouteAdd(r)
}

// A host whose one tunnel address is on loopback, behind two uplinks by the
// kernel's own multipath, goes on by the one that is left.
func TestMultipathUplinkLost(t *testing.T) {
	for _, family := range []topology.Family{topology.IPv4, topology.IPv6} {
		for _, by := range []string{api.EncapsulationVXLAN, api.EncapsulationMPLSUDP} {
			t.Run(by+" over "+string(family), func(t *testing.T) {
				s := start(t, "p"+by[:1]+string(family)[3:], topology.Elsewhere, func(l *topology.Lab) { must(t, wirePairs(l, family)) })
				s.network(t, fmt.Sprintf(`{kind: network, meta: {name: blue, parent: "d:p"}, spec: {encapsulation: [%s]}}`, by))
				for i, to := range w2 {
					s.reaches(t, "w1", to)
					s.reaches(t, "w2", w1[i])
				}
				f := s.flows(t)
				for _, name := range sides {
					began := time.Now()
					s.link(t, "h2", name, (*netlink.Handle).LinkSetDown)
					f.goOn(t, name+" is lost", began, othersLeft)
					began = time.Now()
					s.link(t, "h2", name, (*netlink.Handle).LinkSetUp)
					must(t, namespace.WaitUp(s.lab.Namespace("h1"), name))
					f.goOn(t, name+" is back", began, othersLeft)
				}
			})
		}
	}
}
