// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const testHostDevice = 51

var testHostMAC = MAC{2, 0x77, 0x65, 0x66, 0x74, 0}

// monotonic is the clock that the programs read.
func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return time.Duration(ts.Nano())
}

// Ports of transport: listeners and what the host begins from are apart, as
// the kernel keeps them.
var (
	testListeners = []uint16{20000, 20001}
	testHostPorts = []uint16{40000, 40001}
	testPeers     = []uint16{5000, 5001, 5002}
)

// hostPath gives the world a host path, services and conversations.
func (g *generator) hostPath() {
	g.o.Services, g.o.HostFlows, g.o.Aliases = map[Service]uint16{}, map[HostFlow]HostFlowState{}, map[uint32]int{}
	g.o.Now = monotonic()
	if g.chance(90) {
		g.o.Config.HostDevice, g.o.Config.HostMAC = testHostDevice, testHostMAC
	}
	for _, ifindex := range inOrder(g.o.Ports) {
		port := g.o.Ports[ifindex]
		if g.chance(90) {
			port.Alias = uint32(MinAlias + ifindex)
			g.o.Aliases[port.Alias] = ifindex
		}
		for _, six := range []bool{false, true} {
			if a := g.source(ifindex, six); g.o.owns(ifindex, a) && g.chance(80) {
				if six {
					port.Address6 = a
				} else {
					port.Address4 = a
				}
			}
			for range 12 {
				g.flow(ifindex, six)
			}
		}
		g.o.Ports[ifindex] = port
	}
	g.o.Aliases[1000] = 99 // no port
	g.o.Aliases[1001] = 1  // another's number
	for vrf := uint32(1); vrf <= 2; vrf++ {
		for _, six := range []bool{false, true} {
			for _, protocol := range []byte{6, 17} {
				if g.chance(80) {
					g.o.Services[Service{vrf, poolAddress(six, 1), protocol, pick(g, uint16(53), 80)}] = testListeners[g.IntN(2)]
				}
			}
		}
	}
}

func (g *generator) flow(ifindex int, six bool) {
	key := HostFlow{Ifindex: ifindex, Six: six, Protocol: pick(g, byte(6), 17), WorkloadPort: testPeers[g.IntN(3)], HostPort: testListeners[g.IntN(2)]}
	state := HostFlowState{Workload: g.source(ifindex, six), WorkloadPort: key.WorkloadPort, Peer: poolAddress(six, 1), PeerPort: pick(g, uint16(53), 80)}
	if state.Workload.IsUnspecified() {
		return
	}
	if g.chance(60) { // some are seen from another port, or that port is another's
		state.Seen = max(0, g.o.Now-time.Duration(g.IntN(4))*time.Second)
		key.WorkloadPort = portCandidates(state.Workload, state.Peer, state.WorkloadPort, state.PeerPort)[g.IntN(4)]
		if g.chance(40) {
			state.WorkloadPort = testPeers[g.IntN(3)]
		}
	} else {
		key.HostPort = testHostPorts[g.IntN(2)]
		// Of long ago only where the machine has been up for longer: else it would be
		// over or not as the moment falls in which a frame is tried.
		ago := pick(g, 0, time.Second, 10*udpSilence)
		if ago >= g.o.Now {
			ago = 0
		}
		state.FromHost, state.PeerPort, state.Seen = true, key.HostPort, g.o.Now-ago
	}
	g.o.HostFlows[key] = state
}

// flowsOf are the conversations of a port with the host, in an order that a seed repeats.
func (g *generator) flowsOf(ifindex int, six bool) []HostFlow {
	all := map[HostFlow]bool{}
	for key := range g.o.HostFlows {
		if key.Ifindex == ifindex && key.Six == six {
			all[key] = true
		}
	}
	return inOrder(all)
}

// transportTo is a segment or datagram, with flags that begin or continue.
func (g *generator) transportTo(protocol byte, source, destination netip.Addr, from, to uint16) []byte {
	m := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
	size, at := 8, 6
	if protocol == 6 {
		size, at = 20, 16
	}
	m = append(m, make([]byte, size-4+g.IntN(9))...)
	if protocol == 6 {
		m[12], m[13] = 0x50, pick(g, byte(2), 18, 16, 17, 4)
	} else {
		binary.BigEndian.PutUint16(m[4:], uint16(len(m)))
	}
	binary.BigEndian.PutUint16(m[at:], pick(g, uint16(0), uint16(g.Uint32()), 0xffff))
	if source.Is6() && g.chance(60) {
		m[at], m[at+1] = 0, 0
		binary.BigEndian.PutUint16(m[at:], checksum6(source, destination, protocol, m))
	}
	if g.chance(3) {
		m = m[:size-1-g.IntN(3)]
	}
	return m
}

// toHost is a packet to a service, or an answer to what the host began.
func (g *generator) toHost(ifindex int, six bool) []byte {
	protocol := pick(g, byte(6), 17, 17, 132)
	to, from := pick(g, uint16(53), 80, 80, testHostPorts[0], testHostPorts[1]), testPeers[g.IntN(3)]
	source := g.source(ifindex, six)
	for _, key := range g.flowsOf(ifindex, six) {
		if flow := g.o.HostFlows[key]; g.chance(35) {
			protocol, from, to, source = key.Protocol, flow.WorkloadPort, flow.PeerPort, flow.Workload
			break
		}
	}
	if g.chance(5) {
		source = g.source(ifindex, six)
	}
	s := ipSpec{source: source, destination: poolAddress(six, 1), protocol: protocol, hops: 64}
	s.payload = g.transportTo(protocol, s.source, s.destination, from, to)
	if !six && g.chance(10) {
		s.options = make([]byte, 4)
	}
	if six && g.chance(10) {
		s.extensions = []byte{60}
	}
	if g.chance(5) {
		s.fragment = 0x2000
		if six {
			s.extensions, s.fragment = []byte{44}, 1
		}
	}
	return ethernetFrame(GatewayMAC, portMAC(ifindex), s.ethertype(), s.build())
}

// fromHost is a packet of the host's own TCP/IP, most often to an alias.
func (g *generator) fromHost() []byte {
	six := g.chance(50)
	if g.chance(25) {
		return g.toReachable(six, MAC{2, 1, 1, 1, 1, 1}, testHostMAC)
	}
	number := uint32(MinAlias + 1 + g.IntN(testPorts))
	if g.chance(10) {
		number = pick(g, uint32(1), 1000, 1001, 5000)
	}
	s := ipSpec{source: AliasAddress(HostAlias, six), destination: AliasAddress(number, six), protocol: pick(g, byte(6), 17, 17, 6, 6, 17, 17, 6, 1), hops: 64}
	if g.chance(5) {
		s.destination = poolAddress(six, 3)
	}
	if g.chance(5) { // what the host forwards
		s.source = underlayAddress(six, g.IntN(8))
	}
	if g.chance(15) {
		s.source, s.destination = underlayAddress(six, g.IntN(8)), poolAddress(six, 2+g.IntN(poolSize-2))
	}
	from := pick(g, testListeners[0], testListeners[1], testHostPorts[0], testHostPorts[1])
	to := testPeers[g.IntN(3)]
	for _, key := range g.flowsOf(g.o.Aliases[number], six) {
		if s.protocol != 1 && g.chance(35) {
			s.protocol, from, to = key.Protocol, key.HostPort, key.WorkloadPort
			break
		}
	}
	s.payload = g.transportTo(s.protocol, s.source, s.destination, from, to)
	if g.chance(5) {
		s.fragment = 0x2000
		if six {
			s.extensions, s.fragment = []byte{44}, 1
		}
	}
	return ethernetFrame(MAC{2, 1, 1, 1, 1, 1}, testHostMAC, s.ethertype(), s.build())
}
