// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/status"
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
