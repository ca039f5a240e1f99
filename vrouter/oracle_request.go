// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// longestRequest is the longest frame that the agent takes.
const longestRequest = 2040

var dhcp6Servers = netip.MustParseAddr("ff02::1:2")

// asks tells whether a frame is DHCP or DHCPv6 that the agent answers for this port.
func (p Port) asks(f parsed) bool {
	if f.fragment || f.protocol != 17 || len(f.payload) < 8 {
		return false
	}
	from, to := binary.BigEndian.Uint16(f.payload), binary.BigEndian.Uint16(f.payload[2:])
	if f.source.Is4() {
		server := f.destination == broadcast4 || f.destination == p.Gateway4
		return p.DHCP4 && server && from == 68 && to == 67
	}
	return p.DHCP6 && f.destination == dhcp6Servers && f.source.IsLinkLocalUnicast() && from == 546 && to == 547
}

// request hands a frame to the agent.
func (o *Oracle) request(ifindex int, f parsed) Outcome {
	switch {
	case len(f.frame) > longestRequest:
		return dropped(f.frame, "request-too-long")
	case o.Silenced[ifindex]:
		return dropped(f.frame, "request-limited")
	}
	return Outcome{Verdict: "handed", Frame: f.frame}
}
