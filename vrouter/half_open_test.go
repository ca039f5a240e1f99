// SPDX-License-Identifier: Apache-2.0

package vrouter

import "testing"

// halfOpenAt counts the half-open entries of an interface.
func halfOpenAt(t *testing.T, d *Datapath, ifindex int) (n int) {
	t.Helper()
	check(t, d.Connections(func(k ConnectionKey, c Connection) {
		if k.Ifindex == ifindex && c.HalfOpen {
			n++
		}
	}))
	return n
}

// TestFloodSparesOtherPorts: a port keeps its half-open entries while another is
// flooded, as long as it has no more of them than its share.
func TestFloodSparesOtherPorts(t *testing.T) {
	sizes := smallSizes
	sizes.Connections, sizes.HalfOpen = 64, 512 // a share is 8
	d := tablesForTest(t, sizes)
	install(t, d, tenants())
	r := newRehearsal(t, d)
	handshake := packetCase{ifindex: 3, destination: GatewayMAC, source: 2, to: 4, hops: 64}
	flood := conversation{tunnel: true}.there()
	const few = 6
	for _, c := range []struct {
		what  string
		share uint32
		stays bool
	}{{"with shares", 8, true}, {"without", 0, false}} {
		check(t, d.maps["half_open_share"].Put(uint32(0), c.share))
		_, err := r.say(sent{ifindex: 3, frame: handshake.frame(false)}, 1, 1, few)
		check(t, err)
		_, err = r.say(flood, 1, 1, 20_000)
		check(t, err)
		if n := halfOpenAt(t, d, 3); (n == few) != c.stays {
			t.Errorf("%s: %d of %d half-open entries of another port outlive a flood", c.what, n, few)
		}
		if n := halfOpenAt(t, d, loopback); n < 8 || n > 512+int(c.share) {
			t.Errorf("%s: %d half-open entries of the flooded port", c.what, n)
		}
		forgetConnections(t, d)
		_, err = d.ExpireConnections(nil)
		check(t, err)
	}
}

// TestSharesComeBack: of what is proven at once, and of what is idle when the agent looks.
func TestSharesComeBack(t *testing.T) {
	sizes := smallSizes
	sizes.HalfOpen = 512
	d := tablesForTest(t, sizes)
	o := tenants()
	install(t, d, o)
	r := newRehearsal(t, d)
	taken := func(what string, want int) {
		t.Helper()
		counts, err := d.halfOpenCounts.All()
		check(t, err)
		returned, err := d.halfOpenReturned.All()
		check(t, err)
		owner := PlaceOwner{loopback, o.Ports[loopback].ID}
		if n := int(int32(counts[owner].taken - counts[owner].left - returned[owner])); n != want {
			t.Errorf("%s: %d entries are in the port's share, want %d", what, n, want)
		}
	}
	c := conversation{tunnel: true}
	_, err := r.say(c.there(), 1, 1, 20)
	check(t, err)
	taken("after many began", 8)
	_, err = r.say(c.back(), 1, 1, 5)
	check(t, err)
	taken("after some were answered", 3)
	now, err := ticksNow()
	check(t, err)
	check(t, d.eachConnection(halfOpenTable, func(key *layoutConnectionKey, value *layoutConnectionValue) {
		value.Seen = now - 1000
		check(t, d.maps[halfOpenTable].Put(key, value))
	}))
	_, err = d.ExpireConnections(nil)
	check(t, err)
	taken("after the others were idle", 0)
	if confirmed, _ := countConnections(t, d); confirmed != 5 {
		t.Errorf("%d connections are confirmed, want 5", confirmed)
	}
	_, err = r.say(c.there(), 1, 100, 4)
	check(t, err)
	taken("after more began", 4)
}
