// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net/netip"
	"testing"
)

// floatingWorld is that of tenants, with a public network in VRF 3: there workload 1 has
// .200 and .201, workload 2 has .202, .203 is an alias at workload 4 of the other tenant,
// and .210 is on another host.
type floatingWorld struct {
	*testing.T
	*Oracle
	six bool
}

func inFloatingWorld(t *testing.T, try func(w *floatingWorld)) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %t", six), func(t *testing.T) {
			w := &floatingWorld{t, tenants(), six}
			w.Connections, w.fragments, w.ways = map[ConnectionKey]Connection{}, map[fragmentKey]wirePorts{}, map[ConnectionKey]oracleWay{}
			w.VNIs[1003] = VNI{VRF: 3}
			w.Mappings, w.Floats = map[uint64]Mapping{}, map[FloatKey]Float{}
			delete(w.Routes, RouteKey{1, host(w.address(100))})
			w.Routes[RouteKey{3, host(w.address(210))}] = Route{NextHop: 13, MAC: MAC{2, 3, 0, 0, 0, 1}}
			for _, f := range []struct {
				number   uint64
				external int
				ifindex  int
				internal int
			}{{1, 200, 1, 2}, {2, 201, 1, 2}, {3, 202, 2, 3}, {4, 203, 4, 203}} {
				w.float(f.number, f.external, f.ifindex, f.internal)
			}
			alias := w.Ports[4]
			alias.Aliases = true
			w.Ports[4] = alias
			key := FloatKey{4, w.address(203)}
			w.Floats[key] = Float{Mappings: w.Floats[key].Mappings, Alias: 4}
			w.PortAddresses[PortAddress{4, w.address(203)}] = struct{}{}
			try(w)
		})
	}
}

func (w *floatingWorld) address(n int) netip.Addr { return poolAddress(w.six, n) }

func (w *floatingWorld) float(number uint64, external, ifindex, internal int) {
	w.Mappings[number] = Mapping{Ifindex: ifindex, VRF: 3, External: netip.AddrPortFrom(w.address(external), 0), Internal: netip.AddrPortFrom(w.address(internal), 0)}
	w.NextHops[100+uint32(number)] = NextHop{Kind: NextHopMapped, Mapping: number}
	w.Routes[RouteKey{3, host(w.address(external))}] = Route{NextHop: 100 + uint32(number), Proxied: true, MAC: portMAC(ifindex)}
	key := FloatKey{ifindex, w.address(internal)}
	of := w.Floats[key]
	for i := range of.Mappings {
		if of.Mappings[i] == 0 {
			of.Mappings[i] = number
			break
		}
	}
	w.Floats[key] = of
}

// from is what comes of a packet of UDP from a workload, or, of port 0, of the public
// network from another host.
func (w *floatingWorld) from(ifindex, source, sourcePort, destination, port int) Outcome {
	from, to := netip.AddrPortFrom(w.address(source), uint16(sourcePort)), netip.AddrPortFrom(w.address(destination), uint16(port))
	if ifindex == 0 {
		return w.FromTunnel(testTunnelDevice, &TunnelKey{VNI: 1003, Remote: netip.MustParseAddr("192.0.2.13")}, packet(MAC{2, 8}, GatewayMAC, 17, from, to, 0))
	}
	return w.FromPort(ifindex, packet(portMAC(ifindex), GatewayMAC, 17, from, to, 0))
}

// wants compares where it goes, and who speaks to whom there.
func (w *floatingWorld) wants(o Outcome, where string, source, sourcePort, destination, port int) {
	w.Helper()
	f := parse(o.Frame)
	ports, _ := f.wirePorts()
	got := fmt.Sprintf("%s %s%d: %v > %v", o.Verdict, o.Reason, o.Redirect, netip.AddrPortFrom(f.source, ports.source), netip.AddrPortFrom(f.destination, ports.destination))
	want := fmt.Sprintf("%s: %v > %v", where, netip.AddrPortFrom(w.address(source), uint16(sourcePort)), netip.AddrPortFrom(w.address(destination), uint16(port)))
	if got != want {
		w.Errorf("got  %s\nwant %s", got, want)
	}
}

// Who comes to a floating address reaches its workload, and is answered from it; of
// several the one that was spoken to.
func TestOracleFloatsInward(t *testing.T) {
	inFloatingWorld(t, func(w *floatingWorld) {
		tunnel := fmt.Sprint("tunnelled ", testTunnelDevice)
		w.wants(w.from(0, 210, 4000, 201, 80), "delivered 1", 210, 4000, 2, 80)
		w.wants(w.from(1, 2, 80, 210, 4000), tunnel, 201, 80, 210, 4000)
		other := portCandidates(w.address(210), w.address(200), 4000, 80)[1]
		w.wants(w.from(0, 210, 4000, 200, 80), "delivered 1", 210, int(other), 2, 80) // from the same port, by the other one
		w.wants(w.from(1, 2, 80, 210, int(other)), tunnel, 200, 80, 210, 4000)
	})
}

// Where the workload's own network leads nowhere it leaves through its first floating
// address of equally long routes; what comes back finds it.
func TestOracleFloatsOutward(t *testing.T) {
	inFloatingWorld(t, func(w *floatingWorld) {
		w.wants(w.from(1, 2, 4000, 210, 80), fmt.Sprint("tunnelled ", testTunnelDevice), 200, 4000, 210, 80)
		w.wants(w.from(0, 210, 80, 200, 4000), "delivered 1", 210, 80, 2, 4000)
		w.wants(w.from(3, 2, 4000, 210, 80), "dropped no-route0", 2, 4000, 210, 80) // a tenant with the same address has none
		delete(w.Mappings, 1)                                                       // the address went to another port
		w.wants(w.from(1, 2, 4000, 210, 80), "dropped no-mapping0", 2, 4000, 210, 80)
		w.wants(w.from(1, 2, 4001, 210, 80), fmt.Sprint("tunnelled ", testTunnelDevice), 201, 4001, 210, 80)
	})
}

// Two that both have one see each other under these, and so does who calls itself.
func TestOracleFloatsBetweenTwo(t *testing.T) {
	inFloatingWorld(t, func(w *floatingWorld) {
		w.wants(w.from(1, 2, 4000, 202, 80), "delivered 2", 200, 4000, 3, 80)
		w.wants(w.from(2, 3, 80, 200, 4000), "delivered 1", 202, 80, 2, 4000)
		w.wants(w.from(1, 2, 5000, 200, 80), "delivered 1", 200, 5000, 2, 80)
		w.wants(w.from(1, 2, 80, 200, 5000), "delivered 1", 200, 80, 2, 5000)
		w.Routes[RouteKey{1, host(w.address(200))}] = Route{NextHop: 101, Proxied: true, MAC: portMAC(1), Routed: true}
		w.wants(w.from(2, 3, 6000, 200, 80), "delivered 1", 3, 6000, 2, 80) // joined: with its own address
	})
}

// An alias is the workload's own, and says where its frames are routed.
func TestOracleFloatsAlias(t *testing.T) {
	inFloatingWorld(t, func(w *floatingWorld) {
		w.wants(w.from(4, 203, 4000, 210, 80), fmt.Sprint("tunnelled ", testTunnelDevice), 203, 4000, 210, 80)
		w.wants(w.from(0, 210, 80, 203, 4000), "delivered 4", 210, 80, 203, 4000)
		w.Routes[RouteKey{2, host(w.address(210))}] = Route{NextHop: 12, MAC: MAC{2, 1, 0, 0, 0, 2}}
		if o := w.from(4, 203, 4001, 210, 80); o.Tunnel == nil || o.Tunnel.VNI != 1003 {
			t.Errorf("it goes by the port's own network: %v", show(o))
		}
		if o := w.from(4, 3, 4001, 210, 80); o.Tunnel == nil || o.Tunnel.VNI != 1002 {
			t.Errorf("the port's other address goes by %v", show(o))
		}
	})
}
