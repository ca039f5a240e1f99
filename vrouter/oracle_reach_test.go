// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net/netip"
	"testing"
)

const toFabric, toUnderlay = 6, 7

// outside is a machine of the underlay, which reaches the virtual address by this host.
func (b *balanced) outside() netip.Addr {
	all := underlayAddress(b.virtual.Is6(), 0)
	b.NextHops[toFabric] = NextHop{Kind: NextHopFabric, Ifindex: testUplink}
	b.Routes[RouteKey{servicesVRF, netip.PrefixFrom(all, all.BitLen()-8).Masked()}] = Route{NextHop: toFabric, Routed: true, MAC: GatewayMAC}
	b.Routes[RouteKey{UnderlayVRF, host(b.virtual)}] = Route{NextHop: toBalancer, Fabric: true}
	return underlayAddress(b.virtual.Is6(), 5)
}

// A machine of the underlay and this host reach a member here, and its answers leave from the virtual
// address; nothing is kept but at the member's end.
func TestOracleReachedFromOutside(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		a := b.outside()
		client, member, virtual := at(a, 4000), at(b.workload, 8080), at(b.virtual, 80)
		in := packet(MAC{2, 9}, MAC{2, 8}, 6, client, virtual, synFlag)
		o := b.FromFabric(testUplink, in)
		b.want(o, "delivered", memberPort, fmt.Sprintf("%v > %v", client, member))
		if f := parse(o.Frame); f.hops != 63 || f.ethDestination != portMAC(memberPort) || f.ethSource != GatewayMAC {
			b.Errorf("it comes with hop count %d from %v to %v", f.hops, f.ethSource, f.ethDestination)
		}
		key := ConnectionKey{memberPort, 6, member, client}
		if c := b.Connections[key]; len(b.Connections) != 1 || c.Mapping != localMapping || c.State&ConnectionUnasked != 0 {
			b.Errorf("the entries are %+v", b.Connections)
		}
		b.want(b.fromMember(6, member, client, synFlag|ackFlag), "routed", testUplink, fmt.Sprintf("%v > %v", virtual, client))
		delete(b.Connections, key)
		o = b.FromHost(packet(MAC{2, 1}, MAC{2, 2}, 6, client, virtual, synFlag))
		b.want(o, "delivered", memberPort, fmt.Sprintf("%v > %v", client, member))
		if f := parse(o.Frame); f.hops != 64 || b.Connections[key].State&ConnectionUnasked == 0 {
			b.Errorf("from the host it has hop count %d and the entry %+v", f.hops, b.Connections[key])
		}
		delete(b.Routes, RouteKey{UnderlayVRF, host(b.virtual)}) // the network left the underlay
		b.want(b.fromMember(6, member, client, synFlag|ackFlag), "dropped fabric-foreign-source", 0, "")
		b.want(b.FromFabric(testUplink, in), "passed", 0, "")
	})
}

// A member elsewhere gets the frame as from a port.
func TestOracleReachesOtherHosts(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		client, virtual := at(b.outside(), 4000), at(b.virtual, 80)
		b.choose(otherMember)
		in := packet(MAC{2, 9}, MAC{2, 8}, 6, client, virtual, synFlag)
		o := b.FromFabric(testUplink, in)
		b.want(o, "tunnelled", 9, fmt.Sprintf("%v > %v", client, virtual))
		if f := parse(o.Frame); f.ethDestination != otherMember || f.ethSource != GatewayMAC || len(b.Connections) != 0 {
			b.Errorf("it goes from %v to %v, with the entries %v", f.ethSource, f.ethDestination, b.Connections)
		}
		about := packet(MAC{}, MAC{}, 6, virtual, client, ackFlag)
		b.want(b.FromFabric(testUplink, quoting(MAC{2, 9}, MAC{2, 8}, underlayAddress(b.virtual.Is6(), 1), b.virtual, about)), "tunnelled", 9, "")
		b.want(b.FromFabric(testUplink, packet(MAC{2, 9}, MAC{2, 8}, 17, client, at(b.virtual, 54), 0)), "dropped no-listener", 0, "")
		b.want(b.FromFabric(testUplink, packet(MAC{2, 9}, MAC{2, 8}, 6, at(b.other, 4000), virtual, synFlag)), "dropped fabric-spoofed", 0, "")
		b.Choices[1] = Choice{}
		b.want(b.FromFabric(testUplink, in), "dropped no-member", 0, "")
	})
}

// What a member elsewhere answers this host comes by a tunnel, and from nobody else does anything.
func TestOracleHearsMembersElsewhere(t *testing.T) {
	eachFamily(t, func(b *balanced) {
		b.outside()
		own := testLocal(b.virtual.Is6())
		b.Config = Config{TunnelDevice: 9, HostDevice: testHostDevice, HostMAC: testHostMAC, Local4: testLocal(false), Local6: testLocal(true)}
		const toHost = 8
		b.NextHops[toHost] = NextHop{Kind: NextHopFabric}
		b.Routes[RouteKey{servicesVRF, host(own)}] = Route{NextHop: toHost, Routed: true, MAC: GatewayMAC}
		key := &TunnelKey{VNI: servicesVRF, Remote: netip.MustParseAddr("192.0.2.3")}
		hears := func(from netip.Addr) Outcome {
			return b.FromTunnel(9, key, packet(GatewayMAC, GatewayMAC, 6, at(from, 80), at(own, 4000), ackFlag))
		}
		o := hears(b.virtual)
		b.want(o, "hosted", testHostDevice, fmt.Sprintf("%v > %v", at(b.virtual, 80), at(own, 4000)))
		if f := parse(o.Frame); f.hops != 64 || f.ethDestination != testHostMAC {
			b.Errorf("it comes with hop count %d to %v", f.hops, f.ethDestination)
		}
		b.want(hears(b.other), "dropped tunnel-to-fabric", 0, "") // a workload of the network
		delete(b.Routes, RouteKey{UnderlayVRF, host(b.virtual)})
		b.want(hears(b.virtual), "dropped tunnel-to-fabric", 0, "") // the host does not see it
	})
}
