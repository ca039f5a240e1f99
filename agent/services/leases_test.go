// SPDX-License-Identifier: Apache-2.0

package services

import (
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/weft-network/weft/agent/dhcp4"
	"github.com/weft-network/weft/agent/frame"
)

var leased = Facts{
	Ifindex: 3, Port: "a", MAC: [6]byte{2, 0, 0, 0, 0, 5},
	DHCP4: dhcp4.Facts{MAC: [6]byte{2, 0, 0, 0, 0, 5}, Server: netip.MustParseAddr("10.0.0.1"),
		Leases: []dhcp4.Lease{{Prefix: netip.MustParsePrefix("10.0.0.5/24"), Time: time.Hour}}},
}

// asking is a DHCP request in its frame.
func asking(t testing.TB, kind dhcpv4.MessageType, change ...dhcpv4.Modifier) []byte {
	t.Helper()
	q, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(leased.MAC[:])}, change...)...)
	if err != nil {
		t.Fatal(err)
	}
	return frame.Packet{
		Source: leased.MAC, Destination: broadcastMAC, UDP: true, From: netip.IPv4Unspecified(), To: netip.MustParseAddr("255.255.255.255"),
		SourcePort: dhcp4.ClientPort, DestinationPort: dhcp4.ServerPort, Payload: q.ToBytes(),
	}.Build()
}

// A row of leases says what the workload asked last and what it has, until the
// port is another's or not here.
func TestLeasesFollowWhatIsSaid(t *testing.T) {
	var l leases
	now := time.Unix(1000, 0)
	wish := func(ip string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(netip.MustParseAddr(ip).AsSlice()))
	}
	other := leased
	other.Port = "b"
	for i, w := range []struct {
		f        Facts
		request  []byte
		answered string
		has      bool
	}{
		{leased, asking(t, dhcpv4.MessageTypeDiscover), "offer", false},
		{leased, asking(t, dhcpv4.MessageTypeRequest, wish("10.0.0.5")), "ack", true},
		{leased, asking(t, dhcpv4.MessageTypeDiscover), "offer", true}, // it still has it
		{leased, asking(t, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP([]byte{10, 0, 0, 5})), "ack", true},
		{leased, asking(t, dhcpv4.MessageTypeRequest, wish("10.0.0.9")), "nak", false},
		{leased, asking(t, dhcpv4.MessageTypeRequest, wish("10.0.0.5")), "ack", true},
		{leased, asking(t, dhcpv4.MessageTypeDecline, wish("10.0.0.5")), "none", false},
		{leased, asking(t, dhcpv4.MessageTypeRequest, wish("10.0.0.5")), "ack", true},
		{leased, asking(t, dhcpv4.MessageTypeRelease), "none", false},
		{leased, asking(t, dhcpv4.MessageTypeRequest, wish("10.0.0.5")), "ack", true},
		{other, asking(t, dhcpv4.MessageTypeDiscover), "offer", false}, // another port on the interface
	} {
		reply, _ := Reply(w.request, w.f) // silence is an answer
		got := l.note(w.f, w.request, reply, now)
		if got.Answered != w.answered || (len(got.Addresses) == 1) != w.has || w.has != got.Until.Equal(now.Add(time.Hour)) || got.Port != w.f.Port {
			t.Errorf("message %d leaves %+v", i, got)
		}
	}
	if n := l.of[leaseKey{3, WayDHCP4}].Count; n != 1 {
		t.Errorf("the other port has %d messages", n)
	}
	if n := l.countsOf()[Message{WayDHCP4, "request", "ack"}]; n != 4 {
		t.Errorf("%d requests were counted, want 4", n)
	}
	if l.keep(Table{3: leased}); len(l.of) != 0 {
		t.Errorf("left of a port that is gone: %v", l.of)
	}
}

// Whatever a workload sends, taking note of it is bounded and harmless.
func FuzzNote(f *testing.F) {
	f.Add(asking(f, dhcpv4.MessageTypeDiscover))
	f.Add([]byte{})
	var l leases
	f.Fuzz(func(t *testing.T, request []byte) {
		reply, _ := Reply(request, leased)
		l.note(leased, request, reply, time.Unix(1000, 0))
		if len(l.of) > 3 || len(l.counts) > maxKinds+3 {
			t.Fatalf("%d rows, %d kinds", len(l.of), len(l.counts))
		}
	})
}
