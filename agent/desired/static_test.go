// SPDX-License-Identifier: Apache-2.0

package desired_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

// What lies behind a port and what is dropped on purpose is read in both
// families; a prefix with host bits, or longer than its address, makes the row bad.
func TestStaticRoutesAreRead(t *testing.T) {
	discard := func(key string, address []byte, length uint32) *hoststream.EncodedRow {
		return row(t, key, &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{
			Vrf: 5, PrefixAddress: address, PrefixLength: length, Routed: true, NextHop: &hoststream.Route_Discard{Discard: &hoststream.Discard{}},
		}}})
	}
	port := func(name string, sources ...*hoststream.Prefix) *hoststream.EncodedRow {
		return row(t, "port/"+name, &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: name, Vrf: 5, Mac: make([]byte, 6), Sources: sources}}})
	}
	six := netip.MustParseAddr("2001:db8::").AsSlice()
	table := desired.New()
	if err := table.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: 1}, Sequence: 1, Put: []*hoststream.EncodedRow{
		port("p", &hoststream.Prefix{Address: []byte{192, 168, 0, 0}, Length: 16}, &hoststream.Prefix{Address: six, Length: 48}),
		port("host-bits", &hoststream.Prefix{Address: []byte{192, 168, 0, 1}, Length: 16}),
		port("too-long", &hoststream.Prefix{Address: []byte{192, 168, 0, 0}, Length: 33}),
		discard("route/5/10.66.0.0/16", []byte{10, 66, 0, 0}, 16),
		discard("route/5/2001:db8::/32", six, 32),
		discard("route/5/0.0.0.0/99", []byte{0, 0, 0, 0}, 99),
	}}); err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("2001:db8::/48")}
	if got := table.Ports["p"].Sources; !slices.Equal(got, want) {
		t.Errorf("sources: %v, want %v", got, want)
	}
	for _, prefix := range []string{"10.66.0.0/16", "2001:db8::/32"} {
		if r, ok := table.Routes[desired.RouteKey{VRF: 5, Prefix: netip.MustParsePrefix(prefix)}]; !ok || !r.Discard || !r.Routed {
			t.Errorf("%s: %+v, %t", prefix, r, ok)
		}
	}
	if len(table.Bad) != 3 || len(table.Ports) != 1 || len(table.Routes) != 2 {
		t.Errorf("bad rows: %v; ports %v; routes %v", table.Bad, table.Ports, table.Routes)
	}
}
