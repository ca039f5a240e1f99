// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// Builders of frames. Checksums are right unless a test breaks them.

func ethernetFrame(destination, source MAC, ethertype uint16, payload []byte) []byte {
	f := append(append([]byte(nil), destination[:]...), source[:]...)
	f = binary.BigEndian.AppendUint16(f, ethertype)
	return append(f, payload...)
}

// ipSpec is an IP packet to be built. For IPv6, extensions are the headers'
// types in order; fragment is the IPv4 field or that of a fragment header.
type ipSpec struct {
	source, destination netip.Addr
	protocol            byte
	hops                byte
	options             []byte // IPv4, a multiple of 4
	fragment            uint16
	extensions          []byte
	payload             []byte
}

func (s ipSpec) ethertype() uint16 {
	if s.source.Is4() {
		return 0x0800
	}
	return 0x86dd
}

func (s ipSpec) build() []byte {
	if s.source.Is4() {
		return s.build4()
	}
	return s.build6()
}

func (s ipSpec) build4() []byte {
	header := 20 + len(s.options)
	ip := []byte{0x40 | byte(header/4), 0, 0, 0, 0x12, 0x34, 0, 0, s.hops, s.protocol, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(header+len(s.payload)))
	binary.BigEndian.PutUint16(ip[6:], s.fragment)
	ip = append(append(ip, s.source.AsSlice()...), s.destination.AsSlice()...)
	ip = append(ip, s.options...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, s.payload...)
}

func (s ipSpec) build6() []byte {
	types := append(append([]byte(nil), s.extensions...), s.protocol)
	var chain []byte
	for i, kind := range s.extensions {
		header := make([]byte, 8)
		header[0] = types[i+1]
		switch kind {
		case 44:
			binary.BigEndian.PutUint16(header[2:], s.fragment)
		case 0, 60:
			if i%2 == 1 { // two lengths
				header[1] = 1
				header = append(header, make([]byte, 8)...)
			}
		case 51:
			header[1] = 4
			header = append(header, make([]byte, 16)...)
		}
		chain = append(chain, header...)
	}
	ip := []byte{0x60, 0, 0, 0, 0, 0, types[0], s.hops}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(chain)+len(s.payload)))
	ip = append(append(ip, s.source.AsSlice()...), s.destination.AsSlice()...)
	return append(append(ip, chain...), s.payload...)
}

func icmp4(kind, code byte, body []byte) []byte {
	m := append([]byte{kind, code, 0, 0}, body...)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return m
}

func icmp6(source, destination netip.Addr, kind, code byte, body []byte) []byte {
	m := append([]byte{kind, code, 0, 0}, body...)
	binary.BigEndian.PutUint16(m[2:], checksum6(source, destination, 58, m))
	return m
}

func arpMessage(operation uint16, senderMAC MAC, sender netip.Addr, targetMAC MAC, target netip.Addr) []byte {
	a := []byte{0, 1, 8, 0, 6, 4}
	a = binary.BigEndian.AppendUint16(a, operation)
	a = append(append(a, senderMAC[:]...), sender.AsSlice()...)
	return append(append(a, targetMAC[:]...), target.AsSlice()...)
}

func solicitation(source, target netip.Addr, mac MAC) ipSpec {
	group := target.As16()
	to := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: group[13], 14: group[14], 15: group[15]})
	body := append(make([]byte, 4), target.AsSlice()...)
	if !source.IsUnspecified() {
		body = append(append(body, 1, 1), mac[:]...)
	}
	return ipSpec{source: source, destination: to, protocol: 58, hops: 255, payload: icmp6(source, to, 135, 0, body)}
}
