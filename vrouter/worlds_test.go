// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"net/netip"
	"testing"
)

// The named world: two tenants with the same addresses, and a third network
// that is joined to the first.
//
//	interface 1  VRF 1  10.0.0.2  2001:db8::2      interface 3  VRF 2  10.0.0.2  2001:db8::2
//	interface 2  VRF 1  10.0.0.3  2001:db8::3      interface 4  VRF 2  10.0.0.3  2001:db8::3
//	other host   VRF 1  10.0.0.4  2001:db8::4      other host   VRF 2  10.0.0.4  2001:db8::4
//	leaked from VRF 3 into VRF 1: 10.0.0.100, 2001:db8::64 on another host
func tenants() *Oracle {
	o := &Oracle{
		Ports: map[int]Port{}, PortAddresses: map[PortAddress]struct{}{}, Routes: map[RouteKey]Route{},
		NextHops: map[uint32]NextHop{
			1: {Kind: NextHopPort, Ifindex: 1}, 2: {Kind: NextHopPort, Ifindex: 2},
			3: {Kind: NextHopPort, Ifindex: 3}, 4: {Kind: NextHopPort, Ifindex: 4},
			10: {Kind: NextHopGateway},
			11: {Kind: NextHopTunnel, VNI: 1001, Remote: netip.MustParseAddr("192.0.2.11"), Local: netip.MustParseAddr("192.0.2.10")},
			12: {Kind: NextHopTunnel, VNI: 1002, Remote: netip.MustParseAddr("2001:db8:1::12")},
			13: {Kind: NextHopTunnel, VNI: 1003, Remote: netip.MustParseAddr("192.0.2.13"), Local: netip.MustParseAddr("192.0.2.10")},
		},
		VNIs: map[uint32]VNI{1001: {VRF: 1, CheckSources: true}, 1002: {VRF: 2, CheckSources: true}, 1003: {VRF: 1}},
		TunnelSources: map[TunnelSource]struct{}{
			{1001, netip.MustParseAddr("192.0.2.11")}: {}, {1002, netip.MustParseAddr("192.0.2.11")}: {},
			{1001, netip.MustParseAddr("2001:db8:1::11")}: {}, {1002, netip.MustParseAddr("192.0.2.12")}: {},
		},
		Config: Config{TunnelDevice: testTunnelDevice, Local4: netip.MustParseAddr("192.0.2.10")},
	}
	for ifindex := 1; ifindex <= 4; ifindex++ {
		vrf := uint32(1 + (ifindex-1)/2)
		o.Ports[ifindex] = Port{VRF: vrf, MAC: portMAC(ifindex), MTU: 1500, RedirectPeer: true, Gateway4: poolAddress(false, 1), Gateway6: poolAddress(true, 1)}
		for _, six := range []bool{false, true} {
			a := poolAddress(six, 2+(ifindex-1)%2)
			o.PortAddresses[PortAddress{ifindex, a}] = struct{}{}
			o.Routes[RouteKey{vrf, host(a)}] = Route{NextHop: uint32(ifindex), MAC: portMAC(ifindex)}
		}
	}
	for _, six := range []bool{false, true} {
		for vrf := uint32(1); vrf <= 2; vrf++ {
			o.Routes[RouteKey{vrf, host(poolAddress(six, 1))}] = Route{NextHop: 10}
			o.Routes[RouteKey{vrf, host(poolAddress(six, 4))}] = Route{NextHop: 10 + vrf, MAC: MAC{2, 1, 0, 0, 0, byte(vrf)}}
		}
		o.Routes[RouteKey{1, host(poolAddress(six, 100))}] = Route{NextHop: 13, MAC: MAC{2, 3, 0, 0, 0, 1}, Routed: true}
	}
	return o
}

// packetCase is one line of the table below; addresses are numbers in the
// pool, and each line is tried in both families.
type packetCase struct {
	what        string
	ifindex     int    // the port it comes from
	vni         uint32 // or the VNI it comes with
	from        string // and the underlay address; that of a host that may send if empty
	destination MAC
	source      int
	to          int
	hops        byte
	spoofedMAC  bool
	tcp         bool // established, else UDP

	verdict   string
	reason    string
	redirect  int
	remote    string
	remoteVNI uint32
	hopsOut   byte
	macOut    MAC // Ethernet destination in the end
	sourceOut MAC // Ethernet source in the end
}

var packetCases = []packetCase{
	{what: "inside the network on this host", ifindex: 1, destination: portMAC(2), source: 2, to: 3, hops: 64,
		verdict: "delivered", redirect: 2, hopsOut: 64, macOut: portMAC(2), sourceOut: portMAC(1)},
	{what: "the same addresses of the other tenant", ifindex: 3, destination: portMAC(4), source: 2, to: 3, hops: 64,
		verdict: "delivered", redirect: 4, hopsOut: 64, macOut: portMAC(4), sourceOut: portMAC(3)},
	{what: "by way of the gateway MAC, hop count 1", ifindex: 1, destination: GatewayMAC, source: 2, to: 3, hops: 1,
		verdict: "delivered", redirect: 2, hopsOut: 1, macOut: portMAC(2), sourceOut: portMAC(1)},
	{what: "other host", ifindex: 1, destination: MAC{2, 1, 0, 0, 0, 1}, source: 2, to: 4, hops: 64,
		verdict: "tunnelled", redirect: testTunnelDevice, remote: "192.0.2.11", remoteVNI: 1001, hopsOut: 64,
		macOut: MAC{2, 1, 0, 0, 0, 1}, sourceOut: portMAC(1)},
	{what: "other host, other tenant", ifindex: 3, destination: MAC{2, 1, 0, 0, 0, 2}, source: 2, to: 4, hops: 64,
		verdict: "tunnelled", redirect: testTunnelDevice, remote: "2001:db8:1::12", remoteVNI: 1002, hopsOut: 64,
		macOut: MAC{2, 1, 0, 0, 0, 2}, sourceOut: portMAC(3)},
	{what: "routed", ifindex: 1, destination: GatewayMAC, source: 2, to: 100, hops: 64,
		verdict: "tunnelled", redirect: testTunnelDevice, remote: "192.0.2.13", remoteVNI: 1003, hopsOut: 63,
		macOut: MAC{2, 3, 0, 0, 0, 1}, sourceOut: GatewayMAC},
	{what: "routed, hop count used up", ifindex: 1, destination: GatewayMAC, source: 2, to: 100, hops: 1,
		verdict: "answered", reason: "ttl-expired", redirect: 1},
	{what: "routed from the tunnel, hop count used up at the source", vni: 1001, destination: GatewayMAC, source: 100, to: 3, hops: 1,
		verdict: "delivered", redirect: 2, hopsOut: 1, macOut: portMAC(2), sourceOut: MAC{2, 8}},
	{what: "routed, not by way of the gateway", ifindex: 1, destination: MAC{2, 3, 0, 0, 0, 1}, source: 2, to: 100, hops: 64,
		verdict: "dropped", reason: "wrong-destination-mac"},
	{what: "joined network, other tenant", ifindex: 3, destination: GatewayMAC, source: 2, to: 100, hops: 64,
		verdict: "dropped", reason: "no-route"},
	{what: "spoofed address", ifindex: 1, destination: portMAC(2), source: 3, to: 3, hops: 64,
		verdict: "dropped", reason: "spoofed-address"},
	{what: "spoofed MAC", ifindex: 1, destination: portMAC(2), source: 2, to: 3, hops: 64, spoofedMAC: true,
		verdict: "dropped", reason: "spoofed-mac"},
	{what: "no port", ifindex: 9, destination: portMAC(2), source: 2, to: 3, hops: 64,
		verdict: "dropped", reason: "no-port"},
	{what: "gateway, not an echo", ifindex: 1, destination: GatewayMAC, source: 2, to: 1, hops: 64,
		verdict: "dropped", reason: "gateway-unanswered"},
	{what: "from the tunnel", vni: 1001, destination: portMAC(2), source: 4, to: 3, hops: 63,
		verdict: "delivered", redirect: 2, hopsOut: 63, macOut: portMAC(2), sourceOut: MAC{2, 8}},
	{what: "from the tunnel, other tenant", vni: 1002, destination: portMAC(2), source: 4, to: 3, hops: 63,
		verdict: "delivered", redirect: 4, hopsOut: 63, macOut: portMAC(4), sourceOut: MAC{2, 8}},
	{what: "from the other address of a host that may send", vni: 1001, from: "2001:db8:1::11", destination: portMAC(2), source: 4, to: 3, hops: 63,
		verdict: "delivered", redirect: 2, hopsOut: 63, macOut: portMAC(2), sourceOut: MAC{2, 8}},
	{what: "from nobody", vni: 1001, from: "192.0.2.99", destination: portMAC(2), source: 4, to: 3, hops: 63,
		verdict: "dropped", reason: "unknown-tunnel-source"},
	{what: "from a host of another network", vni: 1001, from: "192.0.2.12", destination: portMAC(2), source: 4, to: 3, hops: 63,
		verdict: "dropped", reason: "unknown-tunnel-source"},
	{what: "from an IPv6 address that begins like a host's IPv4 address", vni: 1001, from: "c000:20b::", destination: portMAC(2), source: 4, to: 3, hops: 63,
		verdict: "dropped", reason: "unknown-tunnel-source"},
	{what: "from nobody, VNI without sources", vni: 1003, from: "192.0.2.99", destination: portMAC(2), source: 4, to: 3, hops: 63,
		verdict: "delivered", redirect: 2, hopsOut: 63, macOut: portMAC(2), sourceOut: MAC{2, 8}},
	{what: "unknown VNI", vni: 7, destination: portMAC(2), source: 4, to: 3, hops: 63,
		verdict: "dropped", reason: "unknown-vni"},
	{what: "from the tunnel back into it", vni: 1001, destination: portMAC(2), source: 2, to: 4, hops: 63,
		verdict: "dropped", reason: "tunnel-to-tunnel"},
	{what: "from the tunnel to the gateway", vni: 1001, destination: GatewayMAC, source: 4, to: 1, hops: 63,
		verdict: "dropped", reason: "gateway-from-tunnel"},
}

func (c packetCase) frame(six bool) []byte {
	mac := portMAC(c.ifindex)
	if c.spoofedMAC || c.vni != 0 {
		mac = MAC{2, 8}
	}
	s := ipSpec{
		source: poolAddress(six, c.source), destination: poolAddress(six, c.to),
		protocol: 17, hops: c.hops, payload: make([]byte, 8),
	}
	if c.tcp {
		s.protocol, s.payload = 6, segment(0x10, 0)
		copy(s.payload, s.payload[2:4]) // one port, so that answers belong to it
	}
	return ethernetFrame(c.destination, mac, s.ethertype(), s.build())
}

func (c packetCase) check(t *testing.T, six bool, got Outcome) {
	t.Helper()
	if got.Verdict != c.verdict || got.Reason != c.reason || got.Redirect != c.redirect {
		t.Fatalf("got %s, want %s %s redirect=%d", show(got), c.verdict, c.reason, c.redirect)
	}
	if got.Tunnel != nil {
		want := TunnelKey{VNI: c.remoteVNI, Remote: netip.MustParseAddr(c.remote)}
		if want.Remote.Is4() {
			want.Local = netip.MustParseAddr("192.0.2.10")
		}
		if *got.Tunnel != want {
			t.Errorf("tunnel %v, want %v", *got.Tunnel, want)
		}
	}
	if c.reason != "" {
		return
	}
	f := parse(got.Frame)
	if f.hops != c.hopsOut || f.ethDestination != c.macOut || f.ethSource != c.sourceOut {
		t.Errorf("hops %d to %v from %v, want %d to %v from %v", f.hops, f.ethDestination, f.ethSource, c.hopsOut, c.macOut, c.sourceOut)
	}
	if !six && checksum(got.Frame[14:34]) != 0 {
		t.Errorf("header checksum is wrong: %s", show(got))
	}
}

// TestTenants tries every line on the programs and on the oracle.
func TestTenants(t *testing.T) {
	o := tenants()
	d := tablesForTest(t, smallSizes)
	install(t, d, o)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	for _, c := range packetCases {
		for _, six := range []bool{false, true} {
			t.Run(c.what+map[bool]string{false: " IPv4", true: " IPv6"}[six], func(t *testing.T) {
				var got, want Outcome
				var err error
				frame := c.frame(six)
				if c.vni != 0 {
					key := &TunnelKey{VNI: c.vni, Remote: netip.MustParseAddr(cmp.Or(c.from, "192.0.2.11"))}
					got, err = tracer.FromTunnel(testTunnelDevice, key, frame)
					want = o.FromTunnel(testTunnelDevice, key, frame)
				} else {
					got, err = tracer.FromPort(c.ifindex, frame)
					want = o.FromPort(c.ifindex, frame)
				}
				check(t, err)
				c.check(t, six, got)
				c.check(t, six, want)
			})
		}
	}
}

// TestAnswersHaveRightChecksums checks them in full, as a receiver would.
func TestAnswersHaveRightChecksums(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	install(t, d, tenants())
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	four, gateway4 := poolAddress(false, 2), poolAddress(false, 1)
	six, gateway6 := poolAddress(true, 2), poolAddress(true, 1)
	body := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}
	echo4 := ipSpec{source: four, destination: gateway4, protocol: 1, hops: 7, options: make([]byte, 8), payload: icmp4(8, 0, body)}
	echo6 := ipSpec{source: six, destination: gateway6, protocol: 58, hops: 7, extensions: []byte{60}, payload: icmp6(six, gateway6, 128, 0, body)}
	frames := map[string]ipSpec{
		"echo to the IPv4 gateway": echo4, "echo to the IPv6 gateway": echo6,
		"solicitation of the gateway":    solicitation(six, gateway6, portMAC(1)),
		"solicitation of a neighbour":    solicitation(six, poolAddress(true, 4), portMAC(1)),
		"probe of a neighbour's address": solicitation(netip.IPv6Unspecified(), poolAddress(true, 3), portMAC(1)),
	}
	for what, s := range frames {
		t.Run(what, func(t *testing.T) {
			got, err := tracer.FromPort(1, ethernetFrame(GatewayMAC, portMAC(1), s.ethertype(), s.build()))
			check(t, err)
			f := parse(got.Frame)
			if got.Verdict != "answered" || got.Redirect != 1 || !f.icmp {
				t.Fatalf("got %s", show(got))
			}
			if s.source.Is4() && (checksum(got.Frame[14:f.l4]) != 0 || checksum(f.payload) != 0) {
				t.Errorf("checksum is wrong: %s", show(got))
			}
			if s.source.Is6() && checksum6(f.source, f.destination, 58, f.payload) != 0 {
				t.Errorf("checksum is wrong: %s", show(got))
			}
		})
	}
}
