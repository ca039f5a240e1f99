// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// packet is a frame with right checksums: TCP with flags, else UDP.
func packet(from, to MAC, protocol byte, source, destination netip.AddrPort, flags byte) []byte {
	l4 := make([]byte, 8, 32)
	if protocol == 6 {
		l4 = make([]byte, 20, 32)
		l4[12], l4[13] = 5<<4, flags
	}
	binary.BigEndian.PutUint16(l4, source.Port())
	binary.BigEndian.PutUint16(l4[2:], destination.Port())
	l4 = append(l4, "hello, world"...)
	if protocol == 17 {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	}
	at := map[byte]int{6: 16, 17: 6}[protocol]
	binary.BigEndian.PutUint16(l4[at:], sumOf(source.Addr(), destination.Addr(), protocol, l4))
	return wrap(from, to, protocol, source.Addr(), destination.Addr(), l4)
}

// wrap puts IP and Ethernet around a payload.
func wrap(from, to MAC, protocol byte, source, destination netip.Addr, l4 []byte) []byte {
	out := append(append([]byte(nil), to[:]...), from[:]...)
	if source.Is6() {
		out = append(out, 0x86, 0xdd, 0x60, 0, 0, 0)
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(l4))), protocol, 64)
		return append(append(append(out, source.AsSlice()...), destination.AsSlice()...), l4...)
	}
	ip := []byte{0x45, 0, 0, 0, 0, 7, 0, 0, 64, protocol, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(l4)))
	ip = append(append(ip, source.AsSlice()...), destination.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(append(append(out, 8, 0), ip...), l4...)
}

// sumOf is the checksum of a segment whose own field is 0.
func sumOf(source, destination netip.Addr, protocol byte, l4 []byte) uint16 {
	if source.Is6() {
		return checksum6(source, destination, protocol, l4)
	}
	pseudo := append(append([]byte(nil), source.AsSlice()...), destination.AsSlice()...)
	pseudo = append(pseudo, 0, protocol, byte(len(l4)>>8), byte(len(l4)))
	return checksum(append(pseudo, l4...))
}

// quoting is an ICMP error about a frame.
func quoting(from, to MAC, source, destination netip.Addr, about []byte) []byte {
	icmp, protocol := append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, about[14:]...), byte(1)
	if source.Is6() {
		icmp[0], icmp[1], protocol = 1, 4, 58
		binary.BigEndian.PutUint16(icmp[2:], checksum6(source, destination, 58, icmp))
	} else {
		binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	}
	return wrap(from, to, protocol, source, destination, icmp)
}

// fragments are the first and a later one of a packet.
func fragments(whole []byte) (first, later []byte) {
	first, later = append([]byte(nil), whole...), append([]byte(nil), whole...)
	if whole[14]>>4 == 4 {
		for frame, flags := range map[*[]byte]uint16{&first: 0x2000, &later: 2} {
			before := binary.BigEndian.Uint16((*frame)[20:])
			binary.BigEndian.PutUint16((*frame)[20:], flags)
			adjust((*frame)[24:], before, flags)
		}
		return first, later
	}
	for frame, flags := range map[*[]byte]byte{&first: 1, &later: 16} {
		extended := append(append([]byte(nil), whole[:54]...), whole[20], 0, 0, flags, 0, 0, 0, 9)
		*frame = append(extended, whole[54:]...)
		(*frame)[20] = 44
		binary.BigEndian.PutUint16((*frame)[18:], uint16(len(*frame)-54))
	}
	return first, later
}
