// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
)

// A host may say what it likes: what is kept of it is what its object may hold.
func TestAnnouncementIsBounded(t *testing.T) {
	r := &hoststream.Report{UnderlayMtu: 1500}
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{192, 0, byte(2 + i>>8), byte(i)})
		r.TunnelAddresses = append(r.TunnelAddresses, a.AsSlice(), netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)}).AsSlice())
		r.Encapsulations = append(r.Encapsulations, api.EncapsulationMPLSUDP, fmt.Sprintf("of tomorrow %d", i))
	}
	h := &api.Host{Header: api.Header{Kind: api.KindHost, Meta: api.Meta{UUID: "u", Name: "h1"}}, Status: api.HostStatus{Announced: &api.Underlay{}}}
	now := status.Announced(r)
	if len(now.TunnelAddresses) != 2*api.MaxTunnelAddresses || len(now.Encapsulations) != 1 {
		t.Errorf("kept %d addresses and %d encapsulations", len(now.TunnelAddresses), len(now.Encapsulations))
	}
	f := status.Followed(h, r)
	if f == nil {
		t.Fatal("the object does not follow")
	}
	if p := f.Validate(); len(p) > 0 {
		t.Errorf("the object would not be stored: %v", p)
	}
}

// What is set by hand stays, and each other field goes on following: a host
// whose MTU or encapsulations were set by hand still loses a dead uplink's
// address. The status may be written before the spec.
func TestEachFieldFollowsByItself(t *testing.T) {
	one, two, hand := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.7")
	for by := range 8 { // the bits are what is set by hand
		s := newSystem(t, "host h1 192.0.2.1 198.51.100.1 mtu=1500 can=vxlan,mplsudp")
		h := s.Get(api.KindHost, h1).(*api.Host)
		report := func(mtu uint32, encapsulations []string, addresses ...netip.Addr) (r *hoststream.Report) {
			r = &hoststream.Report{UnderlayMtu: mtu, Encapsulations: encapsulations}
			for _, a := range addresses {
				r.TunnelAddresses = append(r.TunnelAddresses, a.AsSlice())
			}
			s.host("h1", func(h *stream.HostState) { connect(h); h.Report = r })
			s.round()
			return r
		}
		report(1500, []string{"vxlan", "mplsudp"}, one, two)
		want := api.HostSpec{TunnelAddresses: []netip.Addr{one}, UnderlayMTU: 9000, Encapsulations: []string{"vxlan"}}
		if by&1 != 0 {
			h.Spec.TunnelAddresses = []netip.Addr{hand}
			want.TunnelAddresses = h.Spec.TunnelAddresses
		}
		if by&2 != 0 {
			h.Spec.UnderlayMTU, want.UnderlayMTU = 1400, 1400
		}
		if by&4 != 0 {
			h.Spec.Encapsulations = []string{"mplsudp"}
			want.Encapsulations = h.Spec.Encapsulations
		}
		now := report(9000, []string{"vxlan"}, one)
		if f := status.Followed(h, now); f != nil {
			h.Spec = f.Spec
		}
		if !reflect.DeepEqual(h.Spec, want) {
			t.Errorf("set by hand %03b: the spec says %+v, want %+v", by, h.Spec, want)
		}
		s.round()
		if got, all := h.Status.Announced, status.Announced(now); !reflect.DeepEqual(got, all) || status.Followed(h, now) != nil {
			t.Errorf("set by hand %03b: the status says %+v, want %+v, and the spec is to follow no more", by, got, all)
		}
	}
}
