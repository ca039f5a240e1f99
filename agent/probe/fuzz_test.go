// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-network/weft/agent/bfd"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/frame"
	"github.com/weft-network/weft/agent/health"
)

// fuzzed is a workload that is tried, in either family.
func fuzzed(kind string, six bool) health.Wanted {
	w := health.Wanted{Check: desired.Check{Type: kind, TransportPort: 53, Address: netip.MustParseAddr("10.0.0.2")}}
	w.Gateway = netip.MustParseAddr("10.0.0.1")
	if six {
		w.Address, w.Gateway = netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::1")
	}
	return w
}

// FuzzAnswer: whatever a workload sends, only what it sends to its gateway answers a
// question or is a packet of its session, never the question itself; what is read of a
// frame is in it.
func FuzzAnswer(f *testing.F) {
	for _, six := range []bool{false, true} {
		w := fuzzed("ping", six)
		back := frame.Packet{From: w.Address, To: w.Gateway, UDP: true, SourcePort: w.TransportPort, DestinationPort: 7}
		f.Add(back.Build(), six)
		back.SourcePort, back.DestinationPort, back.Hops = 49152, bfd.Port, bfd.TTL
		back.Payload = bfd.Control{State: bfd.Init, Multiplier: 3, My: 1, Your: 2}.Encode()
		f.Add(back.Build(), six)
		echo := frame.Packet{From: w.Address, To: w.Gateway, Payload: []byte{echoReply4, 0, 0, 0, 0, 7, 0, echoes}}
		unreachable := frame.Packet{From: w.Address, To: w.Gateway, Payload: append([]byte{unreachable4, portUnreachable4, 0, 0, 0, 0, 0, 0}, question{fuzzed("udp", six), 7}.frame()[ethernet:]...)}
		if six {
			echo.Payload[0], unreachable.Payload[0], unreachable.Payload[1] = echoReply6, unreachable6, portUnreachable6
			f.Add(echo.Build(), six)
			f.Add(unreachable.Build(), six)
		} else {
			f.Add(echo.BuildICMP4(), six)
			f.Add(unreachable.BuildICMP4(), six)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		_, from, to, rest := parse(b)
		if len(rest) > len(b) || !slices.Equal(rest, b[len(b)-len(rest):]) || from.Is4() != to.Is4() {
			t.Errorf("%x is from %v to %v, with %x", b, from, to, rest)
		}
		for _, kind := range []string{"ping", "udp"} {
			q := question{fuzzed(kind, six), 7}
			if answered, err := q.answer(b); (answered || err != nil) && (from != q.w.Address || to != q.w.Gateway) {
				t.Errorf("%x from %v to %v answers %s: %v", b, from, to, kind, err)
			}
			if answered, _ := q.answer(q.frame()); answered {
				t.Errorf("%s answers itself", kind)
			}
		}
		e := end{w: fuzzed("bfd", six)}
		if c, ok := e.heard(b); ok && (from != e.w.Address || to != e.w.Gateway || c.My == 0) {
			t.Errorf("%x from %v to %v is heard as %+v", b, from, to, c)
		}
	})
}
