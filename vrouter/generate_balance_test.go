// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-network/weft/vrouter/maglev"
	"github.com/weft-network/weft/vrouter/rules"
)

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// virtual is the nth virtual address of a VRF.
func virtual(six bool, vrf uint32, n int) netip.Addr { return poolAddress(six, 150+2*int(vrf)+n) }

// balancing is what a generator keeps of virtual addresses, in an order that a seed repeats.
type balancing struct {
	listeners []ListenerKey
	members   []PoolMemberKey
	local     []PoolMemberKey // those of them with a mapping
	favourite map[bool]serving
	number    uint64 // of the last mapping
	choice    uint32 // the last
}

// serving is where members serve.
type serving struct {
	ifindex int
	address netip.Addr
}

// wellKnown are the ports of listeners, some of which are none.
var wellKnown = []struct {
	protocol uint8
	port     uint16
}{{6, 80}, {6, 81}, {6, 82}, {17, 53}, {17, 54}, {132, 9}}

// balancers gives each VRF virtual addresses, which another one imports, and those who
// serve them.
func (g *generator) balancers() {
	g.o.Listeners, g.o.Choices, g.o.PoolMembers, g.o.Mappings = map[ListenerKey]Listener{}, map[uint32]Choice{}, map[PoolMemberKey]PoolMember{}, map[uint64]Mapping{}
	g.balancing = balancing{favourite: map[bool]serving{}}
	for _, six := range []bool{false, true} {
		at := 1 + g.IntN(testPorts)
		g.favourite[six] = serving{at, g.own(at, six)}
		for vrf := uint32(1); vrf <= 3; vrf++ {
			for n := range 2 {
				g.virtualAddress(vrf, virtual(six, vrf, n))
			}
		}
	}
}

func (g *generator) virtualAddress(vrf uint32, a netip.Addr) {
	hop := g.nextHop(NextHop{Kind: NextHopBalancer, VNI: vrf})
	g.o.Routes[RouteKey{vrf, host(a)}] = Route{NextHop: hop, Proxied: g.chance(80), MAC: GatewayMAC}
	g.o.Routes[RouteKey{vrf%3 + 1, host(a)}] = Route{NextHop: hop, Proxied: g.chance(80), Routed: true, MTU: g.mtu()}
	for _, w := range wellKnown {
		if g.chance(80) {
			g.listener(ListenerKey{vrf, a, w.protocol, w.port})
		}
	}
}

func (g *generator) listener(key ListenerKey) {
	g.listeners = append(g.listeners, key)
	var macs []MAC
	for range pick(g, 0, 1, 1, 1, 2, 2, 3) {
		mac := MAC{memberMAC, 0, 0, 0, 0, byte(g.IntN(6))}
		if !slices.Contains(macs, mac) {
			macs = append(macs, mac)
			g.poolMember(PoolMemberKey{key, mac})
		}
	}
	l := Listener{BySource: g.chance(30)}
	if g.chance(30) {
		l.Ticks = 3600
	}
	if g.chance(95) {
		l.Choice = g.choose(macs)
		l.Buckets = len(g.o.Choices[l.Choice].Buckets)
	}
	g.o.Listeners[key] = l
}

// choose makes a choice among members; of some buckets nobody has there are none, and
// now and then a member is meant that is none.
func (g *generator) choose(macs []MAC) uint32 {
	if g.chance(5) {
		macs = append(slices.Clone(macs), MAC{memberMAC, 9})
	}
	c := Choice{Buckets: make([]uint16, pick(g, 7, 251, 1021)), Members: macs}
	for b := range c.Buckets {
		c.Buckets[b] = maglev.None
		if len(macs) > 0 && !g.chance(2) {
			c.Buckets[b] = uint16(g.IntN(len(macs)))
		}
	}
	g.choice++
	g.o.Choices[g.choice] = c
	return g.choice
}

func (g *generator) poolMember(key PoolMemberKey) {
	g.members = append(g.members, key)
	six := key.Address.Is6()
	port := pick(g, uint16(8080), 8080, 8080, 80)
	if key.Protocol == 132 {
		port = key.Port
	}
	m := PoolMember{Identity: g.identity(), MTU: g.mtu(), Chosen: g.chance(80)}
	if g.chance(25) {
		m.NextHop, m.Internal = g.somewhere(key.VRF), netip.AddrPortFrom(poolAddress(six, g.IntN(poolSize)), port)
		g.o.PoolMembers[key] = m
		return
	}
	at := g.favourite[six]
	if g.chance(40) {
		at.ifindex = 1 + g.IntN(testPorts)
		at.address = g.own(at.ifindex, six)
	}
	g.number++
	g.local = append(g.local, key)
	m.NextHop, m.Internal, m.Mapping = g.nextHop(NextHop{Kind: NextHopPort, Ifindex: at.ifindex}), netip.AddrPortFrom(at.address, port), g.number
	g.o.PoolMembers[key] = m
	if g.chance(97) {
		g.o.Mappings[g.number] = Mapping{Ifindex: at.ifindex, VRF: key.VRF, Protocol: key.Protocol, External: netip.AddrPortFrom(key.Address, key.Port), Internal: m.Internal}
	}
}

// clientPort is one of few, so that conversations meet.
func (g *generator) clientPort() uint16 { return 4000 + uint16(g.IntN(3)) }

// segmentOf is a packet of a protocol with ports, and what it is of besides is random.
func (g *generator) segmentOf(protocol uint8, from, to uint16) []byte {
	l4 := make([]byte, 20+g.IntN(90))
	for i := range l4 {
		l4[i] = byte(g.Uint32())
	}
	binary.BigEndian.PutUint16(l4, from)
	binary.BigEndian.PutUint16(l4[2:], to)
	switch protocol {
	case 6:
		l4[12], l4[13] = 5<<4, pick(g, byte(0x02), 0x02, 0x10, 0x18)
	case 17:
		if g.chance(10) {
			l4[6], l4[7] = 0, 0
		}
	}
	return l4
}

// aimed is a packet that is to be translated or refused; port 0 is from a tunnel.
func (g *generator) aimed(protocol uint8, from, to netip.AddrPort) ipSpec {
	s := ipSpec{source: from.Addr(), destination: to.Addr(), protocol: protocol, hops: pick(g, byte(64), 64, 64, 64, 64, 2, 1)}
	s.payload = g.segmentOf(protocol, from.Port(), to.Port())
	if g.chance(8) {
		s.options, s.extensions = []byte{1, 1, 1, 1}, []byte{60}
	}
	return s
}

// toVirtual is about virtual addresses.
func (g *generator) toVirtual() sent {
	six := g.chance(50)
	switch g.IntN(20) {
	case 0:
		return g.hairpin(six)
	case 1, 2:
		return g.direct()
	case 3, 4, 5, 6, 7, 8:
		return g.toMember()
	case 9:
		return g.cut(g.toMember())
	case 10:
		return g.toOwn()
	}
	ifindex := 1 + g.IntN(testPorts)
	vrf := g.o.Ports[ifindex].VRF
	of := pick(g, vrf, vrf, (vrf+1)%3+1) // its own, or what it imports
	key := ListenerKey{of, virtual(six, of, g.IntN(2)), wellKnown[g.IntN(len(wellKnown))].protocol, 0}
	for _, w := range wellKnown {
		if w.protocol == key.Protocol && (key.Port == 0 || g.chance(50)) {
			key.Port = w.port
		}
	}
	if g.chance(6) {
		key.Port = pick(g, uint16(80), 53, 7)
	}
	s := g.aimed(key.Protocol, netip.AddrPortFrom(g.own(ifindex, six), g.clientPort()), netip.AddrPortFrom(key.Address, key.Port))
	switch g.IntN(25) {
	case 0:
		s.protocol, s.payload = 1, icmp4(pick(g, byte(8), 8, 8, 0, 13), pick(g, byte(0), 0, 0, 1), []byte{1, 2, 0, 3, 5, 6})
		if six {
			s.protocol, s.payload = 58, icmp6(s.source, s.destination, pick(g, byte(128), 128, 128, 129, 127), 0, []byte{1, 2, 0, 3, 5, 6})
		}
	case 1:
		s.protocol = pick(g, uint8(136), 50, 33)
	}
	source := portMAC(ifindex)
	if g.chance(2) {
		source = prefixMAC(ifindex)
	}
	out := g.flags(sent{ifindex: ifindex, frame: ethernetFrame(GatewayMAC, source, s.ethertype(), s.build())})
	if g.chance(8) {
		return g.cut(out)
	}
	return out
}

// cut makes a packet a fragment, most often one whose first was not seen.
func (g *generator) cut(s sent) sent {
	f := parse(s.frame)
	if f.refused != "" || f.fragment || f.source.Is4() && f.l4 != 34 || f.source.Is6() && f.l4 != 54 {
		return s
	}
	first, later := fragments(s.frame)
	if s.frame = later; g.chance(25) {
		s.frame = first
	}
	return s
}

// hairpin is from a member to an address that it serves itself.
func (g *generator) hairpin(six bool) sent {
	key, m := g.localMember()
	ifindex := g.o.NextHops[m.NextHop].Ifindex
	source := m.Internal.Addr()
	if g.chance(50) {
		source = g.own(ifindex, key.Address.Is6())
	}
	s := g.aimed(key.Protocol, netip.AddrPortFrom(source, g.clientPort()), netip.AddrPortFrom(key.Address, key.Port))
	return g.flags(sent{ifindex: ifindex, frame: ethernetFrame(GatewayMAC, portMAC(ifindex), s.ethertype(), s.build())})
}

// localMember is one of the members that are ports.
func (g *generator) localMember() (PoolMemberKey, PoolMember) {
	key := g.local[g.IntN(len(g.local))]
	return key, g.o.PoolMembers[key]
}

// direct is to a member, as one that knows nothing of virtual addresses sends it.
func (g *generator) direct() sent {
	key, m := g.localMember()
	to := g.o.NextHops[m.NextHop].Ifindex
	vrf := g.o.Ports[to].VRF
	if g.chance(40) {
		s := g.aimed(key.Protocol, netip.AddrPortFrom(g.far(key.Address.Is6()), g.clientPort()), m.Internal)
		tunnel := &TunnelKey{VNI: 1000 + vrf, Remote: testSources[0]}
		return g.flags(sent{ifindex: testTunnelDevice, key: tunnel, frame: ethernetFrame(portMAC(to), MAC{2, 8}, s.ethertype(), s.build())})
	}
	ifindex := g.portThat(func(i int, p Port) bool { return i != to && p.VRF == vrf })
	s := g.aimed(key.Protocol, netip.AddrPortFrom(g.own(ifindex, key.Address.Is6()), g.clientPort()), m.Internal)
	return g.flags(sent{ifindex: ifindex, frame: ethernetFrame(GatewayMAC, portMAC(ifindex), s.ethertype(), s.build())})
}

// far is a client on another host.
func (g *generator) far(six bool) netip.Addr { return poolAddress(six, 2+g.IntN(3)) }

// toMember is from another host to a member here, or to none.
func (g *generator) toMember() sent {
	key, _ := g.localMember()
	if g.chance(10) {
		key.MAC = MAC{memberMAC, 0, 0, 0, 0, byte(g.IntN(9))}
	}
	client := g.far(key.Address.Is6())
	if g.chance(4) {
		client = hairpinRemote(client)
	}
	tunnel := &TunnelKey{VNI: 1000 + key.VRF, Remote: testSources[0]}
	if g.chance(4) { // about what a member that calls itself would have answered
		about := packet(MAC{}, MAC{}, key.Protocol, netip.AddrPortFrom(key.Address, key.Port), netip.AddrPortFrom(hairpinRemote(client), g.clientPort()), 0x10)
		return sent{ifindex: testTunnelDevice, key: tunnel, frame: quoting(MAC{2, 8}, key.MAC, g.far(key.Address.Is6()), key.Address, about)}
	}
	s := g.aimed(key.Protocol, netip.AddrPortFrom(client, g.clientPort()), netip.AddrPortFrom(key.Address, key.Port))
	return g.flags(sent{ifindex: testTunnelDevice, key: tunnel, frame: ethernetFrame(key.MAC, MAC{2, 8}, s.ethertype(), s.build())})
}

// churnBalance changes who serves.
func (g *generator) churnBalance(t testing.TB, d *Datapath) {
	t.Helper()
	member := g.members[g.IntN(len(g.members))]
	m, there := g.o.PoolMembers[member]
	switch g.IntN(5) {
	case 0: // it goes, for ever
		delete(g.o.PoolMembers, member)
		delete(g.o.Mappings, m.Mapping)
		check(t, d.PoolMembers.Delete(member))
		check(t, d.Mappings.Delete(m.Mapping))
	case 1: // its host does not have it any more, or not yet
		delete(g.o.Mappings, m.Mapping)
		check(t, d.Mappings.Delete(m.Mapping))
	case 2: // it is elsewhere, and somebody else to rules
		if !there {
			return
		}
		m.Identity = pick(g, rules.None, 2, 3, 4)
		if m.Mapping == 0 {
			m.NextHop = g.somewhere(member.VRF)
			g.installHop(t, d, m.NextHop)
		}
		g.o.PoolMembers[member] = m
		check(t, d.PoolMembers.Put(member, m))
	default: // others are chosen
		key := g.listeners[g.IntN(len(g.listeners))]
		l := g.o.Listeners[key]
		l.Choice = g.choose(g.macsOf(key))
		l.Buckets = len(g.o.Choices[l.Choice].Buckets)
		g.o.Listeners[key] = l
		check(t, d.Choices.Put(l.Choice, g.o.Choices[l.Choice]))
		check(t, d.Listeners.Put(key, l))
		return // nobody's conversations are moved by that
	}
	for vrf := uint32(1); vrf <= 3; vrf++ {
		check(t, d.RenewVRF(vrf))
	}
}

func (g *generator) macsOf(key ListenerKey) (macs []MAC) {
	for _, m := range g.members {
		if _, there := g.o.PoolMembers[m]; there && m.ListenerKey == key {
			macs = append(macs, m.MAC)
		}
	}
	return macs
}

// installBalance makes the tables of virtual addresses those of an oracle.
func installBalance(t testing.TB, d *Datapath, o *Oracle) {
	t.Helper()
	check(t, replace(d.Listeners, nil))
	have, err := d.Choices.All()
	check(t, err)
	for number := range have {
		check(t, d.Choices.Delete(number))
	}
	for number, choice := range o.Choices {
		check(t, d.Choices.Put(number, choice))
	}
	listeners := map[ListenerKey]Listener{}
	for key, l := range o.Listeners {
		l.Buckets = len(o.Choices[l.Choice].Buckets)
		listeners[key] = l
	}
	check(t, replace(d.Listeners, listeners))
	check(t, replace(d.PoolMembers, o.PoolMembers))
	check(t, replace(d.Mappings, o.Mappings))
	check(t, replace(d.Floats, o.Floats))
	check(t, replace(d.affinities, o.Affinities))
}

// compareClients compares which member clients keep.
func compareClients(t *testing.T, d *Datapath, o *Oracle) {
	t.Helper()
	kept := func(all map[AffinityKey]Affinity) map[AffinityKey]MAC {
		macs := map[AffinityKey]MAC{}
		for key, a := range all {
			macs[key] = a.MAC
		}
		return macs
	}
	got, err := d.affinities.All()
	check(t, err)
	if got, want := kept(got), kept(o.Affinities); !maps.Equal(got, want) {
		t.Fatalf("clients keep\n %v\nwant\n %v", got, want)
	}
}
