// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

// sharing is the floating world without floating addresses: tenant 1 goes out to the
// public network with .220, of which this host has two blocks and another one the third.
func sharing(t *testing.T, try func(w *floatingWorld)) {
	inFloatingWorld(t, func(w *floatingWorld) {
		w.Floats, w.Mappings = nil, map[uint64]Mapping{}
		w.SharedAddresses = map[uint64]SharedAddress{50: {VRF: 3, External: w.address(220), Ports: []PortRange{{1024, 1087}, {1152, 1215}}}}
		w.Shares = map[ShareKey][]uint64{{1, w.six}: {50}}
		w.PortBlocks = map[PortBlock]uint32{{50, 16}: 0, {50, 17}: 13, {50, 18}: 0}
		w.Translations = map[TranslationKey]Translation{}
		w.NextHops[150] = NextHop{Kind: NextHopShared, Mapping: 50}
		w.Routes[RouteKey{3, host(w.address(220))}] = Route{NextHop: 150, Proxied: true}
		try(w)
	})
}

// goes sends a packet outwards and returns the port that it leaves from, 0 if it does not.
func (w *floatingWorld) goes(ifindex, source, sourcePort, port int) int {
	w.Helper()
	o := w.from(ifindex, source, sourcePort, 210, port)
	if o.Verdict != "tunnelled" {
		if o.Reason != "snat-exhausted" {
			w.Errorf("it is %s %s", o.Verdict, o.Reason)
		}
		return 0
	}
	f := parse(o.Frame)
	ports, _ := f.wirePorts()
	own := ports.source >= 1024 && ports.source <= 1087 || ports.source >= 1152 && ports.source <= 1215
	if f.source != w.address(220) || f.destination != w.address(210) || int(ports.destination) != port || !own || o.Tunnel.VNI != 1003 {
		w.Errorf("it leaves as %s", show(o))
	}
	w.sound(o.Frame)
	return int(ports.source)
}

// sound: the checksums of a frame without options are right.
func (w *floatingWorld) sound(frame []byte) {
	w.Helper()
	f := parse(frame)
	l4 := append([]byte(nil), f.payload...)
	at := map[byte]int{6: 16, 17: 6, 1: 2, 58: 2}[f.protocol]
	was := binary.BigEndian.Uint16(l4[at:])
	l4[at], l4[at+1] = 0, 0
	want := checksum(l4)
	if f.protocol != 1 {
		want = sumOf(f.source, f.destination, f.protocol, l4)
	}
	if was != want {
		w.Errorf("the checksum of protocol %d is %04x, want %04x", f.protocol, was, want)
	}
	if ip := frame[14:34]; f.source.Is4() && checksum(ip) != 0 {
		w.Errorf("the header's checksum is wrong: %x", ip)
	}
}

// Who goes out with a shared address is answered there, by whom it spoke to alone; two
// workloads with one port have two.
func TestOracleSharesAddresses(t *testing.T) {
	sharing(t, func(w *floatingWorld) {
		a := w.goes(1, 2, 4000, 80)
		b := w.goes(2, 3, 4000, 80)
		if a == b {
			t.Errorf("two workloads have port %d", a)
		}
		if again := w.goes(1, 2, 4000, 80); again != a {
			t.Errorf("one conversation leaves from %d and from %d", a, again)
		}
		w.wants(w.from(0, 210, 80, 220, a), "delivered 1", 210, 80, 2, 4000)
		w.wants(w.from(0, 210, 80, 220, b), "delivered 2", 210, 80, 3, 4000)
		w.wants(w.from(0, 210, 81, 220, a), "dropped no-mapping0", 210, 81, 220, a)
		w.wants(w.from(0, 211, 80, 220, a), "dropped no-mapping0", 211, 80, 220, a)
		w.wants(w.from(0, 210, 80, 220, 1088), "dropped tunnel-to-tunnel0", 210, 80, 220, 1088)
		w.wants(w.from(0, 210, 80, 220, 5000), "dropped no-port-block0", 210, 80, 220, 5000)
		w.wants(w.from(3, 2, 4000, 210, 80), "dropped no-route0", 2, 4000, 210, 80) // a tenant with the same address has none
		key := ConnectionKey{1, 17, netip.AddrPortFrom(w.address(2), 4000), netip.AddrPortFrom(w.address(210), 80)}
		for _, other := range []Connection{{Mapping: 50, Itself: uint16(a) + 1}, {Mapping: 51, Itself: uint16(a)}} { // it has moved on
			was := w.Connections[key]
			w.Connections[key] = other
			w.wants(w.from(0, 210, 80, 220, a), "dropped no-mapping0", 210, 80, 220, a)
			w.Connections[key] = was
		}
		w.Connections = map[ConnectionKey]Connection{} // forgotten
		w.wants(w.from(0, 210, 80, 220, a), "dropped no-mapping0", 210, 80, 220, a)
		if again := w.goes(1, 2, 4000, 80); again != a {
			t.Errorf("a conversation that was forgotten leaves from %d, was %d", again, a)
		}
		w.wants(w.from(0, 210, 80, 220, a), "delivered 1", 210, 80, 2, 4000)
	})
}

// Another host's port of the address is reached by that host.
func TestOracleSendsAnswersToTheBlocksHost(t *testing.T) {
	sharing(t, func(w *floatingWorld) {
		w.Routes[RouteKey{1, host(w.address(220))}] = Route{NextHop: 150, Proxied: true, Routed: true} // joined
		o := w.from(1, 2, 4000, 220, 1088)
		if o.Verdict != "tunnelled" || o.Tunnel.VNI != 1003 || parse(o.Frame).destination != w.address(220) {
			t.Errorf("it is %s", show(o))
		}
		w.wants(w.from(1, 2, 4000, 220, 1024), "dropped no-mapping0", 2, 4000, 220, 1024)
	})
}

// No two conversations with one destination have one port; when there are no more the
// next ones end, and nothing else does.
func TestOracleSharedPortsRunOut(t *testing.T) {
	sharing(t, func(w *floatingWorld) {
		of, refused := map[int]int{}, 0
		for i := range 400 {
			port := w.goes(1+i%2, 2+i%2, 4000+i, 80)
			if port == 0 {
				refused++
				continue
			}
			if other, taken := of[port]; taken {
				t.Fatalf("conversations %d and %d leave from %d", other, i, port)
			}
			of[port] = i
		}
		if len(of) < 120 || len(of)+refused != 400 {
			t.Errorf("%d of 128 ports are used, %d conversations refused", len(of), refused)
		}
		for port, i := range of {
			w.wants(w.from(0, 210, 80, 220, port), fmt.Sprint("delivered ", 1+i%2), 210, 80, 2+i%2, 4000+i)
		}
		if w.goes(1, 2, 9000, 81) == 0 {
			t.Error("there is no port for another destination")
		}
		former := w.Ports[1]
		former.ID++ // the interface is another port's now
		w.Ports[1] = former
		if w.goes(2, 3, 9001, 80) == 0 {
			t.Error("what a former port had is nobody else's")
		}
		w.SharedAddresses[50] = SharedAddress{VRF: 3, External: w.address(220)} // all is releasing
		if w.goes(2, 3, 9002, 82) != 0 {
			t.Error("a conversation begins where the host has no ports")
		}
		if w.goes(2, 3, 9001, 80) == 0 {
			t.Error("a conversation ends with the host's right to begin others")
		}
	})
}

// An echo goes out by its identifier, errors with what they quote, both ways; fragments
// follow their first one; what has no ports does not go.
func TestOracleSharesForAllThatHasPorts(t *testing.T) {
	sharing(t, func(w *floatingWorld) {
		echo := func(from, to netip.Addr, kind [2]byte, id uint16) []byte {
			icmp, protocol := append([]byte{kind[0], 0, 0, 0, byte(id >> 8), byte(id), 0, 1}, "hello, world"...), byte(1)
			if w.six {
				icmp[0], protocol = kind[1], 58
				binary.BigEndian.PutUint16(icmp[2:], checksum6(from, to, 58, icmp))
			} else {
				binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
			}
			return wrap(portMAC(1), GatewayMAC, protocol, from, to, icmp)
		}
		tunnel := func(frame []byte) Outcome {
			return w.FromTunnel(testTunnelDevice, &TunnelKey{VNI: 1003, Remote: netip.MustParseAddr("192.0.2.13")}, frame)
		}
		is := func(o Outcome, verdict string, source, destination int) parsed {
			t.Helper()
			f := parse(o.Frame)
			if o.Verdict != verdict || f.source != w.address(source) || f.destination != w.address(destination) {
				t.Fatalf("it is %s", show(o))
			}
			w.sound(o.Frame)
			return f
		}
		request, reply := [2]byte{8, 128}, [2]byte{0, 129}
		out := is(w.FromPort(1, echo(w.address(2), w.address(210), request, 77)), "tunnelled", 220, 210)
		id := binary.BigEndian.Uint16(out.payload[4:])
		in := is(tunnel(echo(w.address(210), w.address(220), reply, id)), "delivered", 210, 2)
		if id < 1024 || binary.BigEndian.Uint16(in.payload[4:]) != 77 {
			t.Errorf("identifier 77 leaves as %d, its answer comes as %d", id, binary.BigEndian.Uint16(in.payload[4:]))
		}
		if o := w.FromPort(1, echo(w.address(2), w.address(210), reply, 78)); o.Reason != "snat-protocol" {
			t.Errorf("an answer to nothing is %s", show(o))
		}
		if o := w.FromPort(1, wrap(portMAC(1), GatewayMAC, 47, w.address(2), w.address(210), make([]byte, 16))); o.Reason != "snat-protocol" {
			t.Errorf("GRE is %s", show(o))
		}
		quoted := is(tunnel(quoting(MAC{2, 8}, GatewayMAC, w.address(211), w.address(220), out.frame)), "delivered", 211, 2)
		if s, ok := quoted.subject(); !ok || s.local != netip.AddrPortFrom(w.address(2), 77) || s.remote.Addr() != w.address(210) {
			t.Errorf("the error is about %+v", s)
		}
		port := w.goes(1, 2, 4000, 80)
		answer := w.from(0, 210, 80, 220, port)
		told := is(w.FromPort(1, quoting(portMAC(1), GatewayMAC, w.address(2), w.address(210), answer.Frame)), "tunnelled", 220, 210)
		if s, ok := told.subject(); !ok || s.remote != netip.AddrPortFrom(w.address(220), uint16(port)) || s.local != netip.AddrPortFrom(w.address(210), 80) {
			t.Errorf("the workload's error is about %+v", s)
		}
		first, later := fragments(packet(portMAC(1), GatewayMAC, 17, netip.AddrPortFrom(w.address(2), 4500), netip.AddrPortFrom(w.address(210), 80), 0))
		if o := w.FromPort(1, later); o.Reason != "mapping-fragment" {
			t.Errorf("a later fragment alone is %s", show(o))
		}
		for _, f := range [][]byte{first, later} {
			if o := w.FromPort(1, f); o.Verdict != "tunnelled" || parse(o.Frame).source != w.address(220) {
				t.Errorf("a fragment is %s", show(o))
			}
		}
	})
}
