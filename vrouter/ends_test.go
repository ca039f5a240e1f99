// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/vrouter/rules"
)

// What ends remember although no frame fares otherwise: when they last heard of
// each other, what passed, what they counted.

const ownPortID, peerPortID = 101, 102

// TestEnds tries all on one loaded path, which begins anew each time.
func TestEnds(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	r := newRehearsal(t, d)
	for what, try := range map[string]func(*testing.T, *Datapath, *Tracer){
		"packets keep ends young":             packetsKeepEndsYoung,
		"the receiver is told once in a tick": receiverIsToldOnce,
		"rules are asked once":                rulesAreAskedOnce,
		"ends count":                          endsCount,
		"a beginning is told at both ends":    beginningIsTold,
		"fragments are forgotten":             fragmentsAreForgotten,
		"places are kept young":               placesAreKeptYoung,
		"errors quote enough":                 errorsQuoteEnough,
		"groups are asked again":              groupsAreAskedAgain,
		"types are asked":                     typesAreAsked,
	} {
		t.Run(what, func(t *testing.T) {
			installEnds(t, d)
			try(t, d, r)
		})
	}
}

// installEnds makes the world the named one, in which the first tenant's two ports of
// this host are asked rules of these numbers: when they send, and when they hear.
func installEnds(t *testing.T, d *Datapath) {
	t.Helper()
	o := tenants()
	o.Rulesets, o.PortPolicies = map[uint32]rules.Ruleset{}, map[int]PortPolicy{}
	for ifindex, id := range map[int]uint32{1: ownPortID, 2: peerPortID} {
		port := o.Ports[ifindex]
		port.ID, port.Policed = id, true
		o.Ports[ifindex] = port
		o.PortPolicies[ifindex] = PortPolicy{}
	}
	install(t, d, o)
	forgetConnections(t, d)
	check(t, d.SetRecording(Recording{}))
	asks(t, d, 1, rules.Egress, 11)
	asks(t, d, 1, rules.Ingress, 12)
	asks(t, d, 2, rules.Egress, 21)
	asks(t, d, 2, rules.Ingress, 22)
}

// asks gives a port one rule in a direction, which passes everything.
func asks(t *testing.T, d *Datapath, ifindex int, direction rules.Direction, number uint32) {
	t.Helper()
	decides(t, d, ifindex, direction, rules.SecurityGroup, rules.Rule{Number: number, Action: rules.Pass})
}

// follow sends a frame through the rehearsal, which must send it on.
func (t *Tracer) follow(test *testing.T, s sent) Trace {
	test.Helper()
	var got Trace
	var err error
	if s.key != nil {
		got, err = t.FollowFromTunnel(s.ifindex, s.key, s.frame)
	} else {
		got, err = t.FollowFromPort(s.ifindex, s.frame)
	}
	check(test, err)
	if got.Verdict != "delivered" && got.Verdict != "tunnelled" {
		test.Fatalf("%v: %s", s, show(got.Outcome))
	}
	return got
}

// ends are what the ends of the one conversation there is remember, by interface.
func ends(t *testing.T, d *Datapath) map[uint32]layoutConnectionValue {
	t.Helper()
	all := map[uint32]layoutConnectionValue{}
	changeEnds(t, d, func(ifindex uint32, v *layoutConnectionValue) { all[ifindex] = *v })
	return all
}

func changeEnds(t *testing.T, d *Datapath, change func(ifindex uint32, v *layoutConnectionValue)) {
	t.Helper()
	for _, table := range connectionTables {
		type entry struct {
			key   layoutConnectionKey
			value layoutConnectionValue
		}
		var all []entry
		var e entry
		entries := d.maps[table].Iterate()
		for entries.Next(&e.key, &e.value) {
			all = append(all, e)
		}
		check(t, entries.Err())
		for _, e := range all {
			change(e.key.Ifindex, &e.value)
			check(t, d.maps[table].Put(&e.key, &e.value))
		}
	}
}

// age makes all that ends remember so many ticks older.
func age(t *testing.T, d *Datapath, ticks uint32) {
	t.Helper()
	changeEnds(t, d, func(_ uint32, v *layoutConnectionValue) {
		v.Seen, v.Made = v.Seen-ticks, v.Made-ticks
		if v.Told != 0 {
			v.Told = v.Told&^0xffffffff | uint64(uint32(v.Told)-ticks)
		}
	})
}

// coarseTick is the programs' clock to the bit: it is that of the last timer interrupt.
func coarseTick(t *testing.T) uint32 {
	t.Helper()
	var now unix.Timespec
	check(t, unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now))
	return uint32(now.Nano() >> layoutTickTICK_SHIFT)
}

// inOneTick repeats what would look otherwise if the clock went on meanwhile.
func inOneTick(t *testing.T, does func(now uint32)) {
	t.Helper()
	for range 100 {
		now := coarseTick(t)
		if does(now); coarseTick(t) == now {
			return
		}
	}
	t.Fatal("the clock has gone on each time: is it of another speed?")
}

// packetsKeepEndsYoung: each packet is noted with its time at the ends that
// are here, whether they know each other already or not.
func packetsKeepEndsYoung(t *testing.T, d *Datapath, r *Tracer) {
	const ticks = 20
	for _, c := range conversations() {
		forgetConnections(t, d)
		young := func(what string, s sent) {
			t.Helper()
			age(t, d, ticks)
			before, old := coarseTick(t), ends(t, d)
			r.follow(t, s)
			for ifindex, e := range ends(t, d) {
				if e.Seen < before || e.Made != old[ifindex].Made {
					t.Errorf("%v, %s: the end at %d is of tick %d, made in %d before %d; it is %d now", c, what, ifindex, e.Seen, e.Made, old[ifindex].Made, before)
				}
			}
		}
		r.follow(t, c.there())
		young("half-open", c.there())
		young("first answer", c.back())
		for n := range 3 {
			young(fmt.Sprintf("there %d", n), c.there())
			young(fmt.Sprintf("back %d", n), c.back())
		}
		want := 2
		if c.tunnel {
			want = 1
		}
		if n := len(ends(t, d)); n != want {
			t.Errorf("%v: %d ends know it, want %d", c, n, want)
		}
	}
}

// receiverIsToldOnce: of an established conversation the receiver's end
// on this host is not looked at for each packet, but when anything about it has
// changed, and in the next tick.
func receiverIsToldOnce(t *testing.T, d *Datapath, r *Tracer) {
	const ticks = 5
	for _, six := range []bool{false, true} {
		forgetConnections(t, d)
		c := conversation{six: six}
		looked := func(s sent, receiver uint32) (was bool) {
			t.Helper()
			inOneTick(t, func(now uint32) {
				for range 3 {
					r.follow(t, c.there())
					r.follow(t, c.back())
				}
				changeEnds(t, d, func(ifindex uint32, v *layoutConnectionValue) {
					if ifindex == receiver {
						v.Seen -= ticks
					}
				})
				r.follow(t, s)
				was = ends(t, d)[receiver].Seen >= now
			})
			return was
		}
		if looked(c.there(), 2) || looked(c.back(), 1) {
			t.Errorf("%v: the receiver's end is looked at although it knows", c)
		}
		for what, change := range map[string]func(){
			"a route of its network":      func() { check(t, d.Routes.Put(RouteKey{1, host(poolAddress(six, 9))}, Route{NextHop: 10})) },
			"its port's rules":            func() { asks(t, d, 2, rules.Ingress, 22) },
			"another end that began anew": func() { beginAnew(t, d, 2) },
			// What has changed must not look like time that has passed.
			"a route, after as many ticks as the number has grown by": func() {
				before := generationAt(t, d, 1)
				check(t, d.Routes.Put(RouteKey{1, host(poolAddress(six, 9))}, Route{NextHop: 10}))
				age(t, d, generationAt(t, d, 1)-before)
			},
			"a beginning, after a tick": func() { beginAnew(t, d, 2); age(t, d, 1) },
		} {
			var was bool
			inOneTick(t, func(now uint32) {
				for range 3 {
					r.follow(t, c.there())
					r.follow(t, c.back())
				}
				changeEnds(t, d, func(_ uint32, v *layoutConnectionValue) { v.Seen -= ticks })
				change()
				r.follow(t, c.there())
				was = ends(t, d)[2].Seen >= now
			})
			if !was {
				t.Errorf("%v: %s has changed, and the receiver's end is not looked at", c, what)
			}
		}
	}
}

// beginAnew counts what programs count when an end at the interface begins anew.
func beginAnew(t *testing.T, d *Datapath, ifindex uint32) {
	t.Helper()
	slot := 2*generationSlots + ifindex%generationSlots
	check(t, d.maps["generations"].Put(slot, generationAt(t, d, slot)+1))
}

func generationAt(t *testing.T, d *Datapath, slot uint32) (number uint32) {
	t.Helper()
	check(t, d.maps["generations"].Lookup(slot, &number))
	return number
}

// rulesAreAskedOnce: both ends are asked about the first packet, remember which
// rule passed it, and are asked again only after it has changed what is asked.
func rulesAreAskedOnce(t *testing.T, d *Datapath, r *Tracer) {
	for _, c := range conversations() {
		forgetConnections(t, d)
		sender, receiver := uint32(11), uint32(22)
		asks(t, d, 1, rules.Egress, sender)
		asks(t, d, 2, rules.Ingress, receiver)
		try := func(what string, s sent, want ...uint32) {
			t.Helper()
			got := r.follow(t, s)
			var asked []uint32
			for _, a := range got.Policy {
				asked = append(asked, a.Rule)
			}
			if !slices.Equal(asked, want) || slices.Contains(got.Stages, "policy") != (len(want) > 0) {
				t.Errorf("%v, %s: rules %v are asked, want %v; stages %v", c, what, asked, want, got.Stages)
			}
			e := ends(t, d)
			if e[1].Rule != sender || !c.tunnel && e[2].Rule != receiver {
				t.Errorf("%v, %s: the ends remember rules %d and %d, want %d and %d", c, what, e[1].Rule, e[2].Rule, sender, receiver)
			}
		}
		both := func() []uint32 {
			if c.tunnel {
				return []uint32{sender}
			}
			return []uint32{sender, receiver}
		}
		try("first", c.there(), both()...)
		for range 2 {
			try("again", c.there())
			try("answer", c.back())
		}
		sender = 13
		asks(t, d, 1, rules.Egress, sender)
		try("with another rule of the sender", c.there(), sender)
		try("again", c.there())
		if !c.tunnel {
			receiver = 23
			asks(t, d, 2, rules.Ingress, receiver)
			try("with another rule of the receiver", c.there(), receiver)
			try("again", c.there())
		}
		sender = 14
		asks(t, d, 1, rules.Egress, sender)
		try("answer, with another rule of whom it is for", c.back(), sender)
		for range 2 {
			try("answer again", c.back())
			try("again", c.there())
		}
		check(t, d.Routes.Put(RouteKey{1, host(poolAddress(c.six, 9))}, Route{NextHop: 10}))
		try("with a new route of the network", c.there(), both()...)
		try("again", c.there())
		try("answer", c.back())
	}
}

// endsCount: between two ports of this host an end counts what it sends, and of a
// conversation with another host also what it hears.
func endsCount(t *testing.T, d *Datapath, r *Tracer) {
	check(t, d.SetRecording(Recording{Counts: true}))
	for _, c := range conversations() {
		forgetConnections(t, d)
		for range 3 {
			r.follow(t, c.there())
		}
		for range 2 {
			r.follow(t, c.back())
		}
		r.follow(t, c.there())
		there, back := uint64(len(c.there().frame)), uint64(len(c.back().frame))
		want := map[uint32][4]uint64{1: {4, 4 * there, 0, 0}, 2: {2, 2 * back, 0, 0}}
		if c.tunnel {
			want = map[uint32][4]uint64{1: {4, 4 * there, 2, 2 * back}}
		}
		for ifindex, e := range ends(t, d) {
			if got := [4]uint64{e.Sent.Packets, e.Sent.Bytes, e.Heard.Packets, e.Heard.Bytes}; got != want[ifindex] {
				t.Errorf("%v: the end at %d has sent and heard %v, want %v", c, ifindex, got, want[ifindex])
			}
		}
	}
}

// segment is one of a conversation of TCP.
func (c conversation) segment(back bool, flags byte) sent {
	s := c.there()
	source, to := 2, c.peer()
	if back {
		s = c.back()
		source, to = to, source
	}
	spec := ipSpec{source: poolAddress(c.six, source), destination: poolAddress(c.six, to), protocol: 6, hops: 64, payload: segment(flags, 0)}
	copy(spec.payload, spec.payload[2:4]) // one port, so that answers belong to it
	s.frame = append(slices.Clone(s.frame[:12]), ethernetFrame(MAC{}, MAC{}, spec.ethertype(), spec.build())[12:]...)
	return s
}

// beginningIsTold: each end that is here tells of the packet with which
// a conversation begins at it, and of the one with which it begins anew.
func beginningIsTold(t *testing.T, d *Datapath, r *Tracer) {
	const syn, ack, rst = 0x02, 0x10, 0x04
	check(t, d.SetRecording(Recording{First: true}))
	reader, err := d.OpenEvents()
	check(t, err)
	defer reader.Close()
	counts, err := d.EventCounts()
	check(t, err)
	heard := counts[EventFirst].Told
	for _, c := range conversations() {
		forgetConnections(t, d)
		out, in := "1/101 sends, rule 11", "2/102 hears, rule 22"
		if c.tunnel {
			in = ""
		}
		first := strings.Trim(out+"|"+in, "|")
		for _, step := range []struct {
			what  string
			back  bool
			flags byte
			want  string
		}{
			{"SYN", false, syn, first},
			{"SYN again", false, syn, ""},
			{"SYN ACK", true, syn | ack, ""},
			{"ACK", false, ack, ""},
			{"data", true, ack, ""},
			{"reset", false, rst, ""},
			{"another SYN", false, syn, first},
			{"SYN ACK to that", true, syn | ack, ""},
		} {
			s := c.segment(step.back, step.flags)
			r.follow(t, s)
			counts, err := d.EventCounts()
			check(t, err)
			var got []string
			for ; heard < counts[EventFirst].Told; heard++ {
				e, err := reader.Next()
				check(t, err)
				how := map[bool]string{false: "sends", true: "hears"}[e.In]
				got = append(got, fmt.Sprintf("%d/%d %s, rule %d", e.Ifindex, e.Port, how, e.Rule))
				if e.Kind != EventFirst || e.VRF != 1 || e.Reason.Name != "" || e.Layer != -1 || e.Length != len(s.frame) {
					t.Errorf("%v, %s: told %+v", c, step.what, e)
				}
			}
			if all := strings.Join(got, "|"); all != step.want {
				t.Errorf("%v, %s: told %q, want %q", c, step.what, all, step.want)
			}
		}
	}
}

// fragmentsAreForgotten: the first fragment lends its ports for as long as the
// kernel would wait for the others, and no longer.
func fragmentsAreForgotten(t *testing.T, d *Datapath, r *Tracer) {
	const ticks = uint32(layoutFragmentBoundFRAGMENT_TICKS)
	for _, six := range []bool{false, true} {
		var frames [2][]byte
		for i, fragment := range map[bool][2]uint16{false: {0x2000, 2}, true: {1, 2 << 3}}[six] {
			part := ipSpec{source: poolAddress(six, 2), destination: poolAddress(six, 3), protocol: 17, hops: 64, fragment: fragment, payload: make([]byte, 16)}
			if six {
				part.extensions = []byte{44}
			}
			frames[i] = ethernetFrame(portMAC(2), portMAC(1), part.ethertype(), part.build())
		}
		for old, want := range map[uint32]string{0: "", ticks - 1: "", ticks: "", ticks + 1: "unknown-fragment", ticks + 100: "unknown-fragment"} {
			var got Outcome
			inOneTick(t, func(uint32) {
				forgetConnections(t, d)
				r.follow(t, sent{ifindex: 1, frame: frames[0]})
				var key layoutFragmentKey
				var value layoutFragmentValue
				if entries := d.maps["fragments"].Iterate(); !entries.Next(&key, &value) {
					t.Fatal("the first fragment is not noted")
				}
				value.Seen -= old
				check(t, d.maps["fragments"].Put(&key, &value))
				var err error
				got, err = r.FromPort(1, frames[1])
				check(t, err)
			})
			if got.Reason != want {
				t.Errorf("IPv6 %t, after %d ticks: %s %s, want %q", six, old, got.Verdict, got.Reason, want)
			}
		}
	}
}

// placesAreKeptYoung: who is asked again about a conversation that has a place
// is not forgotten as one that has ended.
func placesAreKeptYoung(t *testing.T, d *Datapath, r *Tracer) {
	for ifindex := 1; ifindex <= 2; ifindex++ {
		policy, _, err := d.PortPolicies.Get(ifindex)
		check(t, err)
		policy.ConnectionLimit = 1
		check(t, d.PortPolicies.Put(ifindex, policy))
	}
	c := conversation{}
	r.follow(t, c.there())
	places, err := d.places.All()
	check(t, err)
	if len(places) != 2 {
		t.Fatalf("places are %v, want those of both ends", places)
	}
	now := coarseTick(t)
	for p := range places {
		check(t, d.places.Put(p, now-50))
	}
	asks(t, d, 1, rules.Egress, 15)
	asks(t, d, 2, rules.Ingress, 25)
	r.follow(t, c.there())
	places, err = d.places.All()
	check(t, err)
	for p, seen := range places {
		if seen < now {
			t.Errorf("place %v is of tick %d, it is %d now", p, seen, now)
		}
	}
	counts, err := d.Places()
	check(t, err)
	if counts[PlaceOwner{1, ownPortID}] != 1 || counts[PlaceOwner{2, peerPortID}] != 1 {
		t.Errorf("places are %v, want one of each end", counts)
	}
}
