// SPDX-License-Identifier: Apache-2.0

// Package frame reads and writes the few kinds of Ethernet frames that the
// agent exchanges with workloads: UDP and ICMPv6. It has no I/O.
package frame

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC = [6]byte

const (
	ethernetSize = 14
	ip4Size      = 20
	ip6Size      = 40
	udpSize      = 8

	ethertype4 = 0x0800
	ethertype6 = 0x86dd

	protocolICMP   = 1
	protocolUDP    = 17
	protocolICMPv6 = 58

	hopLimit = 64
	// ndHopLimit proves that no router was passed (RFC 4861).
	ndHopLimit = 255
)

// ErrShort says that a frame ends before what its headers announce, or is of
// a kind that is not read here.
var ErrShort = errors.New("frame is not whole UDP or ICMPv6")

// Packet is what a frame carries.
type Packet struct {
	Source, Destination         MAC
	From, To                    netip.Addr
	UDP                         bool // else ICMPv6
	SourcePort, DestinationPort uint16
	Payload                     []byte // of UDP; the whole message of ICMPv6
	Hops                        byte   // TTL or hop limit that Build writes; 0: the usual
}

// Parse reads a frame. Checksums are not verified: the packet path hands over
// only what came straight from a workload of this machine.
func Parse(b []byte) (Packet, error) {
	if len(b) < ethernetSize {
		return Packet{}, ErrShort
	}
	p := Packet{Destination: MAC(b[0:6]), Source: MAC(b[6:12])}
	body := b[ethernetSize:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case ethertype4:
		return p, p.parse4(body)
	case ethertype6:
		return p, p.parse6(body)
	}
	return p, ErrShort
}

func (p *Packet) parse4(b []byte) error {
	if len(b) < ip4Size {
		return ErrShort
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < ip4Size || total < header || total > len(b) || b[9] != protocolUDP {
		return ErrShort
	}
	p.From, p.To = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	return p.parseUDP(b[header:total])
}

// maxExtensions is how many extension headers the packet path passes.
const maxExtensions = 6

func (p *Packet) parse6(b []byte) error {
	if len(b) < ip6Size || b[0]>>4 != 6 {
		return ErrShort
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length > len(b)-ip6Size {
		return ErrShort
	}
	p.From, p.To = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	next, rest := b[6], b[ip6Size:ip6Size+length]
	for range maxExtensions {
		if next != 0 && next != 43 && next != 60 { // hop-by-hop, routing, destination
			break
		}
		if len(rest) < 8 || len(rest) < 8+8*int(rest[1]) {
			return ErrShort
		}
		next, rest = rest[0], rest[8+8*int(rest[1]):]
	}
	switch next {
	case protocolUDP:
		return p.parseUDP(rest)
	case protocolICMPv6:
		p.Payload = rest
		if len(rest) < 4 {
			return ErrShort
		}
		return nil
	}
	return ErrShort
}

func (p *Packet) parseUDP(b []byte) error {
	if len(b) < udpSize {
		return ErrShort
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < udpSize || length > len(b) {
		return ErrShort
	}
	p.UDP = true
	p.SourcePort, p.DestinationPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	p.Payload = b[udpSize:length]
	return nil
}

// Build writes the frame of a packet. Both addresses must be of one family.
func (p Packet) Build() []byte {
	message := p.Payload
	protocol, hops := byte(protocolICMPv6), byte(ndHopLimit)
	if p.UDP {
		protocol, hops = protocolUDP, hopLimit
		message = make([]byte, udpSize, udpSize+len(p.Payload))
		binary.BigEndian.PutUint16(message, p.SourcePort)
		binary.BigEndian.PutUint16(message[2:], p.DestinationPort)
		binary.BigEndian.PutUint16(message[4:], uint16(udpSize+len(p.Payload)))
		message = append(message, p.Payload...)
	} else {
		message = append([]byte(nil), message...)
	}
	if p.Hops != 0 {
		hops = p.Hops
	}
	p.sum(message, protocol)
	b := append(append([]byte(nil), p.Destination[:]...), p.Source[:]...)
	if p.From.Is4() {
		return p.appendIP4(b, message, protocol, hops)
	}
	b = binary.BigEndian.AppendUint16(b, ethertype6)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	b = append(b, protocol, hops)
	b = append(append(b, p.From.AsSlice()...), p.To.AsSlice()...)
	return append(b, message...)
}

// BuildICMP4 writes the frame of an ICMP message of IPv4, which is the payload.
func (p Packet) BuildICMP4() []byte {
	message := append([]byte(nil), p.Payload...)
	message[2], message[3] = 0, 0
	binary.BigEndian.PutUint16(message[2:], fold(add(0, message)))
	b := append(append([]byte(nil), p.Destination[:]...), p.Source[:]...)
	return p.appendIP4(b, message, protocolICMP, hopLimit)
}

// appendIP4 adds the packet with a message to an Ethernet header that has both MACs.
func (p Packet) appendIP4(b, message []byte, protocol, hops byte) []byte {
	b = binary.BigEndian.AppendUint16(b, ethertype4)
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, hops, protocol, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(ip4Size+len(message)))
	ip = append(append(ip, p.From.AsSlice()...), p.To.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], fold(add(0, ip)))
	return append(append(b, ip...), message...)
}

// sum writes the checksum of a UDP or ICMPv6 message.
func (p Packet) sum(message []byte, protocol byte) {
	at := 2
	if protocol == protocolUDP {
		at = 6
	}
	message[at], message[at+1] = 0, 0
	s := add(0, p.From.AsSlice())
	s = add(s, p.To.AsSlice())
	s += uint32(len(message)) + uint32(protocol)
	sum := fold(add(s, message))
	if sum == 0 && protocol == protocolUDP {
		sum = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(message[at:], sum)
}

func add(sum uint32, data []byte) uint32 {
	for i, b := range data {
		if i%2 == 0 {
			sum += uint32(b) << 8
		} else {
			sum += uint32(b)
		}
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// Tag puts a VLAN tag (IEEE 802.1Q) on a frame, which has a whole Ethernet header.
func Tag(frame []byte, vlan uint16) []byte {
	out := append(make([]byte, 0, len(frame)+4), frame[:12]...)
	out = binary.BigEndian.AppendUint16(append(out, 0x81, 0), vlan)
	return append(out, frame[12:]...)
}
