// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
)

// What the agent answers for a port follows from the subnets it has addresses in.
func TestAnswersFollowFromSubnets(t *testing.T) {
	six := netip.MustParsePrefix("fd00::9/64")
	for mode, want := range map[api.AddressMode][2]bool{ // DHCPv6, advertisements
		api.ModeStateful: {true, true}, api.ModeStateless: {true, true}, api.ModeSLAAC: {false, true}, api.ModeNone: {}, "": {},
	} {
		rows := desired.Rows{
			Subnets: map[desired.SubnetKey]desired.Subnet{{VRF: 1, ID: "s"}: {ID: "s", Mode: mode}},
			Ports:   map[string]desired.Port{"p": {ID: "p", VRF: 1, Addresses: []desired.Address{{Prefix: six, Subnet: "s"}}}},
		}
		p := datapath.Compute(rows, map[string]datapath.Attachment{"p": {Ifindex: 3}}, datapath.Underlay{}, datapath.Local{}).Ports[3]
		if p.DHCP4 || p.DHCP6 != want[0] || p.Advertise != want[1] {
			t.Errorf("mode %q: %+v", mode, p)
		}
	}
}
