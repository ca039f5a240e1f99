// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

const mplsPort = 6635

// labelPath sends a frame on as a packet with its instructions in front.
func (o *Oracle) labelPath(id uint32, next NextHop, f parsed, out []byte) Outcome {
	if o.Config.LabelDevice == 0 {
		return dropped(out, "no-label-path")
	}
	binary.BigEndian.PutUint32(out, id)
	binary.BigEndian.PutUint16(out[4:], entropy(f))
	copy(out[6:12], GatewayMAC[:])
	key := &TunnelKey{VNI: next.VNI, Remote: next.Remote, Local: next.Local, Encapsulation: next.Encapsulation}
	return Outcome{Verdict: "tunnelled", Redirect: o.Config.LabelDevice, Tunnel: key, Frame: out}
}

// entropy is the outer source port of a flow.
func entropy(f parsed) uint16 {
	h := uint32(f.protocol)
	mix := func(word uint32) {
		h = (h ^ word) * 0x9e3779b1
		h ^= h >> 15
	}
	for _, a := range []netip.Addr{f.source, f.destination} {
		for b := a.AsSlice(); len(b) > 0; b = b[4:] {
			mix(binary.BigEndian.Uint32(b))
		}
	}
	var ports wirePorts
	if !f.fragment {
		ports, _ = f.wirePorts()
	}
	mix(uint32(ports.source)<<16 | uint32(ports.destination))
	return 49152 + uint16(h&0x3fff)
}

// ToUnderlay says what becomes of a frame at the far end of the label path.
func (o *Oracle) ToUnderlay(frame []byte) Outcome {
	next := o.NextHops[binary.BigEndian.Uint32(frame)]
	port := binary.BigEndian.Uint16(frame[4:])
	packet := frame[14:]
	switch {
	case next.Kind != NextHopTunnel || next.Encapsulation != EncapsulationMPLSUDP:
		return dropped(frame, "unknown-label-hop")
	case next.MTU != 0 && len(packet) > next.MTU:
		return dropped(frame, "label-too-big")
	case !next.Local.IsValid():
		return dropped(frame, "label-failed")
	}
	udp := binary.BigEndian.AppendUint16(nil, port)
	udp = binary.BigEndian.AppendUint16(udp, mplsPort)
	udp = binary.BigEndian.AppendUint16(udp, uint16(12+len(packet)))
	udp = append(udp, 0, 0)
	udp = binary.BigEndian.AppendUint32(udp, next.VNI<<12|1<<8|64)
	udp = append(udp, packet...)
	ethertype := uint16(0x0800)
	var ip []byte
	if next.Remote.Is4() {
		ip = []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(udp)))
		ip = append(append(ip, next.Local.AsSlice()...), next.Remote.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	} else {
		ethertype = 0x86dd
		ip = []byte{0x60, 0, 0, 0, 0, 0, 17, 64}
		binary.BigEndian.PutUint16(ip[4:], uint16(len(udp)))
		ip = append(append(ip, next.Local.AsSlice()...), next.Remote.AsSlice()...)
		sum := checksum6(next.Local, next.Remote, 17, udp)
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(udp[6:], sum)
	}
	out := append(append([]byte(nil), frame[6:12]...), frame[6:12]...)
	out = binary.BigEndian.AppendUint16(out, ethertype)
	return Outcome{Verdict: "tunnelled", Redirect: next.Ifindex, Frame: append(append(out, ip...), udp...)}
}

// outerPacket is what the oracle knows of a frame of the underlay.
type outerPacket struct {
	source, destination netip.Addr
	header, size        int // of the IP header and of the IP packet
	more                bool
}

func readOuter(frame []byte) (p outerPacket, ok bool) {
	ip := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		if len(ip) < 20 || ip[0]>>4 != 4 || ip[9] != 17 || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return p, false
		}
		p.source, p.destination = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		p.header, p.size = int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
		p.more = ip[6]&0x20 != 0
	case 0x86dd:
		if len(ip) < 40 || ip[0]>>4 != 6 || ip[6] != 17 {
			return p, false
		}
		p.source, p.destination = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		p.header, p.size = 40, 40+int(binary.BigEndian.Uint16(ip[4:]))
	default:
		return p, false
	}
	return p, true
}

// FromUnderlay says what becomes of a frame that the underlay brings.
func (o *Oracle) FromUnderlay(ifindex int, frame []byte) Outcome {
	passed := Outcome{Verdict: "passed", Frame: frame}
	p, ok := readOuter(frame)
	if !ok || len(frame) < 14+p.header+8 {
		return passed
	}
	udp := frame[14+p.header:]
	if binary.BigEndian.Uint16(udp[2:]) != mplsPort {
		return passed
	}
	if _, own := o.TunnelAddresses[p.destination]; !own {
		return passed
	}
	switch {
	case p.more:
		return dropped(frame, "outer-fragment")
	case p.header < 20, 14+p.size > len(frame), p.size < p.header+13, int(binary.BigEndian.Uint16(udp[4:])) != p.size-p.header:
		return dropped(frame, "label-malformed")
	}
	entry := binary.BigEndian.Uint32(udp[8:])
	if entry&0x100 == 0 {
		return dropped(frame, "label-stack")
	}
	label := entry >> 12
	vni := o.VNIs[label]
	if !vni.Label {
		return dropped(frame, "unknown-label")
	}
	if _, may := o.TunnelSources[TunnelSource{label, p.source}]; !may {
		return dropped(frame, "unknown-tunnel-source")
	}
	ethertype := map[byte]uint16{4: 0x0800, 6: 0x86dd}[udp[12]>>4]
	if ethertype == 0 {
		return dropped(frame, "label-malformed")
	}
	inner := append(append([]byte(nil), GatewayMAC[:]...), GatewayMAC[:]...)
	inner = append(binary.BigEndian.AppendUint16(inner, ethertype), udp[12:]...)
	f := parse(inner)
	if f.refused != "" {
		return dropped(inner, f.refused)
	}
	if f.isND() {
		return dropped(inner, "not-carried")
	}
	outcome := o.leave(o.route(refusal{ifindex: ifindex, vrf: vni.VRF, key: &TunnelKey{}, labelled: true, f: f}))
	outcome.Peer = false
	return outcome
}
