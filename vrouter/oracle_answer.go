// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// refusedByPolicy ends a frame from a port or a tunnel that policy refuses.
func (o *Oracle) refusedByPolicy(ifindex int, fromTunnel bool, next NextHop, f parsed, reason string) Outcome {
	if !fromTunnel {
		return o.answerFrom(o.errorsFrom(ifindex, false, f), ifindex, ifindex, f, reason)
	}
	return o.answerThroughTunnel(next.Ifindex, o.Ports[next.Ifindex].VRF, o.errorsFrom(next.Ifindex, false, f), f, reason)
}

// refusedOnward likewise; who sent it to a virtual address hears of nobody else.
func (o *Oracle) refusedOnward(ifindex int, fromTunnel bool, next NextHop, p passage, reason string) Outcome {
	if !fromTunnel || p.vrfs[1] == 0 {
		return o.refusedByPolicy(ifindex, fromTunnel, next, p.sent, reason)
	}
	return o.answerThroughTunnel(next.Ifindex, p.vrfs[1], router{p.sent.destination, GatewayMAC}, p.sent, reason)
}

// answerFrom ends a frame that policy refuses and sends what its sender is told, if
// anything, back out of the interface that it came from. share is the interface whose answer that is.
func (o *Oracle) answerFrom(from router, ifindex, share int, f parsed, reason string) Outcome {
	answer := answerTo(f, from)
	if reason != "policy-rejected" || answer == nil || o.Muted[share] {
		return dropped(f.frame, reason)
	}
	return Outcome{Verdict: "answered", Reason: reason, Redirect: ifindex, Frame: answer}
}

// answerThroughTunnel sends it as somebody in a VRF would; the share is that of the port that refused.
func (o *Oracle) answerThroughTunnel(port int, vrf uint32, from router, f parsed, reason string) Outcome {
	answer := answerTo(f, from)
	if reason != "policy-rejected" || answer == nil || o.Muted[port] {
		return dropped(f.frame, reason)
	}
	route, _ := o.lookup(vrf, f.source)
	next := o.NextHops[route.NextHop]
	if next.Kind != NextHopTunnel {
		return dropped(f.frame, reason)
	}
	copy(answer, route.MAC[:])
	sent := o.encap(route.NextHop, next, parse(answer), answer)
	if sent.Verdict != "tunnelled" {
		return dropped(f.frame, reason)
	}
	sent.Verdict, sent.Reason = "answered", reason
	return sent
}

// answerTo is what the sender of a rejected packet is told; nil: nothing.
func answerTo(f parsed, from router) []byte {
	if f.later || f.ethDestination[0]&1 != 0 || f.isErrorOrUnknown() {
		return nil
	}
	if f.protocol == 6 {
		return reset(f, from)
	}
	if !from.address.IsValid() {
		from.address = f.destination
	}
	return icmpError(f, from, "policy-rejected", 0)
}

// reset is what RFC 9293 has answer a segment of no connection; nil: nothing.
func reset(f parsed, from router) []byte {
	const fin, syn, rst, ack = 0x01, 0x02, 0x04, 0x10
	flags, header := f.payload[13], int(f.payload[12]>>4)*4
	if flags&rst != 0 || header < 20 || header > len(f.payload) {
		return nil
	}
	t := make([]byte, 20)
	copy(t[0:], f.payload[2:4])
	copy(t[2:], f.payload[0:2])
	t[12] = 5 << 4
	if flags&ack != 0 {
		copy(t[4:], f.payload[8:12])
		t[13] = rst
	} else {
		length := uint32(len(f.payload) - header)
		for _, counts := range []byte{syn, fin} {
			if flags&counts != 0 {
				length++
			}
		}
		binary.BigEndian.PutUint32(t[8:], binary.BigEndian.Uint32(f.payload[4:])+length)
		t[13] = rst | ack
	}
	binary.BigEndian.PutUint16(t[16:], tcpChecksum(f.destination, f.source, t))
	out := append(append([]byte(nil), f.ethSource[:]...), from.mac[:]...)
	if f.source.Is6() {
		out = append(out, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64)
		return append(append(append(out, f.destination.AsSlice()...), f.source.AsSlice()...), t...)
	}
	ip := append(append([]byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0}, f.destination.AsSlice()...), f.source.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(append(append(out, 8, 0), ip...), t...)
}

func tcpChecksum(source, destination netip.Addr, segment []byte) uint16 {
	if source.Is6() {
		return checksum6(source, destination, 6, segment)
	}
	pseudo := append(append([]byte(nil), source.AsSlice()...), destination.AsSlice()...)
	pseudo = append(pseudo, 0, 6, 0, byte(len(segment)))
	return checksum(append(pseudo, segment...))
}
