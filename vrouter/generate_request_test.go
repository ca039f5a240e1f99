// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// dhcp is a request of a DHCP client, or something that looks a little like one.
func (g *generator) dhcp(ifindex int, six bool) []byte {
	s := ipSpec{source: netip.IPv4Unspecified(), destination: broadcast4, protocol: 17, hops: 64}
	client, server := uint16(68), uint16(67)
	to := MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if six {
		s.source, s.destination = netip.MustParseAddr("fe80::5"), dhcp6Servers
		client, server = 546, 547
		to = MAC{0x33, 0x33, 0, 1, 0, 2}
	}
	switch g.IntN(10) {
	case 0:
		s.source = g.source(ifindex, six)
	case 1:
		s.source, s.destination, to = g.source(ifindex, six), g.destination(g.o.Ports[ifindex].VRF, six), GatewayMAC
	case 2, 3: // a renewal
		s.source, s.destination, to = g.source(ifindex, six), poolAddress(six, 1), GatewayMAC
	case 4:
		client = pick(g, uint16(67), 547, 1000)
	case 5:
		server = pick(g, uint16(68), 546, 53)
	case 6:
		s.protocol = pick(g, byte(6), 17, 17)
		s.fragment = 0x2000
		if six {
			s.extensions = []byte{44}
		}
	case 7:
		if six {
			s.extensions = []byte{60}
		} else {
			s.options = make([]byte, 8)
		}
	}
	s.payload = binary.BigEndian.AppendUint16(nil, client)
	s.payload = binary.BigEndian.AppendUint16(s.payload, server)
	s.payload = append(s.payload, make([]byte, pick(g, 3, 4, 40, 240, 300))...)
	return ethernetFrame(to, portMAC(ifindex), s.ethertype(), s.build())
}
