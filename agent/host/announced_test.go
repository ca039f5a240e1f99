// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// speaking is a host with two workloads that may have the addresses of a pair
// and of a slaac subnet.
type speaking struct {
	t        *testing.T
	m        *datapath.MemoryKernel
	c        *host.Core
	rows     map[string]*hoststream.Row
	has      map[string]string
	revision int64
	now      time.Time
}

func macOf(n int) [6]byte { return [6]byte{2, 0, 0, 0, 0, byte(n)} }

func newSpeaking(t *testing.T) *speaking {
	s := &speaking{t: t, m: datapath.NewMemoryKernel(nil), has: map[string]string{}, now: time.Unix(1000, 0)}
	s.rows = map[string]*hoststream.Row{
		desired.VRFRow(1): {Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 1, Vni: 1}}},
		desired.SubnetRow(desired.SubnetKey{VRF: 1, ID: "s"}): {Body: &hoststream.Row_Subnet{Subnet: &hoststream.Subnet{
			Subnet: "s", Vrf: 1, PrefixAddress: netip.MustParseAddr("fd00:a::").AsSlice(), PrefixLength: 64, AddressMode: string(api.ModeSLAAC),
		}}},
	}
	plugs := map[string]host.Plug{}
	for n := 1; n <= 2; n++ {
		own, mac := netip.MustParseAddr(fmt.Sprintf("fd00:a::%d", n)).AsSlice(), macOf(n)
		s.rows[desired.PortRow(portID(n))] = &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{
			Port: portID(n), PortName: fmt.Sprintf("d:p:%d", n), Vrf: 1, Mac: mac[:],
			Addresses: []*hoststream.PortAddress{{Ip: own, PrefixLength: 64, Subnet: "s"}},
			Pairs:     []*hoststream.AllowedPair{{Range: &hoststream.Prefix{Address: []byte{10, 0, 0, 96}, Length: 27}, Mac: mac[:], Standby: true}},
		}}}
		plugs[portID(n)] = host.Plug{Interface: "i", Attachment: datapath.Attachment{Ifindex: n}}
	}
	s.c = boot(t, s.m, desired.New(), plugs)
	s.apply()
	return s
}

func (s *speaking) apply() {
	s.t.Helper()
	s.revision++
	if err := s.c.Apply(delta(s.has, s.rows, s.revision, true)); err != nil {
		s.t.Fatal(err)
	}
}

// lead makes the rows say that a port has an address; 0: nobody.
func (s *speaking) lead(a netip.Addr, n int) {
	s.t.Helper()
	key := desired.RouteRow(desired.RouteKey{VRF: 1, Prefix: netip.PrefixFrom(a, a.BitLen())})
	mac := macOf(n)
	s.rows[key] = &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{
		Vrf: 1, PrefixAddress: a.AsSlice(), PrefixLength: uint32(a.BitLen()), Mac: mac[:], NextHop: &hoststream.Route_Port{Port: portID(n)}, Announced: 5,
	}}}
	if n == 0 {
		delete(s.rows, key)
	}
	s.apply()
}

// leads fails the test unless the address leads to an interface, or nowhere (0).
func (s *speaking) leads(what string, a netip.Addr, ifindex int) {
	s.t.Helper()
	settle(s.t, s.c, &s.now)
	route, there := s.m.Routes.Rows[vrouter.RouteKey{VRF: 1, Prefix: netip.PrefixFrom(a, a.BitLen())}]
	if hop := s.m.NextHops.Rows[route.NextHop]; there != (ifindex != 0) || hop.Ifindex != ifindex {
		s.t.Fatalf("%s: %v has route %+v to %+v, want interface %d", what, a, route, hop, ifindex)
	}
}

func (s *speaking) speak(ifindex int, a netip.Addr, with [6]byte, want bool) {
	s.t.Helper()
	s.now = s.now.Add(time.Millisecond)
	if _, got := s.c.Announce(ifindex, a, with, s.now); got != want {
		s.t.Fatalf("interface %d speaks for %v with %x: accepted %v, want %v", ifindex, a, with, got, want)
	}
}

// An address of a pair leads to who spoke for it, on this host at once, until
// the rows say something else of it. Nobody speaks for what it may not have.
func TestAnnouncePair(t *testing.T) {
	vip, s := netip.MustParseAddr("10.0.0.100"), newSpeaking(t)
	s.leads("nobody spoke", vip, 0)
	s.speak(1, vip, macOf(2), false)
	s.speak(1, netip.MustParseAddr("10.0.1.100"), macOf(1), false)
	s.speak(9, vip, macOf(1), false)
	s.speak(1, vip, macOf(1), true)
	s.leads("1 spoke", vip, 1)
	s.speak(2, vip, macOf(2), true)
	s.leads("2 spoke", vip, 2)
	s.speak(1, vip, macOf(1), true)
	s.leads("1 spoke again", vip, 1)
	first := s.c.Report().Announced
	s.speak(1, vip, macOf(1), true)
	if again := s.c.Report().Announced; len(first) != 2 || again[0].Sequence != first[0].Sequence || first[0].Sequence <= first[1].Sequence {
		t.Errorf("reported %v, and after it was repeated %v", first, again)
	}
	s.lead(vip, 2)
	s.leads("the rows say 2", vip, 2)
	s.speak(1, vip, macOf(1), true)
	s.leads("1 spoke after the rows", vip, 1)
	s.lead(vip, 0)
	s.leads("the rows take it away", vip, 0)
}

// An address of a slaac subnet is of who asked first, and a port asks for few.
func TestAnnounceSLAAC(t *testing.T) {
	six, s := netip.MustParseAddr("fd00:a::77"), newSpeaking(t)
	s.speak(1, six, macOf(1), true)
	s.leads("1 asked", six, 1)
	if _, may := s.m.PortAddresses.Rows[vrouter.PortAddress{Ifindex: 1, Address: six}]; !may {
		t.Error("1 may not send from what it asked for")
	}
	s.rows[desired.PortRow(portID(1))].GetPort().Announced = [][]byte{six.AsSlice()}
	s.lead(six, 1)
	s.speak(2, six, macOf(2), false)
	s.leads("2 asked too late", six, 1)
	for n := range 40 {
		s.speak(2, netip.MustParseAddr(fmt.Sprintf("fd00:a::9:%d", n)), macOf(2), true)
	}
	own := 0
	for _, a := range s.c.Report().Announced {
		if a.Port == portID(2) {
			own++
		}
	}
	if own != api.MaxAnnounced {
		t.Errorf("a port is reported to speak for %d addresses, at most %d are", own, api.MaxAnnounced)
	}
}

// What another workload has as an address of its own, and the gateway's, is
// nobody's to speak for, though a pair has it: this host must not lead it away
// before the controllers have a say, nor after.
func TestNobodySpeaksForWhatAnotherHas(t *testing.T) {
	s := newSpeaking(t)
	own, gateway := netip.MustParseAddr("10.0.0.101"), netip.MustParseAddr("10.0.0.97")
	for a, r := range map[netip.Addr]*hoststream.Route{
		own:     {NextHop: &hoststream.Route_Port{Port: portID(2)}},
		gateway: {NextHop: &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}},
	} {
		mac := macOf(2)
		r.Vrf, r.PrefixAddress, r.PrefixLength, r.Mac = 1, a.AsSlice(), 32, mac[:]
		s.rows[desired.RouteRow(desired.RouteKey{VRF: 1, Prefix: netip.PrefixFrom(a, 32)})] = &hoststream.Row{Body: &hoststream.Row_Route{Route: r}}
	}
	s.apply()
	s.leads("2 has it", own, 2)
	for _, a := range []netip.Addr{own, gateway} {
		s.c.Announce(1, a, macOf(1), s.now.Add(time.Millisecond))
		settle(t, s.c, &s.now)
	}
	s.leads("1 spoke for an address of 2", own, 2)
	route := s.m.Routes.Rows[vrouter.RouteKey{VRF: 1, Prefix: netip.PrefixFrom(gateway, 32)}]
	if hop := s.m.NextHops.Rows[route.NextHop]; hop.Kind != vrouter.NextHopGateway {
		t.Errorf("1 spoke for the gateway, which leads to %+v now", hop)
	}
}
