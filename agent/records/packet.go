// SPDX-License-Identifier: Apache-2.0

package records

import (
	"encoding/binary"
	"net/netip"
)

// Packet is what the first bytes of a frame say. What they do not say is zero.
type Packet struct {
	Ethertype       uint16
	Family          int // 4 or 6; 0: no IP
	From, To        netip.Addr
	Protocol        uint8
	SourcePort      uint16 // of ICMP: the type
	DestinationPort uint16 // of ICMP: the code
	Flags           uint8  // of TCP
	Later           bool   // a fragment that is not the first: it has no ports
}

const (
	ethernetSize = 14
	tagSize      = 4

	ethertype4   = 0x0800
	ethertypeARP = 0x0806
	ethertype6   = 0x86dd
	ethertypeTag = 0x8100
	ethertypeSVL = 0x88a8

	protocolICMP   = 1
	protocolTCP    = 6
	protocolICMPv6 = 58

	// maxExtensions is one more than the packet path allows: a record may be of
	// the frame that had too many.
	maxExtensions = 7
)

// parse reads what is there; a frame that is cut short, or malformed, is read
// as far as it goes.
func parse(frame []byte) (p Packet) {
	if len(frame) < ethernetSize {
		return p
	}
	p.Ethertype = binary.BigEndian.Uint16(frame[12:])
	body := frame[ethernetSize:]
	if (p.Ethertype == ethertypeTag || p.Ethertype == ethertypeSVL) && len(body) >= tagSize {
		p.Ethertype = binary.BigEndian.Uint16(body[2:])
		body = body[tagSize:]
	}
	switch p.Ethertype {
	case ethertype4:
		p.parse4(body)
	case ethertype6:
		p.parse6(body)
	case ethertypeARP:
		if len(body) >= 28 {
			p.From, p.To = netip.AddrFrom4([4]byte(body[14:])), netip.AddrFrom4([4]byte(body[24:]))
		}
	}
	return p
}

func (p *Packet) parse4(b []byte) {
	if len(b) < 20 {
		return
	}
	p.Family, p.Protocol = 4, b[9]
	p.From, p.To = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	header := int(b[0]&0xf) * 4
	p.Later = binary.BigEndian.Uint16(b[6:])&0x1fff != 0
	if !p.Later && header >= 20 && header <= len(b) {
		p.transport(b[header:])
	}
}

func (p *Packet) parse6(b []byte) {
	if len(b) < 40 {
		return
	}
	p.Family, p.Protocol = 6, b[6]
	p.From, p.To = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	b = b[40:]
	for range maxExtensions {
		var size int
		switch p.Protocol {
		case 0, 43, 60, 135, 139, 140:
			if len(b) < 8 {
				return
			}
			size = 8 + 8*int(b[1])
		case 51:
			if len(b) < 8 {
				return
			}
			size = 8 + 4*int(b[1])
		case 44:
			if len(b) < 8 {
				return
			}
			size = 8
			if p.Later = binary.BigEndian.Uint16(b[2:])&^7 != 0; p.Later {
				p.Protocol = b[0]
				return
			}
		default:
			p.transport(b)
			return
		}
		if p.Protocol = b[0]; size > len(b) {
			return
		}
		b = b[size:]
	}
}

func (p *Packet) transport(b []byte) {
	switch p.Protocol {
	case protocolICMP, protocolICMPv6:
		if len(b) >= 2 {
			p.SourcePort, p.DestinationPort = uint16(b[0]), uint16(b[1])
		}
	case protocolTCP, 17, 33, 132, 136:
		if len(b) >= 4 {
			p.SourcePort, p.DestinationPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
		if p.Protocol == protocolTCP && len(b) >= 14 {
			p.Flags = b[13]
		}
	}
}
