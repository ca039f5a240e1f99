// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"testing"
)

// A workload of interface 1 sends to its neighbour from addresses that are not
// its own. Numbers are those of the pool: 64/26 (IPv6: of the same bits) is
// routed to it, 200/29 is a pair, 208/29 a pair with another MAC, and the
// default route leads to it. 4, in its network, is on another host; 70 is
// behind another port though it is in 64/26.
func prefixWorld() *Oracle {
	o := tenants()
	o.PortPrefixes = map[PortPrefix]Permission{}
	o.NextHops[20] = NextHop{Kind: NextHopPort, Ifindex: 2}
	for _, six := range []bool{false, true} {
		in := func(n, hostBits int) netip.Prefix {
			a := poolAddress(six, n)
			return netip.PrefixFrom(a, a.BitLen()-hostBits).Masked()
		}
		everything := netip.PrefixFrom(poolAddress(six, 0), 0).Masked()
		o.PortPrefixes[PortPrefix{1, portMAC(1), in(64, 6)}] = Permission{Behind: true}
		o.PortPrefixes[PortPrefix{1, portMAC(1), everything}] = Permission{Behind: true}
		o.PortPrefixes[PortPrefix{1, portMAC(1), in(200, 3)}] = Permission{}
		o.PortPrefixes[PortPrefix{1, prefixMAC(1), in(208, 3)}] = Permission{}
		// The other port that is as good for 64/26 is the one in the table.
		o.Routes[RouteKey{1, in(64, 6)}] = Route{NextHop: 20, MAC: portMAC(2), Routed: true}
		o.PortPrefixes[PortPrefix{2, portMAC(2), in(64, 6)}] = Permission{Behind: true}
		o.Routes[RouteKey{1, everything}] = Route{NextHop: 1, MAC: portMAC(1), Routed: true}
		o.Routes[RouteKey{1, in(70, 1)}] = Route{NextHop: 20, MAC: portMAC(2), Routed: true}
	}
	return o
}

// TestSourcesBeyondAddresses tries what the prefixes of a port allow, each line
// in both families on the programs and on the oracle.
func TestSourcesBeyondAddresses(t *testing.T) {
	o := prefixWorld()
	d := tablesForTest(t, smallSizes)
	install(t, d, o)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	outside4, outside6 := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8:f::7")
	nobody4, nobody6 := netip.MustParseAddr("239.1.1.1"), netip.MustParseAddr("ff05::1")
	at := func(n int) [2]netip.Addr { return [2]netip.Addr{poolAddress(false, n), poolAddress(true, n)} }
	for _, c := range []struct {
		what    string
		ifindex int
		mac     MAC
		from    [2]netip.Addr
		reason  string
	}{
		{"routed to it and to an equal", 1, portMAC(1), at(65), ""},
		{"routed to the equal", 2, portMAC(2), at(65), ""},
		{"routed to it but for a longer prefix", 1, portMAC(1), at(70), "spoofed-address"},
		{"under the default route", 1, portMAC(1), [2]netip.Addr{outside4, outside6}, ""},
		{"a neighbour under the default route", 1, portMAC(1), at(4), "spoofed-address"},
		{"the gateway under the default route", 1, portMAC(1), at(1), "spoofed-address"},
		{"nobody's, under the default route", 1, portMAC(1), [2]netip.Addr{nobody4, nobody6}, "spoofed-address"},
		{"not routed to this port", 2, portMAC(2), [2]netip.Addr{outside4, outside6}, "spoofed-address"},
		{"the same addresses of the other tenant", 3, portMAC(3), at(65), "spoofed-address"},
		{"pair", 1, portMAC(1), at(203), ""},
		{"pair, with the MAC of another", 1, prefixMAC(1), at(203), "spoofed-mac"},
		{"pair with a MAC", 1, prefixMAC(1), at(211), ""},
		{"pair of another port", 2, portMAC(2), at(203), "spoofed-address"},
		{"own address with the MAC of a pair", 1, prefixMAC(1), at(2), "spoofed-mac"},
		{"MAC of nobody", 1, MAC{2, 9}, at(203), "spoofed-mac"},
	} {
		for i, from := range c.from {
			to, toMAC := poolAddress(i == 1, 3), portMAC(2)
			if c.ifindex == 2 {
				to, toMAC = poolAddress(i == 1, 2), portMAC(1)
			}
			s := ipSpec{source: from, destination: to, protocol: 17, hops: 64, payload: make([]byte, 8)}
			frame := ethernetFrame(toMAC, c.mac, s.ethertype(), s.build())
			got, err := tracer.FromPort(c.ifindex, frame)
			check(t, err)
			compare(t, c.what, frame, got, o.FromPort(c.ifindex, frame))
			if got.Reason != c.reason || c.reason == "" && got.Verdict != "delivered" {
				t.Errorf("%s from %v: %s %s, want %q", c.what, from, got.Verdict, got.Reason, c.reason)
			}
		}
	}
}

// A workload that may take a shared address over asks whether it is free, and
// must not hear of the present holder; whoever may not, does.
func TestProbeOfSharedAddress(t *testing.T) {
	o := prefixWorld()
	d := tablesForTest(t, smallSizes)
	for _, six := range []bool{false, true} { // interface 2 holds 203
		o.Routes[RouteKey{1, host(poolAddress(six, 203))}] = Route{NextHop: 2, MAC: portMAC(2)}
		o.Routes[RouteKey{1, host(poolAddress(six, 199))}] = Route{NextHop: 2, MAC: portMAC(2)}
	}
	install(t, d, o)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	for n, want := range map[int][2]string{
		203: {"arp-own-address", "nd-own-address"}, 199: {"", ""}, 201: {"arp-own-address", "nd-own-address"},
	} {
		probe := solicitation(netip.IPv6Unspecified(), poolAddress(true, n), portMAC(1))
		for i, frame := range [][]byte{
			ethernetFrame(MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, portMAC(1), 0x0806, arpMessage(1, portMAC(1), netip.IPv4Unspecified(), MAC{}, poolAddress(false, n))),
			ethernetFrame(MAC{0x33, 0x33, 0xff, 0, 0, 1}, portMAC(1), 0x86dd, probe.build()),
		} {
			got, err := tracer.FromPort(1, frame)
			check(t, err)
			compare(t, "probe", frame, got, o.FromPort(1, frame))
			if got.Reason != want[i] || want[i] == "" && got.Verdict != "answered" {
				t.Errorf("probe of %d: %s %s, want %q", n, got.Verdict, got.Reason, want[i])
			}
		}
	}
}

// A connection's shortcut is for the MAC it was made with: neither may a frame
// of another MAC use what the port's own left, nor the reverse; and it ends
// with the prefix that allowed it, and with a longer route elsewhere.
func TestShortcutKeepsPrefixes(t *testing.T) {
	o := prefixWorld()
	d := tablesForTest(t, smallSizes)
	install(t, d, o)
	r := newRehearsal(t, d)
	for _, six := range []bool{false, true} {
		try := func(n int, mac MAC, reason string) {
			t.Helper()
			s := ipSpec{source: poolAddress(six, n), destination: poolAddress(six, 3), protocol: 17, hops: 64, payload: make([]byte, 8)}
			frame := ethernetFrame(portMAC(2), mac, s.ethertype(), s.build())
			got, err := r.FromPort(1, frame)
			check(t, err)
			compare(t, "frame", frame, got, o.FromPort(1, frame))
			if got.Reason != reason {
				t.Errorf("from %d with %v: %s %s, want %q", n, mac, got.Verdict, got.Reason, reason)
			}
		}
		for range 2 { // the second finds the connection
			try(203, portMAC(1), "")
			try(203, prefixMAC(1), "spoofed-mac")
			try(211, prefixMAC(1), "")
			try(211, portMAC(1), "") // under the default route
			try(65, portMAC(1), "")
		}
		pair := PortPrefix{1, portMAC(1), netip.PrefixFrom(poolAddress(six, 203), poolAddress(six, 0).BitLen()-3).Masked()}
		delete(o.PortPrefixes, pair)
		check(t, d.PortPrefixes.Delete(pair))
		elsewhere := RouteKey{1, host(poolAddress(six, 203))}
		o.Routes[elsewhere] = Route{NextHop: 20, MAC: portMAC(2)}
		check(t, d.Routes.Put(elsewhere, o.Routes[elsewhere]))
		try(203, portMAC(1), "spoofed-address")
		everything := PortPrefix{1, portMAC(1), netip.PrefixFrom(poolAddress(six, 0), 0).Masked()}
		delete(o.PortPrefixes, everything)
		check(t, d.PortPrefixes.Delete(everything))
		try(211, prefixMAC(1), "")
		try(211, portMAC(1), "spoofed-address")
		elsewhere.Prefix = host(poolAddress(six, 65))
		o.Routes[elsewhere] = Route{NextHop: 20, MAC: portMAC(2)}
		check(t, d.Routes.Put(elsewhere, o.Routes[elsewhere]))
		try(65, portMAC(1), "spoofed-address")
	}
}
