// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// translation is what addresses and ports of a packet become.
type translation struct {
	source, destination         netip.Addr
	sourcePort, destinationPort uint16
}

// patch changes 16-bit words of a frame and adjusts the checksums that cover them.
type patch []byte

func (p patch) put(at int, now []byte, sums ...[]byte) {
	for i := 0; i < len(now); i += 2 {
		for _, sum := range sums {
			adjust(sum, binary.BigEndian.Uint16(p[at+i:]), binary.BigEndian.Uint16(now[i:]))
		}
		copy(p[at+i:], now[i:i+2])
	}
}

func (p patch) port(at int, now uint16, sums ...[]byte) {
	p.put(at, binary.BigEndian.AppendUint16(nil, now), sums...)
}

// translated is the frame with other addresses and ports.
func (f parsed) translated(t translation) []byte {
	out := patch(append([]byte(nil), f.frame...))
	l4 := f.l4
	var sums [][]byte
	if at, summed := transportSum(f.payload, f.protocol, f.source.Is6()); summed && !f.later {
		sums = append(sums, out[l4+at:][:2])
	}
	out.addresses(14, t.source, t.destination, sums)
	if f.later || !portsChange(f.protocol) {
		return out
	}
	out.port(l4, t.sourcePort, sums...)
	out.port(l4+2, t.destinationPort, sums...)
	if f.protocol == 17 && len(sums) > 0 && sums[0][0] == 0 && sums[0][1] == 0 {
		sums[0][0], sums[0][1] = 0xff, 0xff
	}
	return out
}

// transportSum finds the checksum of a header, if it has one that covers addresses.
func transportSum(l4 []byte, protocol byte, six bool) (at int, summed bool) {
	switch {
	case protocol == 6:
		return 16, len(l4) >= 18
	case protocol == 17:
		return 6, len(l4) >= 8 && (l4[6] != 0 || l4[7] != 0)
	case protocol == 33, protocol == 136: // DCCP, UDP-Lite
		return 6, len(l4) >= 8
	case protocol == 58 && six:
		return 2, len(l4) >= 4
	}
	return 0, false
}

// portsChange tells of protocols whose ports a translation may change. What stands for
// ports of others it does not.
func portsChange(protocol byte) bool { return protocol == 6 || protocol == 17 || protocol == 132 }

// addresses changes those of the IP header at a place, and that header's checksum.
func (p patch) addresses(ip int, source, destination netip.Addr, sums [][]byte) {
	at := ip + 8
	if source.Is4() {
		at, sums = ip+12, append([][]byte{p[ip+10:][:2]}, sums...)
	}
	p.put(at, source.AsSlice(), sums...)
	p.put(at+len(source.AsSlice()), destination.AsSlice(), sums...)
}

// translatedError is an ICMP error with other addresses, about a packet that has
// others likewise.
func (f parsed) translatedError(source, destination netip.Addr, quoted translation) []byte {
	out := patch(append([]byte(nil), f.frame...))
	icmp := out[f.l4+2:][:2]
	var outer [][]byte
	if f.source.Is6() {
		outer = [][]byte{icmp}
	}
	out.addresses(14, source, destination, outer)
	// The quoted packet: whatever changes in it, also its checksums, the error's covers.
	ip := f.l4 + 8
	l4, protocol := ip+40, out[ip+6]
	if f.source.Is4() {
		l4, protocol = ip+4*int(out[ip]&15), out[ip+9]
	}
	inner := patch(append([]byte(nil), out...))
	var sums [][]byte
	if protocol == 17 && (inner[l4+6] != 0 || inner[l4+7] != 0) {
		sums = append(sums, inner[l4+6:][:2])
	}
	inner.addresses(ip, quoted.source, quoted.destination, sums)
	end := ip + 40 // of an IPv4 header the options may not be there whole
	if f.source.Is4() {
		end = ip + 20
	}
	if portsChange(protocol) {
		inner.port(l4, quoted.sourcePort, sums...)
		inner.port(l4+2, quoted.destinationPort, sums...)
		end = l4 + 8
	}
	out.put(ip, inner[ip:end], icmp)
	return out
}
