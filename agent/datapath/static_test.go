// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// A route that discards is a next hop of its own: it is not a problem, and its
// drops are counted apart from those of what is not resolved yet.
func TestComputeDiscard(t *testing.T) {
	rows := rowsOf(four)
	nowhere := netip.MustParsePrefix("10.66.0.0/16")
	rows.Routes[desired.RouteKey{VRF: 7, Prefix: nowhere}] = desired.Route{Discard: true, Routed: true}
	got := datapath.Compute(rows, nil, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{})
	want := vrouter.NextHop{Kind: vrouter.NextHopDiscard}
	if r := got.Routes[vrouter.RouteKey{VRF: 7, Prefix: nowhere}]; r.NextHop != want || !r.Routed {
		t.Errorf("route: %+v", r)
	}
	if _, ok := got.NextHops[want]; !ok || got.Problems["route/7/10.66.0.0/16"] != "" {
		t.Errorf("next hops %v, problems %v", got.NextHops, got.Problems)
	}
}
