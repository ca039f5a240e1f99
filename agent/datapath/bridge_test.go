// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// bridged is a network with a port here, one with an address on another host,
// one without an address there, and a leaked route.
func bridged(forwarding string, flooding bool) desired.Rows {
	rows := rowsOf(four)
	rows.VRFs[7] = desired.VRF{ID: 7, VNI: 7, Forwarding: forwarding, Flooding: flooding}
	rows.Routes = map[desired.RouteKey]desired.Route{
		{VRF: 7, Prefix: prefix6}:                              {Host: "h2", VNI: 7, MAC: [6]byte{2, 0, 0, 0, 0, 6}},
		{VRF: 7, Prefix: prefix}:                               {Host: "h2", VNI: 9, MAC: [6]byte{2, 0, 0, 0, 0, 7}, Routed: true, Leaked: "policy"},
		{VRF: 7, Prefix: netip.MustParsePrefix("10.0.0.1/32")}: {Gateway: true},
	}
	rows.MACs = map[desired.MACKey]desired.MAC{{VRF: 7, MAC: [6]byte{2, 0, 0, 0, 0, 8}}: {Port: "p8", Host: "h2"}}
	rows.Bad = nil
	return rows
}

// MACs of a network follow from its ports, its own routes and rows of their
// own; who gets floods from the same.
func TestComputeBridging(t *testing.T) {
	here := vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: 4}
	there := vrouter.NextHop{Kind: vrouter.NextHopTunnel, VNI: 7, Remote: four, MTU: 1450, Local: here4}
	macs := map[vrouter.MACKey]vrouter.NextHop{{VRF: 7, MAC: mac}: here, {VRF: 7, MAC: vrouter.MAC{2, 0, 0, 0, 0, 6}}: there, {VRF: 7, MAC: vrouter.MAC{2, 0, 0, 0, 0, 8}}: there}
	for _, w := range []struct {
		forwarding string
		flooding   bool
		macs       map[vrouter.MACKey]vrouter.NextHop
		floods     map[uint32]datapath.Flood
	}{
		{"l2-l3", true, macs, map[uint32]datapath.Flood{7: {Hops: []vrouter.NextHop{here, there}}}},
		{"l2", true, macs, map[uint32]datapath.Flood{7: {Hops: []vrouter.NextHop{here, there}}}},
		{"l2", false, macs, map[uint32]datapath.Flood{}},
		{"l3", true, map[vrouter.MACKey]vrouter.NextHop{}, map[uint32]datapath.Flood{}},
		{"", true, map[vrouter.MACKey]vrouter.NextHop{}, map[uint32]datapath.Flood{}}, // of an older controller
	} {
		attached := map[string]datapath.Attachment{"p-00000001": {Ifindex: 4}}
		got := datapath.Compute(bridged(w.forwarding, w.flooding), attached, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{Metadata: 9})
		if !reflect.DeepEqual(got.MACs, w.macs) || !reflect.DeepEqual(got.Floods, w.floods) {
			t.Errorf("%q flooding %v: MACs %v, floods %v", w.forwarding, w.flooding, got.MACs, got.Floods)
		}
		bridge, frames := w.forwarding != "l3" && w.forwarding != "", w.forwarding == "l2"
		if p, v := got.Ports[4], got.VNIs[7]; p.Bridge != bridge || p.Frames != frames || v.Bridge != bridge || v.Frames != frames {
			t.Errorf("%q: port %+v, VNI %+v", w.forwarding, p, v)
		}
		if own := len(got.Services) > 0; own == frames {
			t.Errorf("%q: services %v", w.forwarding, got.Services)
		}
	}
}

// A workload that is not plugged keeps its MAC, so that nobody else is taken for it.
func TestComputeMACOfPortWithoutInterface(t *testing.T) {
	got := datapath.Compute(bridged("l2-l3", true), nil, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{})
	if hop, known := got.MACs[vrouter.MACKey{VRF: 7, MAC: mac}]; !known || hop != (vrouter.NextHop{}) || len(got.Floods[7].Hops) != 1 {
		t.Errorf("MAC at %+v (known: %v), floods %v", hop, known, got.Floods)
	}
}

// The list of receivers is bounded; ports come before other hosts.
func TestComputeBoundsReceivers(t *testing.T) {
	rows := bridged("l2", true)
	attached := map[string]datapath.Attachment{}
	for n := range vrouter.FloodReceivers + 3 {
		id := fmt.Sprint("p", n)
		rows.Ports[id] = desired.Port{ID: id, VRF: 7, MAC: [6]byte{2, 1, 0, 0, byte(n >> 8), byte(n)}}
		attached[id] = datapath.Attachment{Ifindex: 10 + n}
	}
	f := datapath.Compute(rows, attached, datapath.Underlay{IPv4: here4, MTU: 1500}, datapath.Local{}).Floods[7]
	if len(f.Hops) != vrouter.FloodReceivers || f.LeftOut != 4 || f.Hops[len(f.Hops)-1].Kind != vrouter.NextHopPort {
		t.Errorf("%d receivers, %d left out, the last %+v", len(f.Hops), f.LeftOut, f.Hops[len(f.Hops)-1])
	}
}

// Receivers that find no room are left out of the list, which says so: each
// flooded frame is counted for it.
func TestReceiversThatFindNoRoom(t *testing.T) {
	m, want := datapath.NewMemoryKernel(nil), datapath.Tables{NextHops: map[vrouter.NextHop]struct{}{}}
	m.Receivers.Size = 3
	var hops []vrouter.NextHop
	for n := range 5 {
		hop := vrouter.NextHop{Kind: vrouter.NextHopPort, Ifindex: 10 + n}
		hops, want.NextHops[hop] = append(hops, hop), struct{}{}
	}
	want.Floods = map[uint32]datapath.Flood{7: {Hops: hops, LeftOut: 4}}
	program(t, m, want)
	if f := m.Floods.Rows[7]; len(m.Receivers.Rows) != 3 || f.LeftOut != 4+2 {
		t.Errorf("%d receivers, and the list says %+v", len(m.Receivers.Rows), f)
	}
}
