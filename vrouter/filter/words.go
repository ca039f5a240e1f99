// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Where the headers are in a frame without a VLAN tag.
const (
	ethertype = 12
	ipv4      = 14
	ipv6      = 14
	arp       = 14

	protocol4   = ipv4 + 9
	protocol6   = ipv6 + 6
	payload6    = ipv6 + 40
	fragment6   = 44 // the protocol of a fragment header, whose first byte is the next protocol
	noFragment  = 0x1fff
	allOnes     = 0xffff_ffff
	carriesARP  = 0x0806
	carriesRARP = 0x8035
	carries4    = 0x0800
	carries6    = 0x86dd
)

func carries(protocol uint32) node { return is(ethertype, 2, protocol) }

// transport is a protocol in an IPv4 packet.
func transport4(number uint32) node { return all{carries(carries4), is(protocol4, 1, number)} }

// transport6 is a protocol right after the IPv6 header, or after that of a fragment:
// like tcpdump it follows no other extension headers.
func transport6(number uint32) node {
	return all{carries(carries6), some{is(protocol6, 1, number), all{is(protocol6, 1, fragment6), is(payload6, 1, number)}}}
}

// alone are the words that say something by themselves.
var alone = map[string]node{
	"ip": carries(carries4), "ip6": carries(carries6), "arp": carries(carriesARP), "rarp": carries(carriesRARP),
	"tcp": some{transport6(6), transport4(6)}, "udp": some{transport6(17), transport4(17)}, "sctp": some{transport6(132), transport4(132)},
	"icmp": transport4(1), "icmp6": transport6(58), "igmp": transport4(2),
	"esp": some{transport6(50), transport4(50)}, "ah": some{transport6(51), transport4(51)},
}

// transports have ports.
var transports = map[string]uint32{"tcp": 6, "udp": 17, "sctp": 132}

// families of addresses, and where a frame of each has them.
var addresses = map[string]struct{ ethertype, src, dst int }{
	"ip":   {carries4, ipv4 + 12, ipv4 + 16},
	"arp":  {carriesARP, arp + 14, arp + 24},
	"rarp": {carriesRARP, arp + 14, arp + 24},
	"ip6":  {carries6, ipv6 + 8, ipv6 + 24},
}

// direction is src, dst, "src or dst" or "src and dst".
func (d direction) over(at func(src bool) node) node {
	switch d {
	case source:
		return at(true)
	case destination:
		return at(false)
	case both:
		return all{at(true), at(false)}
	}
	return some{at(true), at(false)}
}

type direction int

const (
	either direction = iota // as where nothing is said
	source
	destination
	both
)

// prefixed are the tests for an address in a prefix.
func prefixed(offset int, p netip.Prefix) node {
	bytes := p.Masked().Addr().AsSlice()
	var n all
	for bits := p.Bits(); bits > 0; bits -= 32 {
		word := binary.BigEndian.Uint32(bytes)
		if bits >= 32 {
			n = append(n, is(offset, 4, word))
		} else {
			n = append(n, masked(offset, 4, allOnes<<(32-bits), word))
		}
		offset, bytes = offset+4, bytes[4:]
	}
	return n
}

// within is a prefix in the headers of one protocol; protocol "" in all that have
// such addresses.
func within(protocol string, d direction, p netip.Prefix) node {
	in := func(name string) node {
		a := addresses[name]
		if p.Bits() == 0 { // conditions are about something, each of them
			return carries(uint32(a.ethertype))
		}
		return all{carries(uint32(a.ethertype)), d.over(func(src bool) node {
			if src {
				return prefixed(a.src, p)
			}
			return prefixed(a.dst, p)
		})}
	}
	switch {
	case protocol != "":
		return in(protocol)
	case p.Addr().Is6():
		return in("ip6")
	}
	return some{in("ip"), in("arp"), in("rarp")}
}

// hardware is an Ethernet address.
func hardware(d direction, a net.HardwareAddr) node {
	return d.over(func(src bool) node {
		offset := 0
		if src {
			offset = 6
		}
		return all{is(offset+2, 4, binary.BigEndian.Uint32(a[2:])), is(offset, 2, uint32(binary.BigEndian.Uint16(a)))}
	})
}

// ports are ports of one protocol, or of all that have them, in both families.
func ports(protocol string, d direction, low, high uint16) node {
	numbers := []uint32{6, 17, 132}
	if n, one := transports[protocol]; one {
		numbers = []uint32{n}
	}
	carried := func(offset int) node {
		var n some
		for _, number := range numbers {
			n = append(n, is(offset, 1, number))
		}
		return n
	}
	port := func(from where, offset int) node {
		return d.over(func(src bool) node {
			at := offset
			if !src {
				at += 2
			}
			return test{from: from, offset: at, size: 2, least: uint32(low), most: uint32(high)}
		})
	}
	six := all{carries(carries6), carried(protocol6), port(atFrame, payload6)}
	four := all{carries(carries4), carried(protocol4), masked(ipv4+6, 2, noFragment, 0), port(atPayload, 0)}
	return some{six, four}
}
