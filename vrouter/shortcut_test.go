// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"reflect"
	"testing"
)

// TestShortcutIsTaken: the next frame of a connection fares like the first
// although routes and addresses are gone from the tables, as long as nobody
// says so by a new generation. Outcomes alone do not show whether the entry
// leads; a build that never takes the shortcut is only slow.
func TestShortcutIsTaken(t *testing.T) {
	for _, six := range []bool{false, true} {
		gateway, own, neighbour, routed, away := poolAddress(six, 1), poolAddress(six, 2), poolAddress(six, 3), poolAddress(six, 103), poolAddress(six, 104)
		far := Route{NextHop: 3, MAC: portMAC(9), MTU: 1000, Routed: true}
		o := &Oracle{
			Config:        Config{TunnelDevice: testTunnelDevice},
			Ports:         map[int]Port{1: {VRF: 1, ID: 1, MAC: portMAC(1), Gateway4: poolAddress(false, 1), Gateway6: poolAddress(true, 1)}, 2: {VRF: 1, ID: 2, MAC: portMAC(2)}},
			PortAddresses: map[PortAddress]struct{}{{1, own}: {}, {2, neighbour}: {}},
			NextHops: map[uint32]NextHop{1: {Kind: NextHopGateway}, 2: {Kind: NextHopPort, Ifindex: 2},
				3: {Kind: NextHopTunnel, VNI: 7, Remote: netip.MustParseAddr("192.0.2.9")}},
			Routes: map[RouteKey]Route{
				{1, host(gateway)}: {NextHop: 1}, {1, host(neighbour)}: {NextHop: 2, MAC: portMAC(2)},
				{1, host(routed)}: {NextHop: 2, MAC: portMAC(2), Routed: true}, {1, host(away)}: far,
			},
		}
		d := tablesForTest(t, smallSizes)
		install(t, d, o)
		r := newRehearsal(t, d)
		frame := func(to netip.Addr, mac MAC, payload int) []byte {
			s := ipSpec{source: own, destination: to, protocol: 17, hops: 9, payload: make([]byte, payload)}
			return ethernetFrame(mac, portMAC(1), s.ethertype(), s.build())
		}
		frames := [][]byte{frame(neighbour, portMAC(2), 30), frame(neighbour, GatewayMAC, 30), frame(routed, GatewayMAC, 30), frame(away, GatewayMAC, 30)}
		tooBig := frame(away, GatewayMAC, 1000)
		run := func(frame []byte) Outcome {
			t.Helper()
			got, err := r.FromPort(1, frame)
			check(t, err)
			return got
		}
		var first []Outcome
		for i, f := range frames {
			first = append(first, run(f))
			compare(t, "first frame", frames[i], first[i], o.FromPort(1, f))
		}
		for _, table := range []string{"host_routes", "port_addresses"} { // behind the back of who renews generations
			emptyTable(t, d, table)
		}
		for i, f := range frames {
			if again := run(f); !reflect.DeepEqual(again, first[i]) {
				t.Errorf("the next frame is %s, want %s", show(again), show(first[i]))
			}
		}
		compare(t, "too big for what the entry remembers", tooBig, run(tooBig), o.FromPort(1, tooBig))
		if wrong := run(frame(away, portMAC(9), 30)); wrong.Reason != "spoofed-address" {
			t.Errorf("a frame that is not for the router of a routed connection is %s", show(wrong))
		}
		check(t, d.Routes.Put(RouteKey{1, host(poolAddress(six, 9))}, far)) // renews the VRF
		for _, f := range frames {
			if late := run(f); late.Reason != "spoofed-address" {
				t.Errorf("with a new generation the frame is %s, want it looked up again", show(late))
			}
		}
	}
}

// emptyTable removes everything from a table and nothing else.
func emptyTable(t *testing.T, d *Datapath, name string) {
	t.Helper()
	m := d.maps[name]
	var keys [][]byte
	var key, value []byte
	for entries := m.Iterate(); entries.Next(&key, &value); {
		keys = append(keys, append([]byte(nil), key...))
	}
	for _, k := range keys {
		check(t, m.Delete(k))
	}
}
