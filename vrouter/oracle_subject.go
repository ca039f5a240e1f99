// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// subject is the packet that an ICMP error is about, as its sender has it in
// the key of its connection.
type subject struct {
	protocol      byte
	local, remote netip.AddrPort
}

// about is the entry of what an error is about at an end, if there is one.
func (o *Oracle) about(p policed, end int, hears bool) (key ConnectionKey, c Connection, ok bool) {
	s, ok := p.f.subject()
	if !ok || p.copied || o.Ports[end].Stateless {
		return key, c, false
	}
	key = ConnectionKey{end, s.protocol, s.remote, s.local}
	if hears {
		key.Local, key.Remote = s.local, s.remote
	}
	c, ok = o.Connections[key]
	return key, c, ok && c.Port == o.Ports[end].ID
}

// subject reads what an ICMP error quotes; false if it is none or does not tell.
func (f parsed) subject() (s subject, ok bool) {
	if !f.icmp || !f.isError() {
		return s, false
	}
	ip := f.payload[8:]
	var rest []byte
	var from, to netip.Addr
	if f.source.Is4() {
		if len(ip) < 20 || ip[0]>>4 != 4 || ip[0]&15 < 5 || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return s, false
		}
		from, to = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		s.protocol, rest = ip[9], ip[min(len(ip), 4*int(ip[0]&15)):]
	} else {
		if len(ip) < 40 || ip[0]>>4 != 6 {
			return s, false
		}
		from, to = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		s.protocol, rest = ip[6], ip[40:]
	}
	quoted := parsed{source: from, protocol: s.protocol, payload: rest}
	var ports wirePorts
	if quoted.needsHead() {
		if len(rest) < 8 {
			return s, false
		}
		if ports, ok = quoted.wirePorts(); !ok {
			return s, false
		}
	}
	s.local, s.remote = netip.AddrPortFrom(from, ports.source), netip.AddrPortFrom(to, ports.destination)
	return s, from == f.destination
}

// isError tells of ICMP's errors, and no other message.
func (f parsed) isError() bool {
	if f.source.Is6() {
		return f.payload[0] >= 1 && f.payload[0] <= 4
	}
	return slices.Contains([]byte{3, 4, 5, 11, 12}, f.payload[0])
}

// needsHead tells of protocols whose header says which connection it is.
func (f parsed) needsHead() bool {
	icmp := f.protocol == 1 && f.source.Is4() || f.protocol == 58 && f.source.Is6()
	return icmp || slices.Contains([]byte{6, 17, 33, 132, 136}, f.protocol)
}
