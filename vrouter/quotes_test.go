// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"encoding/binary"
	"testing"

	"github.com/weft-network/weft/vrouter/rules"
)

// errorsQuoteEnough: an ICMP error is about a conversation if it quotes enough of one of
// its packets, and this packet is no later fragment. Both ends pass the conversation in
// the direction in which it began, and nothing else.
func errorsQuoteEnough(t *testing.T, d *Datapath, r *Tracer) {
	decides(t, d, 1, rules.Ingress, rules.SecurityGroup, rules.Rule{Number: 41, Action: rules.Deny})
	decides(t, d, 2, rules.Egress, rules.SecurityGroup, rules.Rule{Number: 42, Action: rules.Deny})
	const udp, esp = 17, 50
	for _, six := range []bool{false, true} {
		check(t, d.PortAddresses.Put(PortAddress{2, poolAddress(six, 5)}, struct{}{}))
		icmp, other, request := byte(1), byte(58), byte(8)
		if six {
			icmp, other, request = other, icmp, 128
		}
		nothing, echo := make([]byte, 16), append([]byte{request}, make([]byte, 15)...) // of port 0, or of ID 0
		for _, c := range []struct {
			what     string
			protocol byte
			payload  []byte // of the conversation
			quoted   []byte
			fragment uint16 // of IPv4
			passes   bool
			from     int // an address of its sender, if not the one spoken to
		}{
			{"UDP", udp, nothing, nothing[:8], 0, true, 0},
			{"UDP to another address of its sender", udp, nothing, nothing[:8], 0, true, 5},
			{"a byte less than that", udp, nothing, nothing[:7], 0, false, 0},
			{"the header alone", udp, nothing, nil, 0, false, 0},
			{"another port", udp, nothing, append([]byte{0, 1}, nothing[:6]...), 0, false, 0},
			{"another port spoken to", udp, nothing, append([]byte{0, 0, 0, 1}, nothing[:4]...), 0, false, 0},
			{"a first fragment", udp, nothing, nothing[:8], 0x2000, true, 0},
			{"a later fragment", udp, nothing, nothing[:8], 0x0001, false, 0},
			{"a much later fragment", udp, nothing, nothing[:8], 0x1000, false, 0},
			{"an echo", icmp, echo, echo[:8], 0, true, 0},
			{"a byte less than an echo", icmp, echo, echo[:7], 0, false, 0},
			{"no echo", icmp, echo, append([]byte{request + 9}, echo[1:8]...), 0, false, 0},
			{"an echo of another code", icmp, echo, append([]byte{request, 1}, echo[2:8]...), 0, false, 0},
			{"a protocol without ports", esp, nothing, nil, 0, true, 0},
			{"ICMP of the other family, which has none", other, nothing, nil, 0, true, 0},
		} {
			if six && c.fragment != 0 {
				continue
			}
			forgetConnections(t, d)
			s := ipSpec{source: poolAddress(six, 2), destination: poolAddress(six, 3), protocol: c.protocol, hops: 64, payload: c.payload}
			r.follow(t, sent{ifindex: 1, frame: ethernetFrame(GatewayMAC, portMAC(1), s.ethertype(), s.build())})
			s.payload, s.fragment = c.quoted, c.fragment
			told := ipSpec{source: poolAddress(six, cmp.Or(c.from, 3)), destination: s.source, protocol: icmp, hops: 64}
			told.payload = icmp4(3, 1, append(make([]byte, 4), s.build()...))
			if six {
				told.payload = icmp6(told.source, told.destination, 1, 1, append(make([]byte, 4), s.build()...))
			}
			frame := ethernetFrame(GatewayMAC, portMAC(2), told.ethertype(), told.build())
			frame = append(frame, binary.BigEndian.AppendUint64(nil, 0)...) // behind the packet is nothing of it
			got, err := r.FromPort(2, frame)
			check(t, err)
			if passed := got.Verdict == "delivered"; passed != c.passes || !passed && got.Reason != "policy-denied" {
				t.Errorf("IPv6 %t, an error that quotes %s is %s %s, want it passed: %t", six, c.what, got.Verdict, got.Reason, c.passes)
			}
		}
	}
}
