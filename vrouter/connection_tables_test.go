// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"slices"
	"testing"
)

// fewFlows is room for few connections.
func fewFlows() Sizes {
	sizes := smallSizes
	sizes.Connections, sizes.HalfOpen = 8, 256
	return sizes
}

// flowsWorld is the named one, to be rehearsed.
func flowsWorld(t *testing.T, d *Datapath) (*Datapath, *Tracer) {
	t.Helper()
	install(t, d, tenants())
	return d, newRehearsal(t, d)
}

func countConnections(t *testing.T, d *Datapath) (confirmed, halfOpen int) {
	t.Helper()
	check(t, d.Connections(func(_ ConnectionKey, c Connection) {
		if c.HalfOpen {
			halfOpen++
		} else {
			confirmed++
		}
	}))
	return confirmed, halfOpen
}

// A flood of frames that nobody answers finds room for its newest only, and
// leaves those alone whose remote end is proven.
func TestFloodEvictsOnlyItsLike(t *testing.T) {
	d, r := flowsWorld(t, tablesForTest(t, fewFlows()))
	for _, c := range conversations() {
		for _, s := range []sent{c.there(), c.back()} {
			_, err := r.say(s, 0, 0, 1)
			check(t, err)
		}
		_, err := r.say(c.there(), 1, 1, 5000)
		check(t, err)
	}
	confirmed, halfOpen := countConnections(t, d)
	// A flood to a local workload is half-open at both ends; so is the far end
	// of the conversations, which has not heard again.
	if confirmed != 4 || halfOpen == 0 || halfOpen > 2*256 {
		t.Errorf("%d connections are confirmed, want 4; %d are half-open, want 1 to 256 in shares and as many besides", confirmed, halfOpen)
	}
}

// Connections beyond the table are forwarded, counted and stay half-open.
func TestFullConnectionsAreCounted(t *testing.T) {
	d, r := flowsWorld(t, tablesForTest(t, fewFlows()))
	c := conversation{tunnel: true}
	for _, s := range []sent{c.there(), c.back()} {
		_, err := r.say(s, 1, 1, 20)
		check(t, err)
	}
	confirmed, halfOpen := countConnections(t, d)
	if confirmed != 8 || halfOpen != 12 {
		t.Errorf("%d connections are confirmed and %d half-open, want 8 and 12", confirmed, halfOpen)
	}
	o := tenants()
	for _, s := range []sent{c.there(), c.back()} {
		var got, want Outcome
		var err error
		if s.key == nil {
			got, err = r.FromPort(s.ifindex, s.frame)
			want = o.FromPort(s.ifindex, s.frame)
		} else {
			got, err = r.FromTunnel(s.ifindex, s.key, s.frame)
			want = o.FromTunnel(s.ifindex, s.key, s.frame)
		}
		check(t, err)
		compare(t, "with a full table", s.frame, got, want)
	}
}

// The product counts each frame whose connection finds no room.
func TestUntrackedFramesAreCounted(t *testing.T) {
	d, r := flowsWorld(t, loadForTest(t, fewFlows()))
	c := conversation{}
	for range 2 {
		for _, s := range []sent{c.there(), c.back()} {
			_, err := r.say(s, 1, 1, 8) // both ends of eight flows; the table is full with half of them
			check(t, err)
		}
	}
	for _, s := range []sent{c.there(), c.back()} {
		_, err := r.say(s, 0, 0, 1)
		check(t, err)
	}
	for range 3 { // heard and sent already: each frame asks for room
		_, _, err := d.hooks[stubSlotSLOT_PORT].Benchmark(c.there().frame, 1, nil)
		check(t, err)
	}
	counters, err := d.Counters()
	check(t, err)
	if len(counters) == 0 || counters[0].Ifindex != loopback || counters[0].Untracked == 0 {
		t.Errorf("counters %+v, want untracked frames of interface %d", counters, loopback)
	}
}

// An agent that starts cannot know whether the one before it died between a
// change and the renewal of its number: no number it finds may stay.
func TestLoadRenewsEveryGeneration(t *testing.T) {
	dir := mountBPFFS(t) + "/weft"
	seen := map[uint32]bool{0: true}
	for range 3 {
		d, err := Load(Options{PinDir: dir, Sizes: smallSizes})
		check(t, err)
		for slot := range d.maps["generations"].MaxEntries() {
			var number uint32
			check(t, d.maps["generations"].Lookup(slot, &number))
			if seen[number] {
				t.Fatalf("slot %d has number %d again", slot, number)
			}
			seen[number] = true
		}
		d.Close()
	}
}

// Connections end by time, each protocol and state by its own, and with their port.
func TestConnectionsExpire(t *testing.T) {
	d := tablesForTest(t, fewFlows())
	install(t, d, tenants())
	now, err := ticksNow()
	check(t, err)
	const proven = uint8(ConnectionSent | ConnectionHeard | ConnectionProven)
	stays := map[uint16]bool{}
	for i, c := range []struct {
		protocol uint8
		state    uint8
		idle     uint32 // ticks
		ifindex  uint32
		port     uint32
		stays    bool
	}{
		{6, proven, 6000, 1, 0, true},
		{6, proven, 7500, 1, 0, false},
		{6, proven | uint8(ConnectionFinSent), 200, 1, 0, true},
		{6, proven | uint8(ConnectionFinSent), 300, 1, 0, false},
		{6, proven | uint8(ConnectionReset), 20, 1, 0, false},
		{6, proven | uint8(ConnectionFinSent|ConnectionFinHeard), 20, 1, 0, false},
		{132, uint8(ConnectionSent), 40, 1, 0, false},
		{6, uint8(ConnectionSent), 40, 1, 0, true},
		{6, uint8(ConnectionSent), 70, 1, 0, false},
		{17, proven, 250, 1, 0, true},
		{17, proven, 400, 1, 0, false},
		{1, proven, 40, 1, 0, true},
		{1, proven, 70, 1, 0, false},
		{6, proven, 6000, 77, 0, true}, // not a port, and not for long: the host that has it now may ask
		{6, proven, 6000, 1, 9, true},  // another port was there
		{6, proven, 7500, 77, 0, false},
		{6, proven, 7500, 1, 9, false},
	} {
		key := layoutConnectionKey{Ifindex: c.ifindex, Protocol: c.protocol, Family: 4, LocalPort: wirePort(uint16(i))}
		stays[uint16(i)] = c.stays
		check(t, d.maps[halfOpenTable].Put(&key, &layoutConnectionValue{Port: c.port, State: c.state, Seen: now - c.idle, Made: now - c.idle}))
	}
	var told []ConnectionKey
	removed, err := d.ExpireConnections(func(k ConnectionKey, _ Connection) { told = append(told, k) })
	check(t, err)
	left := map[uint16]bool{}
	check(t, d.Connections(func(k ConnectionKey, _ Connection) { left[k.Local.Port()] = true }))
	for i, want := range stays {
		if left[i] != want {
			t.Errorf("connection %d is there: %t, want %t", i, left[i], want)
		}
	}
	if removed != 10 || len(told) != 10 || slices.ContainsFunc(told, func(k ConnectionKey) bool { return stays[k.Local.Port()] }) {
		t.Errorf("%d connections removed and %v told, want 10 of both", removed, told)
	}
	for former := range d.formers { // and a minute later
		d.formers[former] -= 70
	}
	removed, err = d.ExpireConnections(nil)
	check(t, err)
	if removed != 2 {
		t.Errorf("a minute after two ports were gone %d connections are removed, want 2", removed)
	}
}

// TestConnectionsMove: what a port's ends know goes to another host as it is, mapping
// and who serves included, but for what is true of the former host alone; what was seen
// there already stays, but for who began.
func TestConnectionsMove(t *testing.T) {
	from, to := tablesForTest(t, fewFlows()), tablesForTest(t, fewFlows())
	install(t, from, tenants())
	install(t, to, tenants())
	now, err := ticksNow()
	check(t, err)
	const proven = uint8(ConnectionSent | ConnectionHeard | ConnectionProven)
	key := func(ifindex uint32, port uint16) layoutConnectionKey {
		return layoutConnectionKey{Ifindex: ifindex, Protocol: 6, Family: 4, LocalPort: wirePort(port), Local: layoutAddress{Word: [4]uint32{1}}}
	}
	for port, v := range map[uint16]layoutConnectionValue{
		1: {Port: 9, State: proven | uint8(ConnectionHeardFirst), Seen: now - 5, Made: now - 50, Way: 7, Passed: 8, Told: 3, Rule: 4, Mac: layoutMac{Byte: MAC{2, 1}}},
		2: {Port: 9, State: proven, Seen: now - 5, Made: now - 50, Way: 7, Mac: layoutMac{Byte: MAC{memberMAC, 1}}, Mapping: 5, Itself: wirePort(4000)},
		3: {Port: 8, State: proven, Seen: now, Made: now}, // another port's
	} {
		v.Sent.Packets, v.Heard.Bytes = 10, 1000
		check(t, from.maps["connections"].Put(new(key(5, port)), &v))
	}
	check(t, from.maps[halfOpenTable].Put(new(key(5, 4)), &layoutConnectionValue{Port: 9, State: uint8(ConnectionHeard | ConnectionHeardFirst), Seen: now, Made: now}))
	// The workload spoke at its new host before that was told who had begun.
	early := layoutConnectionValue{Port: 9, State: uint8(ConnectionSent), Seen: now, Made: now, Way: 1, Passed: 1}
	early.Sent.Packets = 2
	check(t, to.maps[halfOpenTable].Put(new(key(6, 1)), &early))
	var all []MovedConnection
	check(t, from.ConnectionsOf(9, func(c MovedConnection) { all = append(all, c) }))
	taken, err := to.TakeConnections(6, 9, all)
	check(t, err)
	if taken != 3 {
		t.Errorf("%d connections are taken over, want 3", taken)
	}
	for _, want := range []struct {
		port  uint16
		table string
		state uint8
		sent  uint64
	}{{1, "connections", proven | uint8(ConnectionHeardFirst), 12}, {2, "connections", proven, 10}, {4, restTable, uint8(ConnectionHeard | ConnectionHeardFirst), 0}} {
		for _, table := range connectionTables {
			var v layoutConnectionValue
			err := to.maps[table].Lookup(new(key(6, want.port)), &v)
			if there := err == nil; there != (table == want.table) {
				t.Errorf("connection %d is in table %s: %v", want.port, table, err)
			} else if mapped := v.Mapping == 5 && v.Itself == wirePort(4000) && v.Flags == uint8(layoutRouteFlagROUTE_UNLED) && memberOf(&v) == (MAC{memberMAC, 1}); there && (mapped != (want.port == 2) || v.State != want.state || v.Port != 9 || v.Sent.Packets != want.sent || v.Way != 0 || v.Passed != 0 || v.Told != 0 || v.Rule != 0) {
				t.Errorf("connection %d is %+v", want.port, v)
			}
		}
	}
}

// Of what is led to members of load-balancers that is cut which is said, in whatever table
// it is, and nothing that is led to nobody or is of another protocol.
func TestServedConnectionsAreCut(t *testing.T) {
	d := tablesForTest(t, fewFlows())
	install(t, d, tenants())
	now, err := ticksNow()
	check(t, err)
	gone, other := MAC{memberMAC, 1}, MAC{memberMAC, 2}
	stays := map[uint16]bool{}
	for i, c := range []struct {
		table    string
		protocol uint8
		mac      MAC
		stays    bool
	}{
		{confirmedTable, 17, gone, false}, {halfOpenTable, 17, gone, false}, {restTable, 17, gone, false},
		{confirmedTable, 17, other, true}, {confirmedTable, 6, gone, true}, {confirmedTable, 132, gone, true},
		{confirmedTable, 17, MAC{2, 1}, true}, {halfOpenTable, 17, MAC{}, true},
	} {
		key := layoutConnectionKey{Ifindex: 1, Protocol: c.protocol, Family: 4, LocalPort: wirePort(uint16(i))}
		stays[uint16(i)] = c.stays
		check(t, d.maps[c.table].Put(&key, &layoutConnectionValue{Seen: now, Made: now, Mac: layoutMac{Byte: c.mac}}))
	}
	told := 0
	removed, err := d.CutServed(17, func(k ConnectionKey, member MAC) bool { return member != other && k.Ifindex == 1 }, func(k ConnectionKey, _ Connection) {
		if told++; stays[k.Local.Port()] {
			t.Errorf("connection %d is told to have ended", k.Local.Port())
		}
	})
	check(t, err)
	left := map[uint16]bool{}
	check(t, d.Connections(func(k ConnectionKey, _ Connection) { left[k.Local.Port()] = true }))
	for i, want := range stays {
		if left[i] != want {
			t.Errorf("connection %d is there: %t, want %t", i, left[i], want)
		}
	}
	if removed != 3 || told != 3 {
		t.Errorf("%d connections are cut and %d told, want 3", removed, told)
	}
}

// What connections know is the kernel's: it outlives the process that loaded the programs.
func TestConnectionsOutliveTheProcess(t *testing.T) {
	dir := mountBPFFS(t) + "/weft"
	before, err := Load(Options{PinDir: dir, Sizes: smallSizes})
	check(t, err)
	install(t, before, tenants())
	r := newRehearsal(t, before)
	c := conversation{tunnel: true}
	for _, s := range []sent{c.there(), c.back()} {
		_, err := r.say(s, 0, 0, 1)
		check(t, err)
	}
	before.Close()
	after, err := Load(Options{PinDir: dir, Sizes: smallSizes})
	check(t, err)
	t.Cleanup(after.Close)
	if confirmed, halfOpen := countConnections(t, after); confirmed != 1 || halfOpen != 0 {
		t.Errorf("%d confirmed connections after a restart, %d half-open, want 1 and 0", confirmed, halfOpen)
	}
}
