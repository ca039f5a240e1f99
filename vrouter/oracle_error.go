// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// router is whom an ICMP error is from; without an address nobody sends one.
type router struct {
	address netip.Addr
	mac     MAC
}

func (o *Oracle) errorsFrom(ifindex int, fromTunnel bool, f parsed) router {
	switch {
	case fromTunnel:
		return router{}
	case f.source.Is6():
		return router{o.Ports[ifindex].Gateway6, GatewayMAC}
	}
	return router{o.Ports[ifindex].Gateway4, GatewayMAC}
}

// refusal ends a packet that cannot go on: with an ICMP error to its sender if
// there may be one. limit is that of a packet too big, else 0.
func (o *Oracle) refusal(ifindex int, from router, f parsed, reason string, limit int) Outcome {
	if f.later || f.isErrorOrUnknown() || !from.address.IsValid() {
		return dropped(f.frame, reason)
	}
	if o.Exhausted[ifindex] {
		return dropped(f.frame, "error-limited")
	}
	return Outcome{Verdict: "answered", Reason: reason, Redirect: ifindex, Frame: icmpError(f, from, reason, limit)}
}

// isErrorOrUnknown tells of an ICMP message about which there is no error.
func (f parsed) isErrorOrUnknown() bool {
	switch {
	case f.source.Is4() && f.protocol == 1:
		return f.fragment || slices.Contains([]byte{3, 4, 5, 11, 12}, f.payload[0])
	case f.source.Is6() && f.protocol == 58:
		return f.fragment || f.payload[0] < 128
	}
	return false
}

const longestQuote = 128

// icmpKinds are type and code of errors, of IPv4 and of IPv6.
var icmpKinds = map[string][2][2]byte{
	"ttl-expired": {{11, 0}, {3, 0}}, "too-big": {{3, 4}, {2, 0}}, "policy-rejected": {{3, 13}, {1, 1}}, "no-listener": {{3, 3}, {1, 4}},
}

func icmpError(f parsed, from router, reason string, limit int) []byte {
	gateway := from.address
	quote := f.frame[14 : f.l4+len(f.payload)]
	quote = quote[:min(len(quote), longestQuote)]
	out := append(append([]byte(nil), f.ethSource[:]...), from.mac[:]...)
	icmp := binary.BigEndian.AppendUint32(make([]byte, 4), uint32(limit))
	icmp = append(icmp, quote...)
	if f.source.Is6() {
		icmp[0], icmp[1] = icmpKinds[reason][1][0], icmpKinds[reason][1][1]
		binary.BigEndian.PutUint16(icmp[2:], checksum6(gateway, f.source, 58, icmp))
		out = append(out, 0x86, 0xdd, 0x60, 0, 0, 0)
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(icmp))), 58, 64)
		out = append(append(out, gateway.AsSlice()...), f.source.AsSlice()...)
		return append(out, icmp...)
	}
	icmp[0], icmp[1] = icmpKinds[reason][0][0], icmpKinds[reason][0][1]
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	ip := []byte{0x45, 0xc0, 0, 0, 0, 0, 0x40, 0, 64, 1, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(icmp)))
	ip = append(append(ip, gateway.AsSlice()...), f.source.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(append(append(out, 8, 0), ip...), icmp...)
}

// limit is the largest packet that a next hop takes, 0 for any.
func (o *Oracle) limit(next NextHop, route Route) int {
	if next.Kind == NextHopPort {
		return o.Ports[next.Ifindex].MTU
	}
	if next.MTU == 0 || route.MTU != 0 && route.MTU < next.MTU {
		return route.MTU
	}
	return next.MTU
}
