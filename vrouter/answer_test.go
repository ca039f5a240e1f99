// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/vrouter/rules"
)

// rejectingTenants are the named world in which one port rejects what comes.
func rejectingTenants(ifindex int) *Oracle {
	o := tenants()
	all := rules.Ruleset{Outside: rules.Reject, Identified: rules.Reject}
	o.Rulesets = map[uint32]rules.Ruleset{compiled(all).ID: all}
	policy := PortPolicy{}
	policy.Rulesets[rules.Ingress][0] = compiled(all).ID
	o.PortPolicies = map[int]PortPolicy{ifindex: policy}
	port := o.Ports[ifindex]
	port.Policed = true
	o.Ports[ifindex] = port
	return o
}

// segment is TCP with numbers that a reset must answer.
func segment(flags byte, data int) []byte {
	t := make([]byte, 20+data)
	copy(t, []byte{0x9c, 0x40, 0x00, 0x50, 0, 0, 0x03, 0xe8, 0, 0, 0x07, 0xd0, 5 << 4, flags})
	return t
}

// TestResetsFollowTheStandard tries the cases of RFC 9293, 3.5.2: the sequence
// number is 1000, the acknowledgement number 2000.
func TestResetsFollowTheStandard(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	install(t, d, rejectingTenants(2))
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	for what, c := range map[string]struct {
		flags                     byte
		data                      int
		sequence, acknowledgement uint32
		answer                    byte // flags, 0: there is none
	}{
		"SYN":                     {0x02, 0, 0, 1001, 0x14},
		"SYN with data":           {0x02, 5, 0, 1006, 0x14},
		"FIN":                     {0x01, 0, 0, 1001, 0x14},
		"data without ACK":        {0x08, 7, 0, 1007, 0x14},
		"ACK":                     {0x10, 0, 2000, 0, 0x04},
		"data":                    {0x18, 9, 2000, 0, 0x04},
		"answer to a SYN":         {0x12, 0, 2000, 0, 0x04},
		"reset":                   {0x04, 0, 0, 0, 0},
		"reset that acknowledges": {0x14, 0, 0, 0, 0},
	} {
		for _, six := range []bool{false, true} {
			s := ipSpec{source: poolAddress(six, 2), destination: poolAddress(six, 3), protocol: 6, hops: 64, payload: segment(c.flags, c.data)}
			got, err := tracer.FromPort(1, ethernetFrame(portMAC(2), portMAC(1), s.ethertype(), s.build()))
			check(t, err)
			if c.answer == 0 {
				if got.Verdict != "dropped" || got.Reason != "policy-rejected" {
					t.Errorf("%s is not simply dropped: %s", what, show(got))
				}
				continue
			}
			f := parse(got.Frame)
			r := f.payload
			if got.Verdict != "answered" || got.Redirect != 1 || f.source != s.destination || f.destination != s.source || len(r) != 20 || r[13] != c.answer ||
				binary.BigEndian.Uint32(r[4:]) != c.sequence || binary.BigEndian.Uint32(r[8:]) != c.acknowledgement || tcpChecksum(f.source, f.destination, r) != 0 {
				t.Errorf("%s: %s", what, show(got))
			}
		}
	}
}

// TestAnswersAreLimited sends what is rejected more often than senders may be
// told; what the port must hear itself is not used up by it.
func TestAnswersAreLimited(t *testing.T) {
	const burst, more = 10, 3
	d := loadForTest(t, smallSizes)
	o := rejectingTenants(2)
	o.Config.ErrorInterval, o.Config.ErrorBurst = time.Hour, burst
	install(t, d, o)
	check(t, d.Activate())
	s := ipSpec{source: poolAddress(false, 2), destination: poolAddress(false, 3), protocol: 6, hops: 64, payload: segment(0x02, 0)}
	frame := ethernetFrame(portMAC(2), portMAC(1), s.ethertype(), s.build())
	send := func(frame []byte) (answered int) {
		for range burst + more {
			action, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)})
			check(t, err)
			if action == 7 {
				answered++
			}
		}
		return answered
	}
	if n := send(frame); n != burst {
		t.Errorf("%d answers at once, want %d", n, burst)
	}
	if n := dropsOf(t, d, 2, "policy-rejected"); n != burst+more {
		t.Errorf("%d counted as rejected, want all %d", n, burst+more)
	}
	if n := send(packetCase{ifindex: loopback, destination: GatewayMAC, source: 2, to: 100, hops: 1}.frame(false)); n != burst {
		t.Errorf("%d errors after the answers were used up, want %d", n, burst)
	}
	check(t, d.Forget(loopback)) // the next port there begins anew
	if n := send(frame); n != burst {
		t.Errorf("%d answers to a new port, want %d", n, burst)
	}
}
