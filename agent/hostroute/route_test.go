// SPDX-License-Identifier: Apache-2.0

package hostroute

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
)

// Workloads here lead to weft0, those of neighbours to their host unless a
// daemon does that, all others nowhere.
func TestWanted(t *testing.T) {
	near, far := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.9")
	key := func(vrf uint32, prefix string) desired.RouteKey {
		return desired.RouteKey{VRF: vrf, Prefix: netip.MustParsePrefix(prefix)}
	}
	rows := desired.Rows{
		VRFs:      map[uint32]desired.VRF{7: {ID: 7, VNI: 7, Fabric: true, HostVisible: true}, 9: {ID: 9, VNI: 9, HostVisible: true}, 10: {ID: 10, VNI: 10}},
		Endpoints: map[string]desired.Endpoint{"near": {Host: "near", Addresses: []netip.Addr{near}}, "far": {Host: "far", Addresses: []netip.Addr{far}}},
		Ports:     map[string]desired.Port{"a": {ID: "a", VRF: 7}, "c": {ID: "c", VRF: 9, MTU: 1400}, "d": {ID: "d", VRF: 10}, "e": {ID: "e", VRF: 7}},
		Routes: map[desired.RouteKey]desired.Route{
			key(7, "10.7.0.2/32"): {Port: "a"}, key(7, "10.7.9.0/24"): {Port: "a"}, key(7, "0.0.0.0/0"): {Port: "a", Routed: true}, key(7, "10.7.0.8/32"): {Port: "e"},
			key(7, "fd07::2/128"): {Port: "a"}, key(9, "10.9.0.2/32"): {Port: "c"}, key(10, "10.10.0.2/32"): {Port: "d"},
			key(7, "10.7.0.3/32"): {Host: "near", VNI: 7}, key(7, "10.7.0.4/32"): {Host: "far", VNI: 7}, key(7, "fd07::3/128"): {Host: "near", VNI: 7},
			key(7, "10.10.0.3/32"): {Host: "near", VNI: 10, Routed: true, Leaked: "policy"}, key(9, "10.9.0.3/32"): {Host: "near", VNI: 9},
			key(9, "10.9.0.80/32"): {Balancer: 9}, key(9, "10.10.0.80/32"): {Balancer: 10, Leaked: "policy"}, key(10, "10.10.0.80/32"): {Balancer: 10},
		},
	}
	attached := map[string]datapath.Attachment{"a": {Ifindex: 11}, "c": {Ifindex: 13}, "d": {Ifindex: 14}} // e is not plugged
	u := datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1500}
	ways := []datapath.Way{way("0.0.0.0/0", 2, 1500, false), way("192.0.2.0/24", 2, 1500, true)}
	here := map[Key]Route{
		{netip.MustParsePrefix("10.7.0.2/32"), LocalMetric}: {Device: 99, Source: u.IPv4, MTU: 1500},
		{netip.MustParsePrefix("10.7.9.0/24"), LocalMetric}: {Device: 99, Source: u.IPv4, MTU: 1500},
		{netip.MustParsePrefix("fd07::2/128"), LocalMetric}: {Device: 99, MTU: 1500},
		{netip.MustParsePrefix("10.9.0.2/32"), LocalMetric}: {Device: 99, Source: u.IPv4, MTU: 1400},
	}
	here[Key{netip.MustParsePrefix("10.9.0.80/32"), LocalMetric}] = Route{Device: 99, Source: u.IPv4, MTU: u.WorkloadMTU()} // a virtual address
	all := maps.Clone(here)
	all[Key{netip.MustParsePrefix("10.7.0.3/32"), RemoteMetric}] = Route{Device: 2, Via: near}
	if got := Wanted(rows, attached, u, ways, 99, true); !maps.Equal(got, all) {
		t.Errorf("got %v\nwant %v", got, all)
	}
	if got := Wanted(rows, attached, u, ways, 99, false); !maps.Equal(got, here) {
		t.Errorf("with a daemon: got %v\nwant %v", got, here)
	}
}
