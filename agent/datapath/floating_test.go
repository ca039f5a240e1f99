// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// A floating address of a port here has nobody behind it while nothing maps it:
// what is for it follows no shorter route, and is never the workload's untranslated.
func TestFloatingAddressesAreNotMapped(t *testing.T) {
	for _, internal := range []string{"10.0.0.5", "2001:db8::5"} {
		floating := map[bool]netip.Addr{true: netip.MustParseAddr("198.51.100.9"), false: netip.MustParseAddr("2001:db8:f::9")}[netip.MustParseAddr(internal).Is4()]
		table := desired.New()
		row := &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{
			Vrf: 7, PrefixAddress: floating.AsSlice(), PrefixLength: uint32(floating.BitLen()), Mac: []byte{2, 0, 0, 0, 0, 1}, Proxied: true,
			NextHop: &hoststream.Route_Mapped{Mapped: &hoststream.Mapped{Port: "p", Internal: netip.MustParseAddr(internal).AsSlice()}},
		}}}
		of := desired.RouteKey{VRF: 7, Prefix: netip.PrefixFrom(floating, floating.BitLen())}
		key := desired.RouteRow(of)
		put := func() string {
			body, err := proto.Marshal(row)
			if err == nil {
				err = table.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1}, Put: []*hoststream.EncodedRow{{Key: key, Body: body}}})
			}
			if err != nil {
				t.Fatal(err)
			}
			return table.Bad[key]
		}
		if why := put(); why != "" {
			t.Fatal(why)
		}
		if got, want := table.Routes[of].Mapped, (desired.Mapped{Port: "p", Internal: netip.MustParseAddr(internal)}); got != want {
			t.Errorf("the row says %+v, want %+v", got, want)
		}
		tables := datapath.Compute(table.Rows, nil, datapath.Underlay{MTU: 1500}, datapath.Local{Balances: true})
		r, there := tables.Routes[vrouter.RouteKey{VRF: of.VRF, Prefix: of.Prefix}]
		if problem := tables.Problems[key]; !there || r.NextHop.Kind != vrouter.NextHopNone || problem != "" {
			t.Errorf("%v leads to %+v (there %t), problem %q", floating, r.NextHop, there, problem)
		}
		// The address of another family is no floating address's.
		row.GetRoute().GetMapped().Internal = netip.MustParseAddr(map[bool]string{true: "::1", false: "10.0.0.1"}[floating.Is4()]).AsSlice()
		if why := put(); why == "" {
			t.Errorf("a row that maps %v to another family was taken", floating)
		}
	}
}
