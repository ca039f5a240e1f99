// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"net/netip"
)

const (
	ethertypeARP    = 0x0806
	arpSize         = 28
	ndTargetSize    = 24 // of a message, to the end of its target
	ndSolicitation  = 135
	ndAdvertisement = 136
)

// Announced reads for which address a frame speaks, and with which MAC: ARP for
// its sender, neighbour discovery for its target, other IP for its source. The
// frame may be cut. What asks the agent for something (DHCP, router
// solicitations) speaks for nobody.
func Announced(b []byte) (address netip.Addr, mac MAC, ok bool) {
	if len(b) < ethernetSize {
		return address, mac, false
	}
	mac = MAC(b[6:12])
	body := b[ethernetSize:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case ethertypeARP:
		if len(body) < arpSize {
			return address, mac, false
		}
		return netip.AddrFrom4([4]byte(body[14:18])), MAC(body[8:14]), true
	case ethertype4:
		if len(body) < ip4Size {
			return address, mac, false
		}
		address = netip.AddrFrom4([4]byte(body[12:16]))
		header := int(body[0]&15) * 4
		return address, mac, body[9] != protocolUDP || len(body) < header+4 || binary.BigEndian.Uint16(body[header+2:]) != 67
	case ethertype6:
		if len(body) < ip6Size {
			return address, mac, false
		}
		return announced6(body, mac)
	}
	return address, mac, false
}

func announced6(body []byte, mac MAC) (netip.Addr, MAC, bool) {
	source := netip.AddrFrom16([16]byte(body[8:24]))
	var p Packet
	if p.parse6(body) != nil { // cut, or nothing that the agent reads
		return source, mac, true
	}
	if p.UDP {
		return source, mac, p.DestinationPort != 547
	}
	switch p.Payload[0] {
	case ndSolicitation, ndAdvertisement:
		if len(p.Payload) < ndTargetSize {
			return source, mac, false
		}
		return netip.AddrFrom16([16]byte(p.Payload[8:24])), mac, true
	case 133:
		return source, mac, false
	}
	return source, mac, true
}
