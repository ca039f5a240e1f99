// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

const (
	testLabelDevice    = 52
	testLabelFar       = 53
	testUnderlayDevice = 54
)

// testLocals are this host's own tunnel addresses.
var testLocals = []netip.Addr{netip.MustParseAddr("192.0.2.250"), netip.MustParseAddr("2001:db8:100::250"), netip.MustParseAddr("192.0.2.251")}

func testLocal(six bool) netip.Addr {
	if six {
		return testLocals[1]
	}
	return testLocals[0]
}

// labels gives the world a label path, labels and tunnel addresses.
func (g *generator) labels() {
	if !g.chance(18) {
		g.o.Config.LabelDevice = testLabelDevice
	}
	g.o.TunnelAddresses = map[netip.Addr]struct{}{}
	for _, a := range testLocals {
		g.o.TunnelAddresses[a] = struct{}{}
	}
	for _, number := range inOrder(g.o.VNIs) {
		vni := g.o.VNIs[number]
		vni.Label = g.chance(85)
		g.o.VNIs[number] = vni
	}
}

// tunnel is a next hop to another host, by any encapsulation.
func (g *generator) tunnel(vrf uint32, remote netip.Addr) NextHop {
	n := NextHop{Kind: NextHopTunnel, VNI: 1000 + vrf, Remote: remote, MTU: g.mtu()}
	if g.chance(80) {
		n.Local = testLocal(remote.Is6())
	}
	switch {
	case g.chance(25):
		n.Encapsulation, n.Ifindex = EncapsulationMPLSUDP, testUnderlayDevice
	case g.chance(8):
		n.Encapsulation = EncapsulationUnavailable
	}
	return n
}

// labelled is a frame as it stands in the label path, or nearly so.
func (g *generator) labelled() []byte {
	_, frame := g.frame(1 + g.IntN(testPorts))
	for parse(frame).refused != "" || parse(frame).arp {
		_, frame = g.frame(1 + g.IntN(testPorts))
	}
	frame = slices.Clone(frame)
	var ids []uint32
	for id, n := range g.o.NextHops {
		if id <= g.lastID && n.Kind == NextHopTunnel && n.Encapsulation == EncapsulationMPLSUDP {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if tight := g.tight(ids, len(frame)-14); tight != 0 && g.chance(10) {
		binary.BigEndian.PutUint32(frame, tight)
	} else if len(ids) > 0 && g.chance(90) {
		binary.BigEndian.PutUint32(frame, ids[g.IntN(len(ids))])
	} else {
		binary.BigEndian.PutUint32(frame, g.Uint32N(g.lastID+3))
	}
	binary.BigEndian.PutUint16(frame[4:], 49152+uint16(g.IntN(1<<14)))
	copy(frame[6:], GatewayMAC[:])
	return frame
}

// tight is one of the next hops that do not take as many bytes, or just do; 0
// if there is none.
func (g *generator) tight(ids []uint32, size int) uint32 {
	from := g.IntN(len(ids) + 1)
	for i := range ids {
		id := ids[(from+i)%len(ids)]
		if n := g.o.NextHops[id]; n.MTU != 0 && n.MTU <= size {
			return id
		}
	}
	return 0
}

// fromUnderlay is a frame of another host by MPLS over UDP, or nearly so.
func (g *generator) fromUnderlay() []byte {
	ifindex := 1 + g.IntN(testPorts)
	_, inner := g.frame(ifindex)
	if g.chance(60) {
		six := g.chance(50)
		s := ipSpec{source: testSources[0], destination: g.own(ifindex, six), protocol: pick(g, byte(6), 17), hops: 64, payload: make([]byte, 20+g.IntN(40))}
		s.source = poolAddress(six, g.IntN(poolSize))
		inner = ethernetFrame(GatewayMAC, MAC{}, s.ethertype(), s.build())
	}
	six := g.chance(40)
	source := testSources[0]
	if six {
		source = testSources[1]
	}
	if g.chance(5) {
		source = map[bool]netip.Addr{false: testSources[3], true: netip.MustParseAddr("2001:db8:100::9")}[six]
	}
	label := 1000 + g.o.Ports[ifindex].VRF
	if g.chance(6) {
		label = pick(g, uint32(0), 1009, 1<<20-1)
	}
	bottom := uint32(1 << 8)
	if g.chance(5) {
		bottom = 0
	}
	udp := binary.BigEndian.AppendUint16(nil, 49152+uint16(g.IntN(1<<14)))
	udp = binary.BigEndian.AppendUint16(udp, pick(g, uint16(mplsPort), mplsPort, mplsPort, mplsPort, mplsPort, mplsPort, mplsPort, mplsPort, mplsPort, mplsPort, 4789))
	udp = binary.BigEndian.AppendUint16(udp, uint16(12+len(inner)-14))
	udp = append(udp, 0, 0)
	udp = binary.BigEndian.AppendUint32(udp, label<<12|uint32(g.IntN(8))<<9|bottom|uint32(g.IntN(256)))
	udp = append(udp, inner[14:]...)
	s := ipSpec{source: source, destination: testLocal(six), protocol: 17, hops: 64, payload: udp}
	if g.chance(3) {
		s.destination = map[bool]netip.Addr{false: netip.MustParseAddr("192.0.2.77"), true: netip.MustParseAddr("2001:db8:100::77")}[six]
	}
	if !six && g.chance(10) {
		s.options = make([]byte, 4*(1+g.IntN(10)))
	}
	if g.chance(6) {
		s.fragment = pick(g, uint16(0x2000), 0x2000, 0x2000, 0x0004)
		if six {
			s.extensions, s.fragment = []byte{44}, 1
		}
	}
	return g.damage(ethernetFrame(portMAC(9), portMAC(8), s.ethertype(), s.build()), six)
}

// damage changes one thing of the outer headers, now and then.
func (g *generator) damage(frame []byte, six bool) []byte {
	header := 14 + 20
	if six {
		header = 14 + 40
	}
	switch g.IntN(60) {
	case 0: // the UDP length
		frame[header+5] += byte(1 + g.IntN(255))
	case 1: // cut
		frame = frame[:header+g.IntN(len(frame)-header)]
	case 2: // padding
		frame = append(frame, make([]byte, g.IntN(20))...)
	case 3: // the length of the IPv4 header
		if !six {
			frame[14] = 0x40 | byte(g.IntN(16))
		}
	case 4: // the version inside
		if len(frame) > header+12 {
			frame[header+12] = byte(g.Uint32())
		}
	case 5: // nothing inside
		frame = frame[:header+12]
		if !six {
			binary.BigEndian.PutUint16(frame[16:], uint16(len(frame)-14))
		} else {
			binary.BigEndian.PutUint16(frame[18:], uint16(len(frame)-54))
		}
		binary.BigEndian.PutUint16(frame[header+4:], 12)
	case 6: // another version than the ethertype's
		frame[14] ^= 0x20
	}
	return frame
}

// underlayStep sends a frame through a hook of the underlay and the oracle.
// The programs leave no connections here, so the oracle must not either.
func (g *generator) underlayStep(t *testing.T, d *Datapath, tracer *Tracer, what string) Outcome {
	t.Helper()
	hits, logged := g.o.RuleHits, g.o.Logged // these programs record and leave nothing
	g.o.RuleHits, g.o.Logged, g.o.Traces = nil, nil, true
	defer func() { g.o.RuleHits, g.o.Logged, g.o.Traces = hits, logged, false }()
	if g.chance(40) {
		frame := g.labelled()
		id := binary.BigEndian.Uint32(frame)
		if n, known := g.o.NextHops[id]; known {
			check(t, d.NextHops.Put(id, n)) // a member of a group that came later is in no table yet
		} else {
			check(t, d.NextHops.Delete(id))
		}
		got, err := tracer.ToUnderlay(testLabelFar, frame)
		check(t, err)
		compare(t, what+" in the label path", frame, got, g.o.ToUnderlay(frame))
		return got
	}
	frame := g.fromUnderlay()
	for !runnable(frame) {
		frame = g.fromUnderlay()
	}
	got, err := tracer.FromUnderlay(testUnderlayDevice, frame)
	check(t, err)
	compare(t, what+" from the underlay", frame, got, g.o.FromUnderlay(testUnderlayDevice, frame))
	return got
}
