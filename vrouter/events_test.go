// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// refuser loads a world whose loopback interface is a port, and returns what
// sends a frame that is dropped there, and the frame.
func refuser(t *testing.T) (*Datapath, func(), []byte) {
	t.Helper()
	d := loadForTest(t, smallSizes)
	check(t, d.Ports.Put(loopback, Port{VRF: 7, ID: 42, MAC: portMAC(loopback)}))
	check(t, d.PortAddresses.Put(PortAddress{loopback, netip.MustParseAddr("10.0.0.1")}, struct{}{}))
	s := ipSpec{source: netip.MustParseAddr("10.0.0.1"), destination: netip.MustParseAddr("10.0.0.9"), protocol: 6, hops: 64}
	s.payload = append([]byte{0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2, 0, 0, 0, 0, 0, 0}, make([]byte, 200)...)
	frame := ethernetFrame(GatewayMAC, portMAC(loopback), s.ethertype(), s.build())
	return d, func() {
		_, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame})
		check(t, err)
	}, frame
}

// told reads the events that wait.
func told(t *testing.T, d *Datapath) (all []Event) {
	t.Helper()
	r, err := d.OpenEvents()
	check(t, err)
	defer r.Close()
	counts, err := d.EventCounts()
	check(t, err)
	for range counts[EventDrop].Told + counts[EventFirst].Told + counts[EventLogged].Told {
		e, err := r.Next()
		check(t, err)
		all = append(all, e)
	}
	return all
}

// TestDropIsTold: while it is on, each dropped frame is told with where, why
// and its first bytes; while it is off nothing is.
func TestDropIsTold(t *testing.T) {
	d, send, frame := refuser(t)
	send()
	check(t, d.SetRecording(Recording{First: true, Counts: true}))
	send()
	check(t, d.SetRecording(Recording{Drops: true}))
	began := time.Now()
	send()
	all := told(t, d)
	if len(all) != 1 {
		t.Fatalf("%d events, want that of the one frame sent while it was on: %+v", len(all), all)
	}
	e := all[0]
	if age := e.Time.Sub(began).Abs(); age > time.Minute {
		t.Errorf("event is of %v, the frame was sent at %v", e.Time, began)
	}
	if e.Kind != EventDrop || e.Ifindex != loopback || e.Port != 42 || e.VRF != 7 || e.In || e.Reason.Name != "no-route" ||
		e.Rule != 0 || e.Layer != -1 || e.Length != len(frame) || e.OneOf != 1 || !bytes.Equal(e.Frame, frame[:128]) {
		t.Errorf("event is %+v", e)
	}
	if counts := countsByReason(t, d); counts["no-route"] != 3 {
		t.Errorf("counted %v, want 3 of no-route, told or not", counts)
	}
}

// TestEventsAreLimited: in an interval no more than the burst is told, of each
// kind by itself, and what is left out is counted.
func TestEventsAreLimited(t *testing.T) {
	d, send, _ := refuser(t)
	for _, c := range []struct {
		burst uint32
		want  EventCount // since the beginning: one has been told when five may be
	}{{1, EventCount{Told: 1, Limited: 19}}, {5, EventCount{Told: 5, Limited: 35}}, {0, EventCount{Told: 5, Limited: 55}}} {
		check(t, d.SetRecording(Recording{Drops: true, Interval: time.Hour, Burst: c.burst}))
		for range 20 {
			send()
		}
		counts, err := d.EventCounts()
		check(t, err)
		if counts[EventDrop] != c.want {
			t.Errorf("of 20 frames with a burst of %d: %+v, want %+v", c.burst, counts[EventDrop], c.want)
		}
	}
}

// TestEventsAreSampled: one of so many frames is told, and says so.
func TestEventsAreSampled(t *testing.T) {
	d, send, _ := refuser(t)
	check(t, d.SetRecording(Recording{Drops: true, OneOf: 8}))
	for range 4000 {
		send()
	}
	counts, err := d.EventCounts()
	check(t, err)
	c := counts[EventDrop]
	if c.Told+c.PassedOver != 4000 || c.Told < 350 || c.Told > 650 { // 500 expected, deviation 21
		t.Errorf("of 4000 frames %+v, want 500 told, about", c)
	}
	if i := slices.IndexFunc(told(t, d), func(e Event) bool { return e.OneOf != 8 }); i >= 0 {
		t.Errorf("event %d does not say that it stands for 8 frames", i)
	}
}

// TestEventsFindNoReader: the ring is bounded, and what finds no room is
// counted; the packet path goes on.
func TestEventsFindNoReader(t *testing.T) {
	d, send, _ := refuser(t)
	check(t, d.SetRecording(Recording{Drops: true}))
	const sent = 8000
	for range sent {
		send()
	}
	counts, err := d.EventCounts()
	check(t, err)
	c := counts[EventDrop]
	if c.Told+c.Unheard != sent || c.Told < 3300 || c.Told > 4000 {
		t.Errorf("of %d frames %+v, want three quarters of a ring told and the others unheard", sent, c)
	}
	if got := len(told(t, d)); got != int(c.Told) {
		t.Errorf("%d events wait, %d were told", got, c.Told)
	}
}

// speaker loads a world whose loopback interface is a port that reaches another
// host, and returns what sends a frame there, and the frame.
func speaker(t *testing.T) (*Datapath, func(), []byte) {
	t.Helper()
	d, _, _ := refuser(t)
	to := netip.MustParseAddr("10.0.0.9")
	check(t, d.SetConfig(Config{TunnelDevice: loopback}))
	check(t, d.NextHops.Put(1, NextHop{Kind: NextHopTunnel, VNI: 7, Remote: netip.MustParseAddr("192.0.2.1"), Encapsulation: EncapsulationVXLAN}))
	check(t, d.Routes.Put(RouteKey{7, netip.PrefixFrom(to, 32)}, Route{NextHop: 1, MAC: MAC{2, 0, 0, 0, 0, 9}}))
	s := ipSpec{source: netip.MustParseAddr("10.0.0.1"), destination: to, protocol: 17, hops: 64}
	s.payload = append([]byte{0x9c, 0x40, 0, 53, 0, 108, 0, 0}, make([]byte, 100)...)
	frame := ethernetFrame(MAC{2, 0, 0, 0, 0, 9}, portMAC(loopback), s.ethertype(), s.build())
	return d, func() {
		action, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame})
		check(t, err)
		if action != 7 {
			t.Fatalf("frame ends with action %d", action)
		}
	}, frame
}

// TestFirstPacketIsTold: the packet with which a conversation begins is told at
// its end, and no other.
func TestFirstPacketIsTold(t *testing.T) {
	d, send, frame := speaker(t)
	check(t, d.SetRecording(Recording{First: true, Drops: true}))
	for range 3 {
		send()
	}
	all := told(t, d)
	if len(all) != 1 {
		t.Fatalf("%d events, want that of the first packet: %+v", len(all), all)
	}
	e := all[0]
	if e.Kind != EventFirst || e.Ifindex != loopback || e.Port != 42 || e.VRF != 7 || e.In || e.Reason.Name != "" || e.Length != len(frame) {
		t.Errorf("event is %+v", e)
	}
}

// TestConnectionsCount: an end counts what it sends while that is wanted, and
// nothing else.
func TestConnectionsCount(t *testing.T) {
	d, send, frame := speaker(t)
	send() // not counted, nor is the next that finds its entry
	check(t, d.SetRecording(Recording{Counts: true}))
	for range 3 {
		send()
	}
	check(t, d.SetRecording(Recording{}))
	send()
	n := 0
	check(t, d.Connections(func(_ ConnectionKey, c Connection) {
		n++
		if want := (ConnectionCount{3, uint64(3 * len(frame))}); c.Sent != want || c.Heard != (ConnectionCount{}) {
			t.Errorf("counted %+v and heard %+v, want %+v", c.Sent, c.Heard, want)
		}
	}))
	if n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
