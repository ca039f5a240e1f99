// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

// The host of these tests: a client and a member as ports, each in a network of
// its own, with one address; another member and another client on another host; and virtual addresses
// in a third network.
const (
	clientPort, memberPort                  = 1, 2
	servicesVRF, clientsVRF, backendsVRF    = 10, 20, 30
	toClient, toMember, toOther, toBalancer = 1, 2, 3, 4
	toOtherClient                           = 5
	localMapping, secondMapping             = 71, 72
	synFlag, ackFlag, resetFlag             = 0x02, 0x10, 0x04
)

var (
	localMember = MAC{memberMAC, 0, 0, 0, 0, 1}
	otherMember = MAC{memberMAC, 0, 0, 0, 0, 2}
)

// balanced is that host in one family.
type balanced struct {
	*Oracle
	*testing.T
	workload, other, virtual, second netip.Addr
	key                              ListenerKey
}

func (b *balanced) choose(mac MAC) {
	b.Choices[1] = Choice{Buckets: make([]uint16, 251), Members: []MAC{mac}}
}

// eachFamily runs a test in both.
func eachFamily(t *testing.T, run func(b *balanced)) {
	for _, six := range []bool{false, true} {
		t.Run(map[bool]string{false: "IPv4", true: "IPv6"}[six], func(t *testing.T) {
			b := &balanced{T: t, workload: netip.MustParseAddr("10.0.0.5"), other: netip.MustParseAddr("10.0.0.7"), virtual: netip.MustParseAddr("10.96.0.10"), second: netip.MustParseAddr("10.96.0.11")}
			if six {
				b.workload, b.other, b.virtual, b.second = netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("2001:db8:a::10"), netip.MustParseAddr("2001:db8:a::11")
			}
			b.fill()
			run(b)
		})
	}
}

func (b *balanced) fill() {
	gateway4, gateway6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	b.key = ListenerKey{servicesVRF, b.virtual, 6, 80}
	b.Oracle = &Oracle{
		Ports: map[int]Port{
			clientPort: {VRF: clientsVRF, ID: 101, MAC: portMAC(clientPort), Gateway4: gateway4, Gateway6: gateway6, MTU: 1500},
			memberPort: {VRF: backendsVRF, ID: 102, MAC: portMAC(memberPort), Gateway4: gateway4, Gateway6: gateway6, MTU: 1500},
		},
		PortAddresses: map[PortAddress]struct{}{{clientPort, b.workload}: {}, {memberPort, b.workload}: {}},
		NextHops: map[uint32]NextHop{
			toClient: {Kind: NextHopPort, Ifindex: clientPort}, toMember: {Kind: NextHopPort, Ifindex: memberPort}, toBalancer: {Kind: NextHopBalancer, VNI: servicesVRF},
			toOther:       {Kind: NextHopTunnel, VNI: servicesVRF, Remote: netip.MustParseAddr("192.0.2.2")},
			toOtherClient: {Kind: NextHopTunnel, VNI: clientsVRF, Remote: netip.MustParseAddr("192.0.2.3")},
		},
		Routes: map[RouteKey]Route{
			{clientsVRF, host(b.workload)}:  {NextHop: toClient, MAC: portMAC(clientPort)},
			{backendsVRF, host(b.workload)}: {NextHop: toMember, MAC: portMAC(memberPort)},
			{clientsVRF, host(b.virtual)}:   {NextHop: toBalancer, Routed: true, Proxied: true},
			{clientsVRF, host(b.second)}:    {NextHop: toBalancer, Routed: true, Proxied: true},
			{backendsVRF, host(b.virtual)}:  {NextHop: toBalancer, Routed: true, Proxied: true},
			{servicesVRF, host(b.virtual)}:  {NextHop: toBalancer, Proxied: true},
			{servicesVRF, host(b.workload)}: {NextHop: toClient, MAC: portMAC(clientPort), Routed: true},
			{servicesVRF, host(b.other)}:    {NextHop: toOtherClient, MAC: MAC{2, 9}, Routed: true},
		},
		VNIs: map[uint32]VNI{servicesVRF: {VRF: servicesVRF}, clientsVRF: {VRF: clientsVRF}},
		Listeners: map[ListenerKey]Listener{
			b.key: {Choice: 1}, {servicesVRF, b.second, 6, 80}: {Choice: 1}, {servicesVRF, b.virtual, 17, 53}: {Choice: 1}, {servicesVRF, b.virtual, 6, 81}: {},
		},
		Choices: map[uint32]Choice{},
		PoolMembers: map[PoolMemberKey]PoolMember{
			{b.key, otherMember}: {NextHop: toOther, Internal: netip.AddrPortFrom(b.other, 8080), Chosen: true},
			{b.key, localMember}: {NextHop: toMember, Internal: netip.AddrPortFrom(b.workload, 8080), Chosen: true, Mapping: localMapping},
			{ListenerKey{servicesVRF, b.second, 6, 80}, localMember}:   {NextHop: toMember, Internal: netip.AddrPortFrom(b.workload, 8080), Chosen: true, Mapping: secondMapping},
			{ListenerKey{servicesVRF, b.virtual, 17, 53}, localMember}: {NextHop: toMember, Internal: netip.AddrPortFrom(b.workload, 5353), Chosen: true, Mapping: 73},
		},
		Mappings: map[uint64]Mapping{
			localMapping:  {memberPort, servicesVRF, 6, netip.AddrPortFrom(b.virtual, 80), netip.AddrPortFrom(b.workload, 8080)},
			secondMapping: {memberPort, servicesVRF, 6, netip.AddrPortFrom(b.second, 80), netip.AddrPortFrom(b.workload, 8080)},
			73:            {memberPort, servicesVRF, 17, netip.AddrPortFrom(b.virtual, 53), netip.AddrPortFrom(b.workload, 5353)},
		},
		Affinities:  map[AffinityKey]Affinity{},
		Connections: map[ConnectionKey]Connection{}, fragments: map[fragmentKey]wirePorts{}, ways: map[ConnectionKey]oracleWay{},
		Config: Config{TunnelDevice: 9},
	}
	b.choose(localMember)
}

// says is what a frame is, in words, once its checksums are found right.
func (b *balanced) says(frame []byte) string {
	b.Helper()
	f := parse(frame)
	if f.refused != "" {
		b.Fatalf("the frame that came out is %s", f.refused)
	}
	if f.source.Is4() && checksum(frame[14:34]) != 0 {
		b.Errorf("the header's checksum is wrong")
	}
	if !f.fragment {
		l4 := append([]byte(nil), f.payload...)
		switch {
		case f.icmp && f.source.Is4():
			if checksum(l4) != 0 {
				b.Errorf("ICMP's checksum is wrong")
			}
		case sumOf(f.source, f.destination, f.protocol, l4) != 0:
			b.Errorf("protocol %d's checksum is wrong", f.protocol)
		}
	}
	if f.icmp {
		return fmt.Sprintf("%v > %v ICMP %d/%d", f.source, f.destination, f.payload[0], f.payload[1])
	}
	ports, _ := f.wirePorts()
	return fmt.Sprintf("%v > %v", netip.AddrPortFrom(f.source, ports.source), netip.AddrPortFrom(f.destination, ports.destination))
}

func (b *balanced) want(o Outcome, verdict string, redirect int, words string) {
	b.Helper()
	got := fmt.Sprintf("%s %s %d", o.Verdict, o.Reason, o.Redirect)
	if want := fmt.Sprintf("%s %d", verdict, redirect); got != want && got != fmt.Sprintf("%s  %d", verdict, redirect) {
		b.Fatalf("it is %q, want %q", got, want)
	}
	if words != "" {
		if said := b.says(o.Frame); said != words {
			b.Errorf("what came out is %s, want %s", said, words)
		}
	}
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// fromClient sends to a listener of a virtual address.
func (b *balanced) fromClient(protocol byte, port uint16, to netip.AddrPort, flags byte) Outcome {
	return b.FromPort(clientPort, packet(portMAC(clientPort), GatewayMAC, protocol, at(b.workload, port), to, flags))
}

func (b *balanced) fromMember(protocol byte, from, to netip.AddrPort, flags byte) Outcome {
	return b.FromPort(memberPort, packet(portMAC(memberPort), GatewayMAC, protocol, from, to, flags))
}

// A client and a member of one host: the member sees the client, though both
// have one address, and the client nothing but the virtual address.
func TestOracleBalancesOnOneHost(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		client, member, virtual := at(b.workload, 4000), at(b.workload, 8080), at(b.virtual, 80)
		o := b.fromClient(6, 4000, virtual, synFlag)
		b.want(o, "delivered", memberPort, fmt.Sprintf("%v > %v", client, member))
		if f := parse(o.Frame); f.hops != 63 || f.ethDestination != portMAC(memberPort) || f.ethSource != GatewayMAC {
			b.Errorf("it comes with hop count %d from %v to %v", f.hops, f.ethSource, f.ethDestination)
		}
		b.want(b.fromMember(6, member, client, synFlag|ackFlag), "delivered", clientPort, fmt.Sprintf("%v > %v", virtual, client))
		b.want(b.fromClient(6, 4000, virtual, ackFlag), "delivered", memberPort, fmt.Sprintf("%v > %v", client, member))
		if c := b.Connections[ConnectionKey{clientPort, 6, client, virtual}]; c.HalfOpen || c.Mapping != 0 {
			b.Errorf("the client's entry is %+v", c)
		}
		if c := b.Connections[ConnectionKey{memberPort, 6, member, client}]; c.HalfOpen || c.Mapping != localMapping || c.Itself != 4000 {
			b.Errorf("the member's entry is %+v", c)
		}
		b.want(b.fromClient(17, 4000, at(b.virtual, 53), 0), "delivered", memberPort, fmt.Sprintf("%v > %v", client, at(b.workload, 5353)))
		b.want(b.fromMember(17, at(b.workload, 5353), client, 0), "delivered", clientPort, fmt.Sprintf("%v > %v", at(b.virtual, 53), client))
	})
}

// Between hosts the frame keeps the virtual address and names the member by its MAC.
func TestOracleBalancesBetweenHosts(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		b.choose(otherMember)
		virtual := at(b.virtual, 80)
		o := b.fromClient(6, 4000, virtual, synFlag)
		b.want(o, "tunnelled", 9, fmt.Sprintf("%v > %v", at(b.workload, 4000), virtual))
		if f := parse(o.Frame); f.ethDestination != otherMember || o.Tunnel.VNI != servicesVRF {
			b.Errorf("it goes to %v in VNI %d", f.ethDestination, o.Tunnel.VNI)
		}
		key := &TunnelKey{VNI: servicesVRF, Remote: netip.MustParseAddr("192.0.2.3")}
		in := packet(MAC{2, 9}, localMember, 6, at(b.other, 4000), virtual, synFlag)
		b.want(b.FromTunnel(9, key, in), "delivered", memberPort, fmt.Sprintf("%v > %v", at(b.other, 4000), at(b.workload, 8080)))
		o = b.fromMember(6, at(b.workload, 8080), at(b.other, 4000), synFlag|ackFlag)
		b.want(o, "tunnelled", 9, fmt.Sprintf("%v > %v", virtual, at(b.other, 4000)))
		if o.Tunnel.VNI != clientsVRF || parse(o.Frame).hops != 63 {
			b.Errorf("the answer goes in VNI %d", o.Tunnel.VNI)
		}
		for _, wrong := range []MAC{otherMember, {memberMAC, 7}, GatewayMAC} {
			copy(in, wrong[:])
			b.want(b.FromTunnel(9, key, in), "dropped no-mapping", 0, "")
		}
		delete(b.Mappings, localMapping) // the member went
		b.want(b.fromMember(6, at(b.workload, 8080), at(b.other, 4000), ackFlag), "dropped no-mapping", 0, "")
	})
}

// An answer to whoever several next hops lead to equally well keeps the one that
// the conversation has, whatever the translation makes of its hash.
func TestOracleAnswersThroughGroups(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		const group, hop = 90, 91
		g := Group{Fields: GroupAllFields}
		for i := range 2 {
			b.NextHops[hop+uint32(i)] = NextHop{Kind: NextHopTunnel, VNI: clientsVRF, Remote: netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + i)})}
			g.Members = append(g.Members, GroupMember{NextHop: hop + uint32(i), MAC: MAC{2, 8, byte(i)}})
		}
		b.NextHops[group], b.Groups = NextHop{Kind: NextHopGroup}, map[uint32]Group{group: g}
		b.Routes[RouteKey{servicesVRF, host(b.other)}] = Route{NextHop: group, Routed: true}
		in := packet(MAC{2, 9}, localMember, 6, at(b.other, 4000), at(b.virtual, 80), synFlag)
		b.want(b.FromTunnel(9, &TunnelKey{VNI: servicesVRF}, in), "delivered", memberPort, "")
		answer := func() Outcome { return b.fromMember(6, at(b.workload, 8080), at(b.other, 4000), synFlag|ackFlag) }
		first := answer()
		b.want(first, "tunnelled", 9, fmt.Sprintf("%v > %v", at(b.virtual, 80), at(b.other, 4000)))
		for i := range g.All {
			g.All[i] = 1 // all that is new goes to the second
		}
		b.Groups[group] = g
		if again := answer(); again.Tunnel.Remote != first.Tunnel.Remote {
			b.Errorf("the conversation went to %v, and goes to %v", first.Tunnel.Remote, again.Tunnel.Remote)
		}
	})
}

// A virtual address answers ping, and refuses what nobody serves.
func TestOracleRefusesClosedPorts(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		client := b.workload
		o := b.fromClient(6, 4000, at(b.virtual, 82), synFlag)
		b.want(o, "answered no-listener", clientPort, fmt.Sprintf("%v > %v", at(b.virtual, 82), at(client, 4000)))
		if flags := parse(o.Frame).payload[13]; flags != resetFlag|ackFlag {
			b.Errorf("the answer has flags %#x", flags)
		}
		b.want(b.fromClient(6, 4000, at(b.virtual, 82), resetFlag), "dropped no-listener", 0, "")
		b.want(b.fromClient(6, 4000, at(b.virtual, 81), synFlag), "answered no-member", clientPort, "")
		unreachable, request, reply := "ICMP 3/3", byte(8), "ICMP 0/0"
		if client.Is6() {
			unreachable, request, reply = "ICMP 1/4", 128, "ICMP 129/0"
		}
		b.want(b.fromClient(17, 4000, at(b.virtual, 54), 0), "answered no-listener", clientPort, fmt.Sprintf("%v > %v %s", b.virtual, client, unreachable))
		b.want(b.FromPort(clientPort, wrap(portMAC(clientPort), GatewayMAC, 50, client, b.virtual, make([]byte, 40))), "dropped no-listener", 0, "")
		icmp, protocol := []byte{request, 0, 0, 0, 0, 1, 0, 1}, byte(1)
		if client.Is6() {
			protocol = 58
			binary.BigEndian.PutUint16(icmp[2:], checksum6(client, b.virtual, 58, icmp))
		} else {
			binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
		}
		b.want(b.FromPort(clientPort, wrap(portMAC(clientPort), GatewayMAC, protocol, client, b.virtual, icmp)), "answered", clientPort, fmt.Sprintf("%v > %v %s", b.virtual, client, reply))
	})
}

// A conversation stays with its member as long as that is there, drained or not;
// a new one goes where the choice says, but for a client that is remembered.
func TestOracleKeepsMembers(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		virtual := at(b.virtual, 80)
		b.want(b.fromClient(6, 4000, virtual, synFlag), "delivered", memberPort, "")
		b.choose(otherMember) // the local one is drained
		b.want(b.fromClient(6, 4000, virtual, ackFlag), "delivered", memberPort, "")
		b.want(b.fromClient(6, 4001, virtual, synFlag), "tunnelled", 9, "")
		b.want(b.fromClient(6, 4000, virtual, resetFlag), "delivered", memberPort, "")
		b.want(b.fromClient(6, 4000, virtual, synFlag), "tunnelled", 9, "") // from the same port, but anew
		b.choose(localMember)
		b.want(b.fromClient(6, 4001, virtual, ackFlag), "tunnelled", 9, "")
		delete(b.PoolMembers, PoolMemberKey{b.key, otherMember}) // it is gone
		b.want(b.fromClient(6, 4001, virtual, ackFlag), "delivered", memberPort, "")

		b.Listeners[b.key] = Listener{Choice: 1, BySource: true, Ticks: 5}
		b.PoolMembers[PoolMemberKey{b.key, otherMember}] = PoolMember{NextHop: toOther, Chosen: true}
		b.want(b.fromClient(6, 4002, virtual, synFlag), "delivered", memberPort, "")
		b.choose(otherMember)
		b.Tick = 5
		b.want(b.fromClient(6, 4003, virtual, synFlag), "delivered", memberPort, "") // remembered, and so again
		b.Tick = 11
		b.want(b.fromClient(6, 4004, virtual, synFlag), "tunnelled", 9, "") // forgotten
		drained := b.PoolMembers[PoolMemberKey{b.key, otherMember}]
		drained.Chosen = false
		b.PoolMembers[PoolMemberKey{b.key, otherMember}] = drained
		b.choose(localMember)
		b.want(b.fromClient(6, 4005, virtual, synFlag), "delivered", memberPort, "") // who is drained gets nothing new
	})
}

// Two listeners with one member, and a client that speaks to both from one port:
// the member sees two conversations.
func TestOracleTellsConversationsApart(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		first, second, client := at(b.virtual, 80), at(b.second, 80), at(b.workload, 4000)
		b.want(b.fromClient(6, 4000, first, synFlag), "delivered", memberPort, fmt.Sprintf("%v > %v", client, at(b.workload, 8080)))
		o := b.fromClient(6, 4000, second, synFlag)
		b.want(o, "delivered", memberPort, "")
		ports, _ := parse(o.Frame).wirePorts()
		if ports.source == 4000 {
			b.Fatal("the member sees one conversation for two")
		}
		b.want(b.fromMember(6, at(b.workload, 8080), at(b.workload, ports.source), synFlag|ackFlag), "delivered", clientPort, fmt.Sprintf("%v > %v", second, client))
		b.want(b.fromMember(6, at(b.workload, 8080), client, synFlag|ackFlag), "delivered", clientPort, fmt.Sprintf("%v > %v", first, client))
		again := b.fromClient(6, 4000, second, ackFlag)
		b.want(again, "delivered", memberPort, b.says(o.Frame))

		// The client speaks to the member itself, from that port too.
		b.Routes[RouteKey{servicesVRF, host(b.other)}] = Route{NextHop: toMember, MAC: portMAC(memberPort)}
		key := &TunnelKey{VNI: servicesVRF}
		direct := packet(MAC{2, 9}, portMAC(memberPort), 6, client, at(b.other, 8080), synFlag)
		b.want(b.FromTunnel(9, key, direct), "delivered", memberPort, "") // another address of the member's
		b.Connections[ConnectionKey{memberPort, 6, at(b.other, 8080), client}] = Connection{Port: 102, Mapping: localMapping, Itself: 4000}
		b.want(b.FromTunnel(9, key, direct), "dropped mapping-taken", 0, "")

		// Where a client's own port is what another conversation was given.
		b.Connections[ConnectionKey{memberPort, 6, at(b.workload, 8080), at(b.workload, 4200)}] = Connection{Port: 102, Mapping: localMapping, Itself: 4199}
		o = b.fromClient(6, 4200, first, synFlag)
		b.want(o, "delivered", memberPort, "")
		if ports, _ := parse(o.Frame).wirePorts(); ports.source == 4200 {
			b.Error("two conversations of one listener are one to the member")
		}
		// What is over makes room.
		b.Connections[ConnectionKey{memberPort, 6, at(b.other, 8080), client}] = Connection{Port: 102, Mapping: localMapping, Itself: 4000, State: ConnectionReset}
		b.want(b.FromTunnel(9, key, direct), "delivered", memberPort, "")
		if c := b.Connections[ConnectionKey{memberPort, 6, at(b.other, 8080), client}]; c.Mapping != 0 || c.State&ConnectionReset != 0 {
			b.Errorf("the entry of what is over became %+v", c)
		}

		// All four candidates are somebody else's.
		for _, c := range conversationPorts(6, b.workload, b.virtual, 4100, 80) {
			b.Connections[ConnectionKey{memberPort, 6, at(b.workload, 8080), at(b.workload, c)}] = Connection{Port: 102}
		}
		b.want(b.fromClient(6, 4100, first, synFlag), "dropped mapping-exhausted", 0, "")
	})
}

// A member that calls its own virtual address and is given itself.
func TestOracleHairpin(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		virtual, remote := at(b.virtual, 80), hairpinRemote(b.workload)
		b.Routes[RouteKey{backendsVRF, host(b.virtual)}] = Route{NextHop: toBalancer, Proxied: true}
		b.want(b.fromMember(6, at(b.workload, 4000), virtual, synFlag), "delivered", memberPort, fmt.Sprintf("%v > %v", at(remote, 4000), at(b.workload, 8080)))
		b.want(b.fromMember(6, at(b.workload, 8080), at(remote, 4000), synFlag|ackFlag), "delivered", memberPort, fmt.Sprintf("%v > %v", virtual, at(b.workload, 4000)))
		b.want(b.fromMember(6, at(b.workload, 4000), virtual, ackFlag), "delivered", memberPort, fmt.Sprintf("%v > %v", at(remote, 4000), at(b.workload, 8080)))
		b.PortAddresses[PortAddress{memberPort, b.other}] = struct{}{}
		b.want(b.fromMember(6, at(b.other, 4000), virtual, synFlag), "dropped hairpin-source", 0, "")
	})
}

// Who has the address that a member sees of itself is not taken for that member.
func TestOracleRefusesHairpinsAddress(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		virtual, member, remote := at(b.virtual, 80), at(b.workload, 8080), at(hairpinRemote(b.workload), 4000)
		key := &TunnelKey{VNI: servicesVRF}
		b.want(b.fromMember(6, at(b.workload, 4000), virtual, synFlag), "delivered", memberPort, "")
		b.want(b.FromTunnel(9, key, packet(MAC{2, 9}, localMember, 6, remote, virtual, ackFlag)), "dropped hairpin-source", 0, "")
		b.PortAddresses[PortAddress{clientPort, remote.Addr()}] = struct{}{}
		b.want(b.FromPort(clientPort, packet(portMAC(clientPort), GatewayMAC, 6, remote, virtual, synFlag)), "dropped hairpin-source", 0, "")
		about := packet(MAC{}, MAC{}, 6, virtual, remote, ackFlag) // never left the member's host
		b.want(b.FromTunnel(9, key, quoting(MAC{2, 9}, localMember, b.other, b.virtual, about)), "dropped hairpin-source", 0, "")
		// Past the mapping, whom the member hears is not itself.
		direct := packet(MAC{2, 9}, portMAC(memberPort), 6, remote, member, synFlag)
		b.Routes[RouteKey{servicesVRF, host(b.workload)}] = Route{NextHop: toMember, MAC: portMAC(memberPort)}
		b.want(b.FromTunnel(9, key, direct), "dropped mapping-taken", 0, "")
		clear(b.Connections)
		b.want(b.FromTunnel(9, key, direct), "delivered", memberPort, fmt.Sprintf("%v > %v", remote, member))
		b.want(b.fromMember(6, member, remote, synFlag|ackFlag), "dropped no-route", 0, "")
	})
}

// What is quoted by an error is translated with it, both ways.
func TestOracleTranslatesErrors(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		client, member, virtual := at(b.workload, 4000), at(b.workload, 5353), at(b.virtual, 53)
		toIt := b.fromClient(17, 4000, virtual, 0)
		b.want(toIt, "delivered", memberPort, fmt.Sprintf("%v > %v", client, member))
		o := b.FromPort(memberPort, quoting(portMAC(memberPort), GatewayMAC, b.workload, b.workload, toIt.Frame))
		b.want(o, "delivered", clientPort, "")
		if s, ok := parse(o.Frame).subject(); !ok || s.local != client || s.remote != virtual || parse(o.Frame).source != b.virtual {
			b.Errorf("the client is told by %v of %v to %v", parse(o.Frame).source, s.local, s.remote)
		}
		b.says(o.Frame)
		b.quotedSum(o.Frame)
		toClient := b.fromMember(17, member, client, 0)
		b.want(toClient, "delivered", clientPort, fmt.Sprintf("%v > %v", virtual, client))
		o = b.FromPort(clientPort, quoting(portMAC(clientPort), GatewayMAC, b.workload, b.virtual, toClient.Frame))
		b.want(o, "delivered", memberPort, "")
		if s, ok := parse(o.Frame).subject(); !ok || s.local != member || s.remote != client || parse(o.Frame).destination != b.workload {
			b.Errorf("the member is told of %v to %v", s.local, s.remote)
		}
		b.says(o.Frame)
		b.quotedSum(o.Frame)
		// About what nobody knows.
		stranger := packet(portMAC(memberPort), GatewayMAC, 17, at(b.virtual, 53), at(b.workload, 4999), 0)
		b.want(b.FromPort(clientPort, quoting(portMAC(clientPort), GatewayMAC, b.workload, b.virtual, stranger)), "dropped no-listener", 0, "")
		in := quoting(MAC{2, 9}, localMember, b.other, b.virtual, packet(MAC{}, MAC{}, 17, virtual, at(b.other, 4999), 0))
		b.want(b.FromTunnel(9, &TunnelKey{VNI: servicesVRF}, in), "dropped no-mapping", 0, "")
	})
}

// quotedSum checks the checksums of the packet that an error quotes.
func (b *balanced) quotedSum(frame []byte) {
	b.Helper()
	inner := parse(append(append(make([]byte, 12), frame[12:14]...), parse(frame).payload[8:]...))
	if inner.refused != "" || sumOf(inner.source, inner.destination, inner.protocol, inner.payload) != 0 || inner.source.Is4() && checksum(inner.frame[14:34]) != 0 {
		b.Errorf("what is quoted has a wrong checksum (%s)", inner.refused)
	}
}

// Later fragments go where the first one went.
func TestOracleTranslatesFragments(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		first, later := fragments(packet(portMAC(clientPort), GatewayMAC, 17, at(b.workload, 4000), at(b.virtual, 53), 0))
		b.want(b.FromPort(clientPort, later), "dropped listener-fragment", 0, "")
		b.want(b.FromPort(clientPort, first), "delivered", memberPort, fmt.Sprintf("%v > %v", at(b.workload, 4000), at(b.workload, 5353)))
		o := b.FromPort(clientPort, later)
		b.want(o, "delivered", memberPort, "")
		f := parse(o.Frame)
		if f.destination != b.workload || f.source.Is4() && checksum(o.Frame[14:34]) != 0 || string(f.payload) != string(parse(later).payload) {
			b.Errorf("the later fragment goes to %v", f.destination)
		}
		first, later = fragments(packet(MAC{2, 9}, localMember, 6, at(b.other, 4000), at(b.virtual, 80), ackFlag))
		key := &TunnelKey{VNI: servicesVRF}
		b.want(b.FromTunnel(9, key, later), "dropped mapping-fragment", 0, "")
		b.want(b.FromTunnel(9, key, first), "delivered", memberPort, "")
		b.want(b.FromTunnel(9, key, later), "delivered", memberPort, "")
	})
}
