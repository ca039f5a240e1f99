// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// newRehearsal is Rehearse for a test.
func newRehearsal(t testing.TB, d *Datapath) *Tracer {
	t.Helper()
	r, err := Rehearse(d)
	check(t, err)
	t.Cleanup(r.Close)
	return r
}

// forgetConnections empties the tables that packets fill.
func forgetConnections(t testing.TB, d *Datapath) {
	t.Helper()
	for _, name := range append([]string{"fragments", "affinities"}, connectionTables...) {
		m := d.maps[name]
		var keys [][]byte
		var key, value []byte
		for entries := m.Iterate(); entries.Next(&key, &value); {
			keys = append(keys, slices.Clone(key))
		}
		for _, k := range keys {
			if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				t.Fatalf("empty table %s: %v", name, err)
			}
		}
	}
}

// sent is a frame and where it came from: a port, or a tunnel if it has a key.
type sent struct {
	ifindex int
	key     *TunnelKey
	frame   []byte
}

func (s sent) String() string {
	if s.key != nil {
		return fmt.Sprintf("from tunnel %v", *s.key)
	}
	return fmt.Sprintf("from port %d", s.ifindex)
}

// reply turns a frame that went through into what its receiver would send back.
func (g *generator) reply(before sent, went Outcome) (sent, bool) {
	f := parse(went.Frame)
	if f.refused != "" || f.arp || f.later {
		return sent{}, false
	}
	out := slices.Clone(went.Frame)
	at, size := 26, 4
	if f.source.Is6() {
		at, size = 22, 16
	}
	source, destination := slices.Clone(out[at:at+size]), slices.Clone(out[at+size:at+2*size])
	copy(out[at:], destination)
	copy(out[at+size:], source)
	switch {
	case f.icmp && (out[f.l4] == 8 || out[f.l4] == 128):
		out[f.l4] = map[byte]byte{8: 0, 128: 129}[out[f.l4]]
	case len(f.payload) >= 4 && slices.Contains([]byte{6, 17, 33, 132, 136}, f.protocol):
		out[f.l4], out[f.l4+1], out[f.l4+2], out[f.l4+3] = out[f.l4+2], out[f.l4+3], out[f.l4], out[f.l4+1]
	}
	if len(went.Copies) > 0 {
		c := went.Copies[g.IntN(len(went.Copies))]
		went.Redirect, went.VLAN, went.Tunnel = c.Redirect, c.VLAN, c.Tunnel
	}
	back := sent{ifindex: went.Redirect, frame: out}
	if went.VLAN != 0 {
		back.ifindex = g.o.SubPorts[SubPort{went.Redirect, went.VLAN}]
	}
	if went.Verdict == "routed" {
		back = sent{ifindex: testUplink, frame: out}
	}
	if went.Tunnel != nil {
		back = sent{ifindex: testTunnelDevice, frame: out, key: &TunnelKey{VNI: 1000 + g.o.Ports[before.ifindex].VRF, Remote: testSources[0]}}
		if _, there := g.o.VNIs[went.Tunnel.VNI]; there && g.chance(60) { // of the network that it went out to
			back.key.VNI = went.Tunnel.VNI
		}
	}
	mac := portMAC(back.ifindex)
	if copy(out, GatewayMAC[:]); g.chance(40) || g.o.Ports[back.ifindex].Frames {
		copy(out, went.Frame[6:12]) // by the MAC
	}
	copy(out[6:], mac[:])
	return g.flags(back), true
}

// churn changes a table of the oracle and of the datapath in one place.
func (g *generator) churn(t testing.TB, d *Datapath) {
	t.Helper()
	switch routes := sortedRoutes(g.o.Routes); g.IntN(29) {
	case 24, 25, 26:
		g.churnBalance(t, d)
	case 27, 28:
		g.churnFloating(t, d)
	case 15, 16, 17, 18, 19, 20:
		g.churnPolicy(t, d)
	case 0, 1, 2: // somebody moves
		key := routes[g.IntN(len(routes))]
		route := g.o.Routes[key]
		route.NextHop, route.MAC, route.Identity = g.somewhere(key.VRF), MAC{2, 3, 0, 0, 0, byte(g.Uint32())}, g.identity()
		g.o.Routes[key] = route
		g.installHop(t, d, route.NextHop)
		check(t, d.Routes.Put(key, route))
	case 3, 4, 5: // somebody goes; a shorter prefix may take over
		key := routes[g.IntN(len(routes))]
		delete(g.o.Routes, key)
		check(t, d.Routes.Delete(key))
	case 6, 7, 8: // a port loses an address or gets one
		key := PortAddress{1 + g.IntN(testPorts), poolAddress(g.chance(50), g.IntN(poolSize))}
		if g.o.owns(key.Ifindex, key.Address) {
			delete(g.o.PortAddresses, key)
			check(t, d.PortAddresses.Delete(key))
		} else {
			g.o.PortAddresses[key] = struct{}{}
			check(t, d.PortAddresses.Put(key, struct{}{}))
		}
	case 9, 10, 11:
		g.churnPrefix(t, d)
	case 12, 13, 14:
		g.churnGroup(t, d)
	case 22, 23:
		g.churnGap(t, d)
	default: // another port on the same interface, perhaps of another tenant
		ifindex := 1 + g.IntN(testPorts)
		port := g.o.Ports[ifindex]
		port.VRF, port.ID = uint32(1+g.IntN(2)), g.Uint32()
		g.o.Ports[ifindex] = port
		check(t, d.Ports.Put(ifindex, port))
	}
}

// step sends a frame through the programs and the oracle.
func (g *generator) step(t *testing.T, r *Tracer, what string, s sent) Outcome {
	t.Helper()
	var got, want Outcome
	var err error
	switch s.ifindex {
	case testHostDevice:
		got, err = r.FromHost(testHostDevice, s.frame)
		want = g.o.FromHost(s.frame)
	case testUplink:
		got, err = r.FromFabric(testUplink, s.frame)
		want = g.o.FromFabric(testUplink, s.frame)
	case testTunnelDevice:
		got, err = r.FromTunnel(testTunnelDevice, s.key, s.frame)
		want = g.o.FromTunnel(testTunnelDevice, s.key, s.frame)
	default:
		device, frame := g.wire(s.ifindex, s.frame)
		got, err = r.FromPort(device, frame)
		want = g.o.FromPort(device, frame)
	}
	check(t, err)
	compare(t, what+" "+s.String(), s.frame, got, want)
	return got
}

// casesFlag is for where a frame takes long, as in an emulated machine.
var casesFlag = flag.Int("cases", 1000, "how often TestConversationsAgreeWithOracle meets each reason at least, for which it makes 4 worlds for 10, and TestStatesAgreeWithOracle each step of states; 0: a glance at some worlds, whatever they have")

// What a glance looks at. It is the same for one seed, and may be chosen small.
const glanceWorlds, glanceConversations = 12, 300

// states of connections that conversations must come to. Each step between them is
// met in TestStatesAgreeWithOracle.
var wantedStates = []string{"opening half-open", "established", "closing", "closed", "opening", "closed half-open", "reset", "reset half-open"}

// lacking are the wanted states that were seldom seen.
func lacking(states map[string]int) []string {
	return slices.DeleteFunc(slices.Clone(wantedStates), func(state string) bool { return states[state] >= 10 })
}

// TestConversationsAgreeWithOracle sends frames, their repetitions and their
// replies while the tables change. What an entry remembers must never show in
// what becomes of a frame; in the end the entries are those the oracle has.
func TestConversationsAgreeWithOracle(t *testing.T) {
	// At least so many worlds, and more until each reason has its cases: chance
	// makes few worlds in which the rare ones are met. The bound is far away.
	cases, worlds := *casesFlag, *casesFlag*4/10
	if cases == 0 {
		worlds = glanceWorlds
	}
	d := tablesForTest(t, conversationSizes())
	seen, states := converseInWorlds(t, d, newRehearsal(t, d), worlds, func(seen *distribution, states map[string]int) bool {
		return cases > 0 && (len(seen.missing(t, cases))+len(lacking(states)) > 0 || seen.fewSent())
	})
	t.Logf("%d frames, %d %% sent on, %v, %v\n%s", seen.total, seen.sent*100/seen.total, states, seen.met, &seen)
	if cases == 0 {
		return
	}
	for _, state := range lacking(states) {
		t.Errorf("only %d connections were %s", states[state], state)
	}
	seen.mustBeFair(t, cases)
}

func conversationSizes() Sizes {
	sizes := smallSizes
	sizes.Connections, sizes.HalfOpen, sizes.Fragments = 1<<14, 1<<14, 1<<13
	return sizes
}

// converseInWorlds compares so many worlds, and up to ten times as many while more are wanted.
func converseInWorlds(t *testing.T, d *Datapath, r *Tracer, worlds int, more func(*distribution, map[string]int) bool) (distribution, map[string]int) {
	t.Helper()
	const perWorld = 1200
	random := seeded(t)
	heard := newLogReader(t, d)
	seen := distribution{met: map[string]int{}}
	states := map[string]int{}
	for world := 0; world < worlds || world < 10*worlds && more(&seen, states); world++ {
		g := newGenerator(random)
		g.o.RuleHits, g.o.Met = map[uint32]uint64{}, seen.met
		g.o.Connections, g.o.fragments, g.o.ways = map[ConnectionKey]Connection{}, map[fragmentKey]wirePorts{}, map[ConnectionKey]oracleWay{}
		g.o.Learns = true
		g.o.Places = map[Place]struct{}{}
		g.o.Affinities = map[AffinityKey]Affinity{}
		g.o.Logged = new([]loggedFrame)
		install(t, d, g.o)
		forgetConnections(t, d)
		forgetHits(t, d)
		var said, answers []sent
		for n := range perWorld {
			s := g.nextOf(&said, &answers)
			if g.chance(3) {
				g.churn(t, d)
			}
			if g.chance(20) {
				seen.add(g.underlayStep(t, d, r, fmt.Sprintf("world %d frame %d", world, n)))
			}
			if !runnable(s.frame) {
				continue
			}
			got := g.step(t, r, fmt.Sprintf("world %d frame %d", world, n), s)
			heard.compare(t, fmt.Sprintf("world %d frame %d %v", world, n, s), g.o)
			seen.add(got)
			if s.ifindex != testHostDevice && slices.Contains([]string{"delivered", "tunnelled", "routed", "flooded"}, got.Verdict) {
				said = append(said, s)
				if more, can := g.rest(s); can && g.chance(70) {
					answers = append(answers, more)
				}
				if back, can := g.complaint(s, got); can && g.chance(60) {
					answers = append(answers, back)
				}
				if back, can := g.reply(s, got); can && g.chance(70) {
					answers = append(answers, back)
				}
			}
		}
		compareConnections(t, d, g.o, states)
		compareLearned(t, d, g.o)
		compareHits(t, d, g.o)
		comparePlaces(t, d, g.o)
		compareClients(t, d, g.o)
	}
	return seen, states
}

// nextOf is an answer that is due, a repetition, or something new.
func (g *generator) nextOf(said, answers *[]sent) sent {
	if g.chance(13) {
		return g.toVirtual()
	}
	if g.chance(8) {
		return g.toFloating()
	}
	switch n := g.IntN(120); {
	case n < 46 && len(*answers) > 0:
		i := g.IntN(len(*answers))
		s := (*answers)[i]
		*answers = slices.Delete(*answers, i, i+1)
		return s
	case n < 62 && len(*said) > 0:
		return g.flags((*said)[len(*said)-1-g.IntN(min(len(*said), 200))])
	case n < 78:
		return g.rare()
	case n < 84:
		return sent{ifindex: testHostDevice, frame: g.fromHost()}
	case n < 88:
		return sent{ifindex: testUplink, frame: g.fromFabric()}
	case n < 94:
		ifindex := 1 + g.IntN(testPorts)
		_, frame := g.frame(ifindex)
		return sent{ifindex: testTunnelDevice, key: g.tunnelKey(ifindex), frame: frame}
	case n < 100:
		return g.rejected()
	}
	ifindex := 1 + g.IntN(testPorts)
	_, frame := g.frame(ifindex)
	return sent{ifindex: ifindex, frame: frame}
}

// compareLearned compares where the MACs are that frames have taught.
func compareLearned(t *testing.T, d *Datapath, o *Oracle) {
	t.Helper()
	got, err := d.learned.All()
	check(t, err)
	if got, want := places(got), places(o.Learned); !maps.Equal(got, want) {
		t.Fatalf("learned\n %v\nwant\n %v", got, want)
	}
	counts, err := d.macCounts.All()
	check(t, err)
	none := func(_ MACCount, n uint32) bool { return n == 0 }
	maps.DeleteFunc(counts, none)
	want := maps.Clone(o.MACCounts)
	if maps.DeleteFunc(want, none); !maps.Equal(counts, want) {
		t.Fatalf("counts of learned MACs\n %v\nwant\n %v", counts, want)
	}
}

// connectionTestLife is longer than a world lives here, and shorter than the
// machine has been up: an age counted from nothing is longer.
const connectionTestLife = time.Minute

// compareConnections compares the entries of ports as they now are.
func compareConnections(t *testing.T, d *Datapath, o *Oracle, states map[string]int) {
	t.Helper()
	present := func(k ConnectionKey, c Connection) bool { return c.Port == o.Ports[k.Ifindex].ID }
	got := map[ConnectionKey]Connection{}
	check(t, d.Connections(func(k ConnectionKey, c Connection) {
		if present(k, c) {
			if c.Age > connectionTestLife || c.Idle > c.Age {
				t.Errorf("connection %v made just now is %v old and idle for %v", k, c.Age, c.Idle)
			}
			c.Idle, c.Age, c.Rule = 0, 0, 0 // of rules the model knows what they decided, see compareHits
			got[k] = c
		}
	}))
	want := maps.Clone(o.Connections)
	maps.DeleteFunc(want, func(k ConnectionKey, c Connection) bool { return !present(k, c) })
	for k, c := range want {
		if got[k] != c {
			t.Fatalf("connection %v is %+v, want %+v", k, got[k], c)
		}
		word := c.State.String()
		if c.HalfOpen {
			word += " half-open"
		}
		states[word]++
	}
	if len(got) != len(want) {
		t.Fatalf("%d connections, want %d", len(got), len(want))
	}
}
