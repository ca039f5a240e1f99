// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"maps"
	"net/netip"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// fabricRows is a network in the underlay with a workload here, one on a
// neighbour and one far away, and a leaked route; another network in the
// underlay, one that the host sees, and one that is neither.
func fabricRows() desired.Rows {
	port := func(id string, vrf uint32, address string) desired.Port {
		return desired.Port{ID: id, VRF: vrf, MAC: mac, Addresses: []desired.Address{{Prefix: netip.MustParsePrefix(address)}}}
	}
	return desired.Rows{
		VRFs: map[uint32]desired.VRF{
			7: {ID: 7, VNI: 7, Fabric: true, HostVisible: true}, 8: {ID: 8, VNI: 8, Fabric: true, HostVisible: true},
			9: {ID: 9, VNI: 9, HostVisible: true}, 10: {ID: 10, VNI: 10},
		},
		Endpoints: map[string]desired.Endpoint{
			"near": {Host: "near", Name: "near", Addresses: []netip.Addr{four}, MTU: 1600},
			"far":  {Host: "far", Name: "far", Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.9")}},
		},
		Subnets: map[desired.SubnetKey]desired.Subnet{{VRF: 7, ID: "s"}: {ID: "s", Prefix: netip.MustParsePrefix("10.7.0.0/24")}},
		Ports: map[string]desired.Port{
			"a": port("a", 7, "10.7.0.2/24"), "b": port("b", 8, "10.8.0.2/24"), "c": port("c", 9, "10.9.0.2/24"), "d": port("d", 10, "10.7.0.9/24"),
		},
		Routes: map[desired.RouteKey]desired.Route{
			{VRF: 7, Prefix: netip.MustParsePrefix("10.7.0.2/32")}:  {Port: "a", MAC: mac},
			{VRF: 7, Prefix: netip.MustParsePrefix("10.7.0.3/32")}:  {Host: "near", VNI: 7, MAC: mac},
			{VRF: 7, Prefix: netip.MustParsePrefix("10.7.0.4/32")}:  {Host: "far", VNI: 7, MAC: mac},
			{VRF: 7, Prefix: netip.MustParsePrefix("10.10.0.5/32")}: {Host: "near", VNI: 10, MAC: mac, Routed: true, Leaked: "policy"},
			{VRF: 8, Prefix: netip.MustParsePrefix("10.8.0.2/32")}:  {Port: "b", MAC: mac},
			{VRF: 8, Prefix: netip.MustParsePrefix("0.0.0.0/0")}:    {Port: "b", MAC: mac, Routed: true}, // a router of the tenant's own
			{VRF: 9, Prefix: netip.MustParsePrefix("10.9.0.2/32")}:  {Port: "c", MAC: mac},
			{VRF: 9, Prefix: netip.MustParsePrefix("10.9.0.3/32")}:  {Host: "near", VNI: 9, MAC: mac},
			{VRF: 10, Prefix: netip.MustParsePrefix("10.7.0.9/32")}: {Port: "d", MAC: mac},
			{VRF: 10, Prefix: netip.MustParsePrefix("10.7.0.2/32")}: {Port: "a", MAC: mac, Routed: true, Leaked: "policy"},
		},
	}
}

// Of two networks that have a prefix in the underlay the same one has it each time.
func TestEqualPrefixesInTheUnderlay(t *testing.T) {
	rows := fabricRows()
	for vrf, id := range map[uint32]string{8: "b", 9: "c"} {
		rows.Routes[desired.RouteKey{VRF: vrf, Prefix: netip.MustParsePrefix("10.7.0.2/32")}] = desired.Route{Port: id, MAC: mac}
	}
	attached := map[string]datapath.Attachment{"a": {Ifindex: 11}, "b": {Ifindex: 12}, "c": {Ifindex: 13}}
	for range 100 {
		tables := datapath.Compute(rows, attached, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{})
		if r := tables.Routes[vrouter.RouteKey{VRF: vrouter.UnderlayVRF, Prefix: netip.MustParsePrefix("10.7.0.2/32")}]; r.NextHop.Ifindex != 11 {
			t.Fatalf("10.7.0.2 is on interface %d in the underlay, want 11, of the lowest network", r.NextHop.Ifindex)
		}
	}
}

// told are rows of a host that is told besides what its own underlay carries.
func told(t *testing.T, rows desired.Rows, mtu uint32) desired.Rows {
	t.Helper()
	own := &hoststream.TunnelEndpoint{Host: "here", Addresses: [][]byte{here4.AsSlice()}, UnderlayMtu: mtu, Own: true}
	body, err := proto.Marshal(&hoststream.Row{Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: own}})
	if err != nil {
		t.Fatal(err)
	}
	table := desired.New()
	if err := table.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: 1}, Sequence: 1, InSync: true, Put: []*hoststream.EncodedRow{{Key: desired.EndpointRow("here"), Body: body}}}); err != nil {
		t.Fatal(err)
	}
	all := table.Rows
	maps.Copy(all.Endpoints, rows.Endpoints)
	all.VRFs, all.Subnets, all.Ports, all.Routes = rows.VRFs, rows.Subnets, rows.Ports, rows.Routes
	return all
}

// fabricHost is where the ports of fabricRows are plugged, and its routing.
func fabricHost() (map[string]datapath.Attachment, datapath.Local) {
	attached := map[string]datapath.Attachment{"a": {Ifindex: 11}, "b": {Ifindex: 12}, "c": {Ifindex: 13}, "d": {Ifindex: 14}}
	return attached, datapath.Local{
		Own: []netip.Addr{here4},
		Ways: []datapath.Way{
			{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Device: 2, MTU: 1500},
			{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Device: 3, MTU: 9000, OnLink: true},
			{Prefix: netip.MustParsePrefix("203.0.113.0/24")},
		},
	}
}

func uplink(device, mtu int) vrouter.NextHop {
	return vrouter.NextHop{Kind: vrouter.NextHopFabric, Ifindex: device, MTU: mtu}
}

// What a host is told that its underlay carries bounds what it routes there, too.
func TestComputeFabricWithinToldMTU(t *testing.T) {
	attached, local := fabricHost()
	less := datapath.Compute(told(t, fabricRows(), 1400), attached, datapath.Underlay{IPv4: here4, MTU: 1400}, local)
	for prefix, want := range map[string]vrouter.NextHop{
		"0.0.0.0/0": uplink(2, 1400), "203.0.113.0/24": uplink(0, 1400), "10.7.0.3/32": uplink(3, 1400), "192.0.2.1/32": uplink(0, 0),
	} {
		if r := less.Routes[vrouter.RouteKey{VRF: 7, Prefix: netip.MustParsePrefix(prefix)}]; r.NextHop != want {
			t.Errorf("told that its underlay carries 1400, %s by %+v, want %+v", prefix, r.NextHop, want)
		}
	}
}

func TestComputeFabric(t *testing.T) {
	attached, local := fabricHost()
	rows := fabricRows()
	far, other := desired.RouteKey{VRF: 7, Prefix: netip.MustParsePrefix("10.7.0.3/32")}, rows.Ports["b"]
	r := rows.Routes[far]
	r.Workload, other.Identity = 77, 78
	rows.Routes[far], rows.Ports["b"] = r, other
	got := datapath.Compute(rows, attached, datapath.Underlay{IPv4: here4, MTU: 1500}, local)
	port := func(ifindex int) vrouter.NextHop {
		return vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: ifindex}
	}
	gateway := vrouter.MAC(vrouter.GatewayMAC)
	for _, w := range []struct {
		vrf    uint32
		prefix string
		want   datapath.Route
	}{
		{7, "0.0.0.0/0", datapath.Route{NextHop: uplink(2, 1500), MAC: gateway, Routed: true}},
		{7, "192.0.2.0/24", datapath.Route{NextHop: uplink(3, 9000), MAC: gateway, Routed: true}},
		{7, "203.0.113.0/24", datapath.Route{NextHop: uplink(0, 0), MAC: gateway, Routed: true}},
		{7, "192.0.2.1/32", datapath.Route{NextHop: uplink(0, 0), MAC: gateway, Routed: true}}, // the host itself
		{7, "10.7.0.0/24", datapath.Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopDiscard}}},
		{7, "169.254.0.0/16", datapath.Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopDiscard}}}, // aliases of ports
		{7, "10.7.0.2/32", datapath.Route{NextHop: port(11), MAC: mac}},
		{7, "10.7.0.3/32", datapath.Route{NextHop: uplink(3, 9000), MAC: gateway, MTU: 1600, Who: 77}},
		{7, "10.7.0.4/32", datapath.Route{NextHop: uplink(2, 1500), MAC: gateway}},
		{7, "10.10.0.5/32", datapath.Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopTunnel, VNI: 10, Remote: four, MTU: 1450, Local: here4}, MAC: mac, Routed: true, MTU: 1550}},
		{7, "10.8.0.2/32", datapath.Route{NextHop: port(12), MAC: mac, Routed: true, Who: 78}}, // the other network in the underlay
		{8, "0.0.0.0/0", datapath.Route{NextHop: port(12), MAC: mac, Routed: true}},            // was there before
		{8, "10.7.0.2/32", datapath.Route{NextHop: port(11), MAC: mac, Routed: true}},
		{9, "192.0.2.1/32", datapath.Route{NextHop: uplink(0, 0), MAC: gateway, Routed: true}},
		{9, "10.9.0.3/32", datapath.Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopTunnel, VNI: 9, Remote: four, MTU: 1450, Local: here4}, MAC: mac, MTU: 1550}},
		{9, "0.0.0.0/0", datapath.Route{}},
		{10, "0.0.0.0/0", datapath.Route{}},
		{10, "192.0.2.1/32", datapath.Route{}},
		{vrouter.UnderlayVRF, "10.7.0.2/32", datapath.Route{NextHop: port(11), MAC: mac, Fabric: true}},
		{vrouter.UnderlayVRF, "10.8.0.2/32", datapath.Route{NextHop: port(12), MAC: mac, Fabric: true}},
		{vrouter.UnderlayVRF, "10.9.0.2/32", datapath.Route{NextHop: port(13), MAC: mac}},
		{vrouter.UnderlayVRF, "10.7.0.9/32", datapath.Route{}},
		{vrouter.UnderlayVRF, "0.0.0.0/0", datapath.Route{}}, // the tenant's router is not the underlay's
		{vrouter.UnderlayVRF, "10.7.0.3/32", datapath.Route{}},
	} {
		key := vrouter.RouteKey{VRF: w.vrf, Prefix: netip.MustParsePrefix(w.prefix)}
		if r := got.Routes[key]; r != w.want {
			t.Errorf("%d %s: %+v\nwant %+v", w.vrf, w.prefix, r, w.want)
		} else if _, there := got.NextHops[r.NextHop]; r != (datapath.Route{}) && !there {
			t.Errorf("%d %s: its next hop is not wanted", w.vrf, w.prefix)
		}
	}
	for ifindex, mtu := range map[int]int{11: 1500, 12: 1500, 13: 1450, 14: 1450} {
		if got.Ports[ifindex].MTU != mtu {
			t.Errorf("MTU %d on %d, want %d", got.Ports[ifindex].MTU, ifindex, mtu)
		}
	}
}

// Virtual addresses of networks that the host sees lead to who serves them, also for the
// host, and for uplinks where the network is in the underlay; where it is not, members
// here have a way back to the other hosts.
func TestComputeReached(t *testing.T) {
	attached, local := fabricHost()
	rows := fabricRows()
	for vrf, address := range map[uint32]string{7: "10.7.0.80/32", 9: "10.9.0.80/32", 10: "10.10.0.80/32"} {
		rows.Routes[desired.RouteKey{VRF: vrf, Prefix: netip.MustParsePrefix(address)}] = desired.Route{Balancer: vrf, Proxied: true}
	}
	rows.Routes[desired.RouteKey{VRF: 9, Prefix: netip.MustParsePrefix("10.10.0.80/32")}] = desired.Route{Balancer: 10, Leaked: "policy"}
	local.Balances = true
	gateway := vrouter.MAC(vrouter.GatewayMAC)
	balancer := func(vrf uint32) vrouter.NextHop { return vrouter.NextHop{Kind: vrouter.NextHopBalancer, VNI: vrf} }
	got := datapath.Compute(rows, attached, datapath.Underlay{IPv4: here4, MTU: 1500}, local)
	for _, w := range []struct {
		vrf    uint32
		prefix string
		want   datapath.Route
	}{
		{vrouter.UnderlayVRF, "10.7.0.80/32", datapath.Route{NextHop: balancer(7), MAC: gateway, Fabric: true}},
		{vrouter.UnderlayVRF, "10.9.0.80/32", datapath.Route{NextHop: balancer(9), MAC: gateway}},
		{vrouter.UnderlayVRF, "10.10.0.80/32", datapath.Route{}},
		{9, "192.0.2.2/32", datapath.Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopTunnel, VNI: 9, Remote: four, MTU: 1450, Local: here4}, MAC: gateway, Routed: true}},
		{7, "192.0.2.2/32", datapath.Route{}},
		{10, "192.0.2.2/32", datapath.Route{}},
	} {
		key := vrouter.RouteKey{VRF: w.vrf, Prefix: netip.MustParsePrefix(w.prefix)}
		if r := got.Routes[key]; r != w.want {
			t.Errorf("%d %s: %+v\nwant %+v", w.vrf, w.prefix, r, w.want)
		} else if _, there := got.NextHops[r.NextHop]; r != (datapath.Route{}) && !there {
			t.Errorf("%d %s: its next hop is not wanted", w.vrf, w.prefix)
		}
	}
	local.Balances = false
	if r, there := datapath.Compute(rows, attached, datapath.Underlay{IPv4: here4, MTU: 1500}, local).Routes[vrouter.RouteKey{VRF: vrouter.UnderlayVRF, Prefix: netip.MustParsePrefix("10.7.0.80/32")}]; there {
		t.Errorf("a host that serves nobody has %+v", r)
	}
}
