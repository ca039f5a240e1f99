// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// A shared address has nobody behind it while nothing translates for it; and what
// gives a port to two hosts, or part of a block, is not taken.
func TestSharedAddressesAreNotTranslated(t *testing.T) {
	for _, address := range []string{"198.51.100.9", "2001:db8:f::9"} {
		ip := netip.MustParseAddr(address)
		table := desired.New()
		of := desired.RouteKey{VRF: 7, Prefix: netip.PrefixFrom(ip, ip.BitLen())}
		key := desired.RouteRow(of)
		put := func(blocks ...*hoststream.PortBlock) string {
			body, err := proto.Marshal(&hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{
				Vrf: 7, PrefixAddress: ip.AsSlice(), PrefixLength: uint32(ip.BitLen()), Proxied: true,
				NextHop: &hoststream.Route_Shared{Shared: &hoststream.Shared{Inside: 8, External: 7, Blocks: blocks}},
			}}})
			if err == nil {
				err = table.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1}, Put: []*hoststream.EncodedRow{{Key: key, Body: body}}})
			}
			if err != nil {
				t.Fatal(err)
			}
			return table.Bad[key]
		}
		block := func(first, last uint32, host string) *hoststream.PortBlock {
			return &hoststream.PortBlock{First: first, Last: last, Host: host}
		}
		for name, blocks := range map[string][]*hoststream.PortBlock{
			"one port of two hosts": {block(1024, 2047, "a"), block(1984, 2111, "b")},
			"not in order":          {block(2048, 2111, "a"), block(1024, 1087, "b")},
			"half a block":          {block(1024, 1055, "a")},
			"of the well-known":     {block(960, 1023, "a")},
			"beyond the last":       {block(65472, 65599, "a")},
			"of nobody":             {block(1024, 1087, "")},
		} {
			if why := put(blocks...); why == "" {
				t.Errorf("%s was taken", name)
			}
		}
		if why := put(block(1024, 2047, "a"), &hoststream.PortBlock{First: 65472, Last: 65535, Host: "b", Releasing: true}); why != "" {
			t.Fatal(why)
		}
		want := desired.Shared{Inside: 8, External: 7, Blocks: []desired.Block{{First: 1024, Last: 2047, Host: "a"}, {First: 65472, Last: 65535, Host: "b", Releasing: true}}}
		if got := table.Routes[of].Shared; !reflect.DeepEqual(got, want) {
			t.Errorf("the row says %+v, want %+v", got, want)
		}
		tables := datapath.Compute(table.Rows, nil, datapath.Underlay{MTU: 1500}, datapath.Local{Balances: true})
		r, there := tables.Routes[vrouter.RouteKey{VRF: of.VRF, Prefix: of.Prefix}]
		if problem := tables.Problems[key]; !there || r.NextHop.Kind != vrouter.NextHopNone || problem != "" {
			t.Errorf("%v leads to %+v (there %t), problem %q", ip, r.NextHop, there, problem)
		}
	}
}
