// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

var routeKey = desired.RouteKey{VRF: 7, Prefix: prefix}

// hopOf computes the next hop of a route to the other host.
func hopOf(t *testing.T, u datapath.Underlay, e desired.Endpoint, r desired.Route) (vrouter.NextHop, string) {
	t.Helper()
	rows := rowsOf()
	rows.Endpoints["h2"] = e
	rows.Routes[routeKey] = r
	got := datapath.Compute(rows, nil, u, datapath.Local{})
	return got.Routes[vrouter.RouteKey(routeKey)].NextHop, got.Problems[desired.RouteRow(routeKey)]
}

// The first of the network's list that both hosts can do is used; without one
// frames are dropped for that reason, and it is said.
func TestEncapsulationOfAPair(t *testing.T) {
	both, mpls, unavailable := "vxlan mplsudp", vrouter.EncapsulationMPLSUDP, vrouter.EncapsulationUnavailable
	for _, c := range []struct {
		network, here, there string
		want                 vrouter.Encapsulation
		mtu                  int
	}{
		{"", both, both, vrouter.EncapsulationVXLAN, 1450},
		{"mplsudp vxlan", both, both, mpls, 1468},
		{"vxlan mplsudp", both, both, vrouter.EncapsulationVXLAN, 1450},
		{"mplsudp vxlan", both, "", vrouter.EncapsulationVXLAN, 1450}, // an older agent
		{"mplsudp vxlan", "", both, vrouter.EncapsulationVXLAN, 1450},
		{"mplsudp", both, "vxlan", unavailable, 0},
		{"mplsgre", both, both, unavailable, 0},
	} {
		u := datapath.Underlay{IPv4: here4, MTU: 1500, Encapsulations: strings.Fields(c.here),
			Paths: func(netip.Addr) (datapath.Path, bool) {
				return datapath.Path{Uplink: 9, Source: here4, Live: true}, true
			}}
		e := desired.Endpoint{Host: "h2", Addresses: []netip.Addr{four}, Encapsulations: strings.Fields(c.there)}
		hop, problem := hopOf(t, u, e, desired.Route{Host: "h2", VNI: 100, Encapsulations: c.network})
		if hop.Kind != vrouter.NextHopTunnel || hop.Encapsulation != c.want || hop.MTU != c.mtu || (problem != "") != (c.want == unavailable) {
			t.Errorf("%+v: next hop %+v, problem %q", c, hop, problem)
		}
		if c.want == mpls && (hop.Ifindex != 9 || hop.Local != here4 || hop.VNI != 100) {
			t.Errorf("%+v: next hop %+v", c, hop)
		}
	}
}

// A gateway outside may answer into the VRF, and neighbours are sent to the router.
func TestRouteToAGatewayOutside(t *testing.T) {
	rows := rowsOf(four)
	rows.VRFs[7] = desired.VRF{ID: 7, VNI: 7, SourcesListed: true, Labelled: true}
	rows.Routes[routeKey] = desired.Route{Outside: desired.Outside{Address: six, Encapsulation: "mplsudp", Label: 17}}
	u := datapath.Underlay{IPv4: here4, IPv6: here6, MTU: 1500, Encapsulations: []string{"mplsudp"}}
	got := datapath.Compute(rows, nil, u, datapath.Local{})
	r := got.Routes[vrouter.RouteKey(routeKey)]
	want := vrouter.NextHop{Kind: vrouter.NextHopTunnel, VNI: 17, Remote: six, MTU: 1448, Encapsulation: vrouter.EncapsulationMPLSUDP, Local: here6}
	if r.NextHop != want || r.MAC != vrouter.GatewayMAC {
		t.Errorf("route %+v, want next hop %+v", r, want)
	}
	if !slices.Contains(got.TunnelSources[7], six) || !got.VNIs[7].Label {
		t.Errorf("sources %v, VNI %+v", got.TunnelSources[7], got.VNIs[7])
	}
	u.IPv6 = netip.Addr{}
	got = datapath.Compute(rows, nil, u, datapath.Local{})
	if got.Problems[desired.RouteRow(routeKey)] == "" {
		t.Error("a gateway of a family that the host has not is no problem")
	}
}

// Routes are spread over the addresses of the other host that are reached
// through a live interface, and go on from the address on the way there.
func TestSeveralTunnelAddresses(t *testing.T) {
	remotes := []netip.Addr{four, netip.MustParseAddr("198.51.100.2")}
	locals := []netip.Addr{here4, netip.MustParseAddr("198.51.100.1")}
	dead := map[netip.Addr]bool{}
	u := datapath.Underlay{IPv4: locals[0], Further: locals[1:], MTU: 1500, Paths: func(a netip.Addr) (datapath.Path, bool) {
		i := slices.Index(remotes, a)
		return datapath.Path{Uplink: i + 1, Source: locals[i], Live: !dead[a]}, true
	}}
	count := func() map[[2]netip.Addr]int {
		rows := rowsOf(remotes...)
		for i := range 200 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(i)}), 32)
			rows.Routes[desired.RouteKey{VRF: 7, Prefix: p}] = desired.Route{Host: "h2", VNI: 9}
		}
		used := map[[2]netip.Addr]int{}
		for _, r := range datapath.Compute(rows, nil, u, datapath.Local{}).Routes {
			if r.NextHop.Kind == vrouter.NextHopTunnel {
				used[[2]netip.Addr{r.NextHop.Local, r.NextHop.Remote}]++
			}
		}
		return used
	}
	used := count()
	for i := range remotes {
		if n := used[[2]netip.Addr{locals[i], remotes[i]}]; n < 60 || len(used) != 2 {
			t.Errorf("%d routes lead from %v to %v: %v", n, locals[i], remotes[i], used)
		}
	}
	dead[remotes[0]] = true
	if used = count(); used[[2]netip.Addr{locals[1], remotes[1]}] < 200 || len(used) != 1 {
		t.Errorf("with one way dead: %v", used)
	}
	dead[remotes[1]] = true
	if used = count(); len(used) != 2 {
		t.Errorf("with all ways dead, all are tried: %v", used)
	}
}
