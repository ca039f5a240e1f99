// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api/hoststream"
)

func placeIn(ns string) link.Place { return link.Place{Netns: nsPath(ns)} }

// portID is the UUID of a workload's port: number n of a network.
func portID(vrf uint32, n int) string {
	return fmt.Sprintf("00000000-0000-4000-8000-%06d0000%02d", vrf, n)
}

func portName(vrf uint32, n int) string { return fmt.Sprintf("d:p:net%d-%d", vrf, n) }

func hostID(i int) string { return fmt.Sprintf("00000000-0000-4000-9000-00000000000%d", i) }

func macOf(n int) []byte { return []byte{2, 0, 0, 0, 0, byte(n)} }

// Workloads 10 and 12 are on the first host, 11 on the second.
var placed = map[int]int{10: 0, 11: 1, 12: 0}

func ips(n int) [2]netip.Addr {
	return [2]netip.Addr{
		netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}),
		netip.MustParseAddr(fmt.Sprintf("fd00:a::%d", n)),
	}
}

// network returns the rows of both hosts for a network with three workloads.
// All networks have the same addresses.
func network(vrf uint32, tunnel [2]netip.Prefix) (rows [2]map[string]*hoststream.Row) {
	for host := range rows {
		rows[host] = map[string]*hoststream.Row{
			desired.VRFRow(vrf): {Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: vrf, Vni: vrf, NetworkName: fmt.Sprintf("d:p:net%d", vrf)}}},
		}
		for i := range rows {
			rows[host][desired.EndpointRow(hostID(i))] = &hoststream.Row{Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: &hoststream.TunnelEndpoint{
				Host: hostID(i), HostName: fmt.Sprintf("h%d", i), Addresses: [][]byte{tunnel[i].Addr().AsSlice()},
			}}}
		}
		for _, g := range ips(1) {
			put(rows[host], route(vrf, g, &hoststream.Route{NextHop: &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}}))
		}
		for n, at := range placed {
			addWorkload(rows[host], vrf, n, at, host)
		}
	}
	return rows
}

func addWorkload(rows map[string]*hoststream.Row, vrf uint32, n, at, host int) {
	port := &hoststream.Port{Port: portID(vrf, n), PortName: portName(vrf, n), Vrf: vrf, Mac: macOf(n)}
	gateways := ips(1)
	for i, ip := range ips(n) {
		length := []uint32{24, 64}[i]
		port.Addresses = append(port.Addresses, &hoststream.PortAddress{Ip: ip.AsSlice(), PrefixLength: length, Gateway: gateways[i].AsSlice()})
		r := &hoststream.Route{Mac: macOf(n), NextHop: &hoststream.Route_Port{Port: port.Port}}
		if at != host {
			r.NextHop = &hoststream.Route_Remote{Remote: &hoststream.Remote{Host: hostID(at), Vni: vrf}}
		}
		put(rows, route(vrf, ip, r))
	}
	if at == host {
		rows[desired.PortRow(port.Port)] = &hoststream.Row{Body: &hoststream.Row_Port{Port: port}}
	}
}

func route(vrf uint32, ip netip.Addr, r *hoststream.Route) *hoststream.Route {
	r.Vrf, r.PrefixAddress, r.PrefixLength = vrf, ip.AsSlice(), uint32(ip.BitLen())
	return r
}

func put(rows map[string]*hoststream.Row, r *hoststream.Route) {
	ip, _ := netip.AddrFromSlice(r.PrefixAddress)
	key := desired.RouteRow(desired.RouteKey{VRF: r.Vrf, Prefix: netip.PrefixFrom(ip, int(r.PrefixLength))})
	rows[key] = &hoststream.Row{Body: &hoststream.Row_Route{Route: r}}
}
