// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
)

// stateWorld is the named one in which a packet may come to both ends of a
// conversation on this host, to one on this host and another, and from this host itself.
func stateWorld(t *testing.T) (*Datapath, *Tracer, *generator) {
	t.Helper()
	d := tablesForTest(t, smallSizes)
	return d, newRehearsal(t, d), stateGenerator(t, d)
}

func stateGenerator(t *testing.T, d *Datapath) *generator {
	t.Helper()
	g := &generator{Rand: seeded(t), o: tenants()}
	g.o.Met, g.o.Places = map[string]int{}, map[Place]struct{}{}
	install(t, d, g.o)
	return g
}

// saysOf are the packets of one conversation, from either end, with any flags.
func (g *generator) saysOf(six, tunnel bool, protocol byte) sent {
	c := packetCase{ifindex: 1, destination: GatewayMAC, source: 2, to: 3, hops: 64}
	if tunnel {
		c.to = 4
	}
	there := g.chance(50)
	if !there {
		c.source, c.to = c.to, c.source
		if c.ifindex = 2; tunnel {
			c.ifindex, c.vni = 0, 1001
		}
	}
	mac := portMAC(c.ifindex)
	payload := make([]byte, pick(g, 20, 20, 24, 40, 60))
	binary.BigEndian.PutUint16(payload, 7)
	binary.BigEndian.PutUint16(payload[2:], 7)
	s := ipSpec{source: poolAddress(six, c.source), destination: poolAddress(six, c.to), protocol: protocol, hops: 64, payload: payload}
	back := sent{ifindex: c.ifindex, frame: ethernetFrame(GatewayMAC, mac, s.ethertype(), s.build())}
	if c.vni != 0 {
		back.ifindex, back.key = testTunnelDevice, &TunnelKey{VNI: c.vni, Remote: netip.MustParseAddr("192.0.2.11")}
	}
	return g.fit(g.flags(back))
}

// fit makes every other packet one that is believed, and some that chance makes seldom:
// those after a reset and, of SCTP, those that end what is established.
func (g *generator) fit(s sent) sent {
	f := parse(s.frame)
	l4 := s.frame[f.l4:]
	here, there := netip.AddrPortFrom(f.source, 7), netip.AddrPortFrom(f.destination, 7)
	sender := g.o.Connections[ConnectionKey{s.ifindex, f.protocol, here, there}]
	receiver := g.o.Connections[ConnectionKey{1, f.protocol, there, here}]
	if s.ifindex == 1 {
		receiver = g.o.Connections[ConnectionKey{2, f.protocol, there, here}]
	}
	if g.chance(50) {
		binary.BigEndian.PutUint16(l4[4:], receiver.Expects)
	}
	switch {
	case g.chance(50):
	case f.protocol == 6 && sender.State&ConnectionReset != 0:
		l4[13] = 0x10
	case f.protocol == 132 && (sender.State|receiver.State)&ConnectionProven != 0:
		l4[12], l4[13] = pick(g, byte(1), 6, 7, 8), 0
	}
	return s
}

// compareEnds compares what the ends know of which the model knows anything.
func compareEnds(t *testing.T, d *Datapath, o *Oracle, what string, s sent) {
	t.Helper()
	for key, want := range o.Connections {
		raw, err := connectionKeyToRaw(key)
		check(t, err)
		var got Connection
		for _, table := range connectionTables {
			var value layoutConnectionValue
			if d.maps[table].Lookup(&raw, &value) == nil {
				got = Connection{Port: value.Port, State: ConnectionState(value.State), Expects: value.Expects, HalfOpen: table != confirmedTable}
			}
		}
		if got != want {
			t.Fatalf("%s %v: %x\nend %v is %+v, want %+v", what, s, s.frame, key, got, want)
		}
	}
}

// TestStatesAgreeWithOracle floods the ends of a few conversations with packets
// of any flags and numbers. After each, ends know what the model says.
func TestStatesAgreeWithOracle(t *testing.T) {
	wanted := *casesFlag
	conversations := 5 * wanted
	if wanted == 0 {
		conversations = glanceConversations
	}
	d, r, g := stateWorld(t)
	floodEnds(t, d, r, g, conversations, func() bool { return wanted > 0 && len(lackingSteps(g.o.Met, wanted)) > 0 })
	for _, step := range slices.Sorted(maps.Keys(g.o.Met)) {
		t.Logf("%7d  %s", g.o.Met[step], step)
	}
	for _, step := range lackingSteps(g.o.Met, wanted) {
		t.Error(step)
	}
}

// floodEnds compares so many conversations, and up to twenty times as many while more are wanted.
func floodEnds(t *testing.T, d *Datapath, r *Tracer, g *generator, conversations int, more func() bool) {
	t.Helper()
	const packets = 16
	for n := 0; n < conversations || n < 20*conversations && more(); n++ {
		if n%100 == 99 {
			compareConnections(t, d, g.o, map[string]int{})
		}
		protocol, six, tunnel := pick(g, byte(6), 6, 132, 132), g.chance(50), g.chance(50)
		forgetConnections(t, d)
		g.o.Connections, g.o.fragments, g.o.ways = map[ConnectionKey]Connection{}, map[fragmentKey]wirePorts{}, map[ConnectionKey]oracleWay{}
		for i := range packets {
			what := fmt.Sprintf("conversation %d packet %d", n, i)
			s := g.saysOf(six, tunnel, protocol)
			if got := g.step(t, r, what, s); got.Verdict != "delivered" && got.Verdict != "tunnelled" {
				t.Fatalf("%s: %s", what, show(got))
			}
			compareEnds(t, d, g.o, what, s)
		}
	}
}

// sctpChunk is one of SCTP, with the tag that INIT and INIT ACK have.
func sctpChunk(kind, flags byte, tag uint32) []byte {
	c := []byte{kind, flags, 0, 20, 19: 0}
	binary.BigEndian.PutUint32(c[4:], tag)
	return c
}

// TestAssociation is the life of one of SCTP with another host, as an end here knows
// it: one that opens it, and one that is spoken to.
func TestAssociation(t *testing.T) {
	const here, away, wrong = 0x11112222, 0x33334444, 0x99994444 // the tags that both ends give themselves, and a guess
	type packet struct {
		what  string
		heard bool
		tag   uint32
		chunk []byte
		state string
	}
	d, r, _ := stateWorld(t)
	for what, packets := range map[string][]packet{
		"opens": {
			{"INIT", false, 0, sctpChunk(1, 0, here), "opening"},
			{"ABORT of somebody else", true, wrong, sctpChunk(6, 0, 0), "opening"},
			{"INIT ACK", true, here, sctpChunk(2, 0, away), "opening"},
			{"COOKIE ECHO", false, away, sctpChunk(10, 0, 0), "opening"},
			{"COOKIE ACK of somebody else", true, wrong, sctpChunk(11, 0, 0), "opening"},
			{"COOKIE ACK", true, here, sctpChunk(11, 0, 0), "established"},
			{"INIT of somebody else", true, 0, sctpChunk(1, 0, wrong), "established"},
			{"INIT ACK to that", false, wrong, sctpChunk(2, 0, 0x77777777), "established"},
			{"ABORT of somebody else", true, wrong, sctpChunk(6, 0, 0), "established"},
			{"ABORT with the T bit", true, away, sctpChunk(6, 1, 0), "established"},
			{"SHUTDOWN of somebody else", true, wrong, sctpChunk(7, 0, 0), "established"},
			{"SACK and ABORT behind DATA", true, here, append(sctpChunk(0, 0, 0), sctpChunk(6, 0, 0)...), "established"},
			{"SHUTDOWN behind SACK", true, here, append(sctpChunk(3, 0, 0), sctpChunk(7, 0, 0)...), "closing"},
			{"DATA", false, away, sctpChunk(0, 0, 0), "closing"},
			{"SHUTDOWN ACK", false, away, sctpChunk(8, 0, 0), "closed"},
			{"SHUTDOWN COMPLETE", true, here, sctpChunk(14, 0, 0), "closed"},
			{"another INIT", false, 0, sctpChunk(1, 0, here+1<<16), "opening"},
			{"ABORT with the former tag", true, here, sctpChunk(6, 0, 0), "opening"},
			{"ABORT", true, here + 1<<16, sctpChunk(6, 0, 0), "reset"},
		},
		"is spoken to": {
			{"INIT", true, 0, sctpChunk(1, 0, away), "opening"},
			{"INIT ACK", false, away, sctpChunk(2, 0, here), "opening"},
			{"COOKIE ECHO of somebody else", true, wrong, sctpChunk(10, 0, 0), "opening"},
			{"COOKIE ECHO", true, here, sctpChunk(10, 0, 0), "established"},
			{"COOKIE ACK", false, away, sctpChunk(11, 0, 0), "established"},
			{"SHUTDOWN", false, away, sctpChunk(7, 0, 0), "closing"},
			{"ABORT with the T bit, sent", false, here, sctpChunk(6, 1, 0), "reset"},
			{"INIT", true, 0, sctpChunk(1, 0, away), "opening"},
		},
	} {
		forgetConnections(t, d)
		for _, p := range packets {
			s := ipSpec{source: poolAddress(false, 2), destination: poolAddress(false, 4), protocol: sctp, hops: 64}
			s.payload = append([]byte{0, 7, 0, 7, 11: 0}, p.chunk...)
			binary.BigEndian.PutUint32(s.payload[4:], p.tag)
			var err error
			if p.heard {
				s.source, s.destination = s.destination, s.source
				_, err = r.FromTunnel(testTunnelDevice, &TunnelKey{VNI: 1001, Remote: netip.MustParseAddr("192.0.2.11")}, ethernetFrame(portMAC(1), MAC{2, 8}, s.ethertype(), s.build()))
			} else {
				_, err = r.FromPort(1, ethernetFrame(GatewayMAC, portMAC(1), s.ethertype(), s.build()))
			}
			check(t, err)
			n := 0
			check(t, d.Connections(func(_ ConnectionKey, got Connection) {
				n++
				if got.State.String() != p.state {
					t.Errorf("%s, %s: it is %v, want %s", what, p.what, got.State, p.state)
				}
			}))
			if n != 1 {
				t.Fatalf("%s, %s: %d ends know it, want 1", what, p.what, n)
			}
		}
	}
}
