// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"maps"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// learningWorld has two networks whose ports, 1 and 3, may learn as much as the
// table holds.
func learningWorld() *Oracle {
	o := tenants()
	for ifindex, port := range o.Ports {
		port.ID, port.Bridge, port.MACLimit = uint32(100+ifindex), true, learnedRoom
		o.Ports[ifindex] = port
	}
	o.MACCounts = map[MACCount]uint32{freeMACs: learnedRoom}
	return o
}

// stations sends a frame from each of many stations behind a port, and tells
// how many were not let in for a reason.
func stations(t *testing.T, r *Tracer, ifindex, from, count int) (refused map[string]int) {
	t.Helper()
	refused = map[string]int{}
	for n := range count {
		got, err := r.FromPort(ifindex, ethernetFrame(MAC{2, 9, 9, 9, 9, 9}, strayMAC(uint32(ifindex), from+n), 0x88b5, make([]byte, 50)))
		check(t, err)
		if got.Reason != "unknown-mac" { // it was let in, and nobody has the MAC that it is for
			refused[got.Reason]++
		}
	}
	return refused
}

func learnedBy(t *testing.T, d *Datapath) map[uint32]int {
	t.Helper()
	n := map[uint32]int{}
	check(t, d.LearnedMACs(func(k MACKey, _ LearnedMAC, _ time.Duration) { n[k.VRF]++ }))
	return n
}

// A network that learns all it can leaves room for the next, which can do no
// more; and what has aged makes room for both.
func TestOneNetworkLeavesRoomToLearn(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	install(t, d, learningWorld())
	r := newRehearsal(t, d)
	want := func(what string, refused map[string]int, wantRefused int, wantLearned map[uint32]int) {
		t.Helper()
		if learned := learnedBy(t, d); refused["mac-share"] != wantRefused || len(refused) > 1 || !maps.Equal(learned, wantLearned) {
			t.Fatalf("%s: refused %v, want %d for mac-share; learned %v, want %v", what, refused, wantRefused, learned, wantLearned)
		}
	}
	half, quarter := learnedRoom/2, learnedRoom/4
	want("the first network", stations(t, r, 1, 0, learnedRoom), half, map[uint32]int{1: half})
	want("the second", stations(t, r, 3, 0, learnedRoom), learnedRoom-quarter, map[uint32]int{1: half, 2: quarter})
	want("those that are known", stations(t, r, 1, 0, half), 0, map[uint32]int{1: half, 2: quarter})

	// Half of what the first has is heard no more.
	now, err := ticksNow()
	check(t, err)
	all, err := d.learned.All()
	check(t, err)
	for n := range half / 2 {
		k := MACKey{1, strayMAC(1, n)}
		v := all[k]
		v.Seen = now - uint32((macTimeout+5*time.Second)/tick)
		check(t, d.learned.Put(k, v))
	}
	removed, err := d.ExpireMACs()
	check(t, err)
	want("after ageing", nil, 0, map[uint32]int{1: half - half/2, 2: quarter})
	if removed != half/2 {
		t.Errorf("%d were removed, want %d", removed, half/2)
	}
	again := stations(t, r, 1, 50, learnedRoom)
	if learned := learnedBy(t, d); learned[1] != 15 || again["mac-share"] != learnedRoom-5 { // 15 of 30 that the second does not have
		t.Errorf("learned anew %v, refused %v", learned, again)
	}
}

// What goes when MACs age: those not heard for long, those behind what is no
// longer the port it was, and those that a port now has. The counts of the others
// are right again, whatever they were.
func TestLearnedMACsAge(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	o := learningWorld()
	now, err := ticksNow()
	check(t, err)
	old := now - uint32((macTimeout+5*time.Second)/tick)
	kept := map[MACKey]LearnedMAC{
		{1, strayMAC(1, 1)}: {Ifindex: 1, Port: 101, Seen: now},
		{1, strayMAC(1, 2)}: {Ifindex: 1, Port: 101, Seen: now - uint32((macTimeout-10*time.Second)/tick)},
		{1, strayMAC(1, 3)}: {VNI: 1001, Remote: testSources[0], Seen: now},
		{2, strayMAC(1, 1)}: {VNI: 1002, Remote: testSources[1], Seen: now},
	}
	o.Learned = maps.Clone(kept)
	maps.Copy(o.Learned, map[MACKey]LearnedMAC{
		{1, strayMAC(1, 4)}: {Ifindex: 1, Port: 101, Seen: old},
		{2, strayMAC(1, 4)}: {VNI: 1002, Remote: testSources[1], Seen: old},
		{1, strayMAC(1, 5)}: {Ifindex: 1, Port: 99, Seen: now},  // of a former port
		{1, strayMAC(1, 6)}: {Ifindex: 3, Port: 103, Seen: now}, // which is in another network now
		{1, strayMAC(1, 7)}: {Ifindex: 77, Port: 5, Seen: now},  // which is gone
		{1, portMAC(2)}:     {Ifindex: 1, Port: 101, Seen: now}, // a port has it now
	})
	o.MACs = map[MACKey]uint32{{1, portMAC(2)}: 2}
	o.MACCounts = map[MACCount]uint32{{1, 1}: 17, {1, 77}: 3, {9, allMACs}: 4, freeMACs: 1}
	install(t, d, o)
	removed, err := d.ExpireMACs()
	check(t, err)
	left, err := d.learned.All()
	check(t, err)
	if removed != 6 || !maps.Equal(left, kept) {
		t.Errorf("%d removed, want 6; left\n %v\nwant\n %v", removed, left, kept)
	}
	counts, err := d.macCounts.All()
	check(t, err)
	want := map[MACCount]uint32{
		{1, 1}: 2, {1, testTunnelDevice}: 1, {2, testTunnelDevice}: 1, {1, allMACs}: 3, {2, allMACs}: 1, freeMACs: learnedRoom - 4,
	}
	if !maps.Equal(counts, want) {
		t.Errorf("counts\n %v\nwant\n %v", counts, want)
	}
	for range 2 { // a table that is full says so, and not that nobody has counted
		check(t, d.setMACCounts(map[MACCount]uint32{freeMACs: 0}))
		check(t, d.initMACCounts())
		if n, there, err := d.macCounts.Get(freeMACs); n != 0 || !there || err != nil {
			t.Errorf("%d places are free (%t, %v), want none", n, there, err)
		}
	}
}

// What a port floods costs as much as it has receivers, and beyond its share
// nothing is copied; what other hosts flooded is copied all the same.
func TestFloodsAreLimited(t *testing.T) {
	d := loadForTest(t, smallSizes)
	o := learningWorld()
	o.Config.FloodInterval, o.Config.FloodBurst = time.Hour, 10
	check(t, d.Activate())
	flood := func(places int) (limited int) {
		o.Floods = map[uint32]Flood{1: {Places: places}} // nobody is there: a test run would really send copies
		install(t, d, o)
		before := dropsOf(t, d, loopback, "flood-limited")
		for range 20 {
			frame := ethernetFrame(MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, portMAC(loopback), 0x88b5, make([]byte, 50))
			_, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)})
			check(t, err)
		}
		return int(dropsOf(t, d, loopback, "flood-limited") - before)
	}
	for places, want := range map[int]int{0: 10, 1: 10, 4: 17, 10: 19, 200: 19} {
		if n := flood(places); n != want {
			t.Errorf("%d of 20 floods to %d places were refused, want %d", n, places, want)
		}
	}
	check(t, d.Forget(loopback)) // the next port there begins anew
	o.Config.FloodInterval = 0
	if n := flood(4); n != 0 {
		t.Errorf("%d floods were refused without a limit", n)
	}
	o.Stilled = map[int]bool{loopback: true, testTunnelDevice: true}
	o.VNIs[1001] = VNI{VRF: 1, Bridge: true}
	install(t, d, o)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	frame := ethernetFrame(MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, strayMAC(1, 1), 0x88b5, make([]byte, 50))
	if got, err := tracer.FromTunnel(testTunnelDevice, &TunnelKey{VNI: 1001, Remote: testSources[0]}, frame); err != nil || got.Verdict != "flooded" {
		t.Errorf("a flood of another host is %s %s (%v), want flooded", got.Verdict, got.Reason, err)
	}
}

// UDP to services costs a packet's share, a new conversation four more, and what
// goes on by TCP nothing.
func TestServicesAreLimited(t *testing.T) {
	const burst = 100
	d := loadForTest(t, smallSizes)
	o := tenants()
	o.Config.HostDevice, o.Config.HostMAC = testHostDevice, testHostMAC
	o.Config.ServiceInterval, o.Config.ServiceBurst = time.Hour, burst
	o.Services, o.Aliases = map[Service]uint16{}, map[uint32]int{MinAlias + loopback: loopback}
	for _, six := range []bool{false, true} {
		for _, protocol := range []byte{6, 17} {
			o.Services[Service{1, poolAddress(six, 1), protocol, 53}] = testListeners[0]
		}
	}
	port := o.Ports[loopback]
	port.Alias = MinAlias + loopback
	o.Ports[loopback] = port
	install(t, d, o)
	ask := func(protocol byte, count int, from func(n int) uint16) (limited int) {
		check(t, d.Forget(loopback))
		for n := range count {
			six := n%2 == 1
			s := ipSpec{source: poolAddress(six, 2), destination: poolAddress(six, 1), protocol: protocol, hops: 64}
			s.payload = make([]byte, 24)
			s.payload[0], s.payload[1], s.payload[3], s.payload[5], s.payload[12] = byte(from(n)>>8), byte(from(n)), 53, 24, 0x50
			frame := ethernetFrame(GatewayMAC, portMAC(loopback), s.ethertype(), s.build())
			_, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)})
			check(t, err)
		}
		return int(dropsOf(t, d, loopback, "service-limited"))
	}
	one, many := func(int) uint16 { return 5000 }, func(n int) uint16 { return 6000 + uint16(n) }
	for what, c := range map[string]struct {
		protocol byte
		from     func(int) uint16
		sent     int
		limited  int
	}{
		"UDP, each a new conversation": {17, many, 60, 40}, // 5 each: the twentieth takes the last
		"UDP, two that go on":          {17, one, 200, 200 - 92},
		"TCP, each a new conversation": {6, many, 60, 35},
		"TCP, two that go on for long": {6, one, 500, 0},
	} {
		if n := ask(c.protocol, c.sent, c.from); n != c.limited {
			t.Errorf("%s: %d of %d were refused, want %d", what, n, c.sent, c.limited)
		}
	}
}
