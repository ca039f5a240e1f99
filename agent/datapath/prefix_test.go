// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
)

// What lies behind a port and in a pair of the port's MAC too is the pair's; a
// pair of another MAC, or a longer one, leaves it as it is.
func TestComputePrefixes(t *testing.T) {
	p := netip.MustParsePrefix
	other := [6]byte{2, 9}
	pair := func(r netip.Prefix, mac [6]byte) desired.Pair { return desired.Pair{Range: r, MAC: mac} }
	rows := rowsOf(four)
	port := rows.Ports["p-00000001"]
	port.Sources = []netip.Prefix{p("10.5.0.0/24"), p("10.6.0.0/24"), p("10.7.0.0/24"), p("10.8.0.0/24"), p("::/0")}
	port.Pairs = []desired.Pair{pair(p("10.5.0.0/16"), mac), pair(p("10.6.0.0/24"), mac), pair(p("10.7.0.0/25"), mac), pair(p("10.8.0.0/24"), other), pair(p("10.6.0.0/24"), mac)}
	rows.Ports["p-00000001"] = port
	got := datapath.Compute(rows, map[string]datapath.Attachment{"p-00000001": {Ifindex: 4}}, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{}).PortPrefixes[4]
	want := []datapath.PortPrefix{
		{MAC: mac, Prefix: p("10.5.0.0/16"), Behind: false}, {MAC: mac, Prefix: p("10.6.0.0/24"), Behind: false}, {MAC: mac, Prefix: p("10.7.0.0/24"), Behind: true}, {MAC: mac, Prefix: p("10.7.0.0/25"), Behind: false},
		{MAC: mac, Prefix: p("10.8.0.0/24"), Behind: true}, {MAC: mac, Prefix: p("::/0"), Behind: true}, {MAC: mac, Prefix: p("fd00::/64"), Asked: true}, {MAC: other, Prefix: p("10.8.0.0/24"), Behind: false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("prefixes\n%v\nwant\n%v", got, want)
	}
}
