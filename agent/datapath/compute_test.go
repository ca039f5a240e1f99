// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

var (
	here4, here6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	gateway4     = netip.MustParseAddr("10.0.0.1")
	four, six    = netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")
	prefix       = netip.MustParsePrefix("10.0.0.5/32")
	prefix6      = netip.MustParsePrefix("fd00::5/128")
	mac          = [6]byte{2, 0, 0, 0, 0, 5}
)

// rowsOf is a world with one of everything; the other host has these addresses.
func rowsOf(addresses ...netip.Addr) desired.Rows {
	return desired.Rows{
		VRFs:      map[uint32]desired.VRF{7: {ID: 7, VNI: 7, SourcesListed: true}, 8: {ID: 8, VNI: 8}, 9: {ID: 9, VNI: 9, SourcesListed: true}},
		Sources:   map[desired.SourceKey]struct{}{{VNI: 7, Host: "h2"}: {}, {VNI: 7, Host: "unknown"}: {}},
		Endpoints: map[string]desired.Endpoint{"h2": {Host: "h2", Name: "far", Addresses: addresses}},
		Subnets:   map[desired.SubnetKey]desired.Subnet{{VRF: 7, ID: "s4"}: {ID: "s4", DHCP: true}, {VRF: 7, ID: "s6"}: {ID: "s6", Mode: api.ModeSLAAC}},
		Ports: map[string]desired.Port{"p-00000001": {ID: "p-00000001", VRF: 7, MAC: mac, Addresses: []desired.Address{
			{Prefix: netip.MustParsePrefix("fd00::9/64"), Subnet: "s6"}, {Prefix: netip.MustParsePrefix("10.0.0.9/24"), Gateway: gateway4, Subnet: "s4"},
			{Prefix: netip.MustParsePrefix("10.9.0.9/24"), Gateway: netip.MustParseAddr("10.9.0.1")},
		}}},
		Routes: map[desired.RouteKey]desired.Route{
			{VRF: 7, Prefix: prefix}:                               {Host: "h2", VNI: 9, MAC: mac, Routed: true, MTU: 1400},
			{VRF: 7, Prefix: netip.MustParsePrefix("10.0.0.1/32")}: {Gateway: true},
			{VRF: 7, Prefix: prefix6}:                              {Port: "p-00000001", MAC: mac},
		},
		Bad: map[string]string{"route/x": "unreadable"},
	}
}

func TestComputeWorld(t *testing.T) {
	attached := map[string]datapath.Attachment{"p-00000001": {Ifindex: 4, RedirectPeer: true}, "not-bound": {Ifindex: 5}}
	got := datapath.Compute(rowsOf(six, four), attached, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{DNS: 2000, Metadata: 2001})
	tunnel := vrouter.NextHop{Kind: vrouter.NextHopTunnel, VNI: 9, Remote: four, MTU: 1450, Local: here4}
	gateway := vrouter.NextHop{Kind: vrouter.NextHopGateway}
	local := vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: 4}
	want := datapath.Tables{
		TunnelSources: map[uint32][]netip.Addr{7: {four, six}, 9: nil}, // all addresses of the host
		VNIs:          map[uint32]vrouter.VNI{7: {VRF: 7, CheckSources: true}, 8: {VRF: 8}, 9: {VRF: 9, CheckSources: true}},
		PortAddresses: map[int][]netip.Addr{4: {netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.9.0.9"), netip.MustParseAddr("fd00::9")}},
		PortPrefixes:  map[int][]datapath.PortPrefix{4: {{MAC: mac, Prefix: netip.MustParsePrefix("fd00::/64"), Asked: true}}},
		Ports: map[int]vrouter.Port{4: {VRF: 7, ID: 1, MAC: mac, MTU: 1450, RedirectPeer: true, Gateway4: gateway4, DHCP4: true, Advertise: true, Alias: 6,
			Address4: netip.MustParseAddr("10.0.0.9"), Address6: netip.MustParseAddr("fd00::9")}},
		NextHops: map[vrouter.NextHop]struct{}{tunnel: {}, gateway: {}, local: {}},
		Groups:   map[string]datapath.Group{},
		Routes: map[vrouter.RouteKey]datapath.Route{
			{VRF: 7, Prefix: prefix}:                                       {NextHop: tunnel, MAC: mac, Routed: true, MTU: 1400},
			{VRF: 7, Prefix: netip.MustParsePrefix("10.0.0.1/32")}:         {NextHop: gateway},
			{VRF: 7, Prefix: netip.MustParsePrefix("fe80::1/128")}:         {NextHop: gateway}, // where advertisements come from
			{VRF: 7, Prefix: netip.MustParsePrefix("169.254.169.254/32")}:  {NextHop: gateway},
			{VRF: 7, Prefix: netip.MustParsePrefix("fe80::a9fe:a9fe/128")}: {NextHop: gateway},
			{VRF: 7, Prefix: prefix6}:                                      {NextHop: local, MAC: mac},
		},
		Services: map[vrouter.Service]uint16{
			{VRF: 7, Address: gateway4, Protocol: 6, Port: 53}:                         2000,
			{VRF: 7, Address: gateway4, Protocol: 17, Port: 53}:                        2000,
			{VRF: 7, Address: netip.MustParseAddr("10.9.0.1"), Protocol: 6, Port: 53}:  2000,
			{VRF: 7, Address: netip.MustParseAddr("10.9.0.1"), Protocol: 17, Port: 53}: 2000,
			{VRF: 7, Address: datapath.MetadataAddresses[0], Protocol: 6, Port: 80}:    2001,
			{VRF: 7, Address: datapath.MetadataAddresses[1], Protocol: 6, Port: 80}:    2001,
		},
		Aliases:  map[uint32]int{6: 4},
		SubPorts: map[vrouter.SubPort]int{},
		Limits:   map[int]vrouter.Limits{},
		MACs:     map[vrouter.MACKey]vrouter.NextHop{},
		Floods:   map[uint32]datapath.Flood{},
		Problems: map[string]string{
			"route/x": "unreadable", "tunnel-source/7/unknown": "tunnel endpoint of host unknown is not known here",
		},
	}
	if asked := got.Asked; len(asked.Policies)+len(asked.Waiting)+len(asked.Rulesets)+len(asked.Managed) != 0 {
		t.Errorf("ports ask %+v, want nothing", asked)
	}
	got.Asked = datapath.Asked{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("tables\n%+v\nwant\n%+v", got, want)
	}
}

// A tunnel takes the family that both ends have, IPv4 first; without one the
// route is unresolved and says so. A port without interface is only unresolved.
func TestComputeNextHop(t *testing.T) {
	both := datapath.Underlay{IPv4: here4, IPv6: here6, MTU: 1500}
	for _, w := range []struct {
		name    string
		remote  []netip.Addr
		here    datapath.Underlay
		want    netip.Addr
		problem bool
	}{
		{"both have both", []netip.Addr{six, four}, both, four, false},
		{"remote has IPv6", []netip.Addr{six}, both, six, false},
		{"here is IPv6", []netip.Addr{four, six}, datapath.Underlay{IPv6: here6, MTU: 1500}, six, false},
		{"no common family", []netip.Addr{four}, datapath.Underlay{IPv6: here6, MTU: 1500}, netip.Addr{}, true},
	} {
		got := datapath.Compute(rowsOf(w.remote...), nil, w.here, datapath.Local{})
		hop := got.Routes[vrouter.RouteKey{VRF: 7, Prefix: prefix}].NextHop
		_, problem := got.Problems[desired.RouteRow(desired.RouteKey{VRF: 7, Prefix: prefix})]
		if hop.Remote != w.want || problem != w.problem || (hop.Kind == vrouter.NextHopNone) != w.problem {
			t.Errorf("%s: next hop %+v, problem %v", w.name, hop, got.Problems)
		}
		local := got.Routes[vrouter.RouteKey{VRF: 7, Prefix: prefix6}].NextHop
		if local.Kind != vrouter.NextHopNone || len(got.Ports) != 0 || got.Problems["route/7/fd00::5/128"] != "" {
			t.Errorf("%s: route to a port without interface: %+v %v", w.name, local, got.Problems)
		}
	}
}

func TestWorkloadMTU(t *testing.T) {
	for want, u := range map[int]datapath.Underlay{
		1450: {IPv4: here4, MTU: 1500}, 1430: {IPv4: here4, IPv6: here6, MTU: 1500}, 8930: {IPv6: here6, MTU: 9000},
	} {
		if got := u.WorkloadMTU(); got != want {
			t.Errorf("%+v: MTU %d, want %d", u, got, want)
		}
	}
}

// A route to another host takes no more than both underlays and the
// destination's interface do, as far as they are known.
func TestRouteMTU(t *testing.T) {
	for _, c := range []struct {
		what              string
		addresses         []netip.Addr
		underlay, network int
		hop, route        int
	}{
		{"nothing is known", []netip.Addr{four}, 0, 0, 1450, 0},
		{"carries less", []netip.Addr{four}, 1400, 0, 1350, 1350},
		{"carries more", []netip.Addr{four}, 9000, 0, 1450, 8950},
		{"pays for IPv6", []netip.Addr{four, six}, 1500, 0, 1450, 1430},
		{"its network says", []netip.Addr{four}, 1400, 1300, 1350, 1300},
	} {
		key := desired.RouteKey{VRF: 7, Prefix: prefix}
		rows := rowsOf(c.addresses...)
		rows.Endpoints["h2"] = desired.Endpoint{Host: "h2", Addresses: c.addresses, MTU: c.underlay}
		rows.Routes[key] = desired.Route{Host: "h2", VNI: 9, MAC: mac, MTU: c.network}
		got := datapath.Compute(rows, nil, datapath.Underlay{IPv4: here4, IPv6: here6, MTU: 1500}, datapath.Local{})
		if r := got.Routes[vrouter.RouteKey(key)]; r.NextHop.MTU != c.hop || r.MTU != c.route {
			t.Errorf("%s: next hop takes %d, route %d; want %d and %d", c.what, r.NextHop.MTU, r.MTU, c.hop, c.route)
		}
	}
}
