// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// shot is what a program returns of a frame that it dropped (TC_ACT_SHOT).
const shot = 2

// conversation is two workloads that the benchmarks talk between: the tenants'
// interface 1 (the one a test run has) and, on the same host or another, a peer.
type conversation struct {
	six    bool
	tunnel bool
	tcp    bool
}

func (c conversation) String() string {
	family, where := "IPv4", "local"
	if c.six {
		family = "IPv6"
	}
	if c.tunnel {
		where = "tunnel"
	}
	if c.tcp {
		where += "/TCP"
	}
	return family + "/" + where
}

func conversations() []conversation {
	return []conversation{{tunnel: true}, {six: true, tunnel: true}, {}, {six: true}}
}

func (c conversation) peer() int {
	if c.tunnel {
		return 4
	}
	return 3
}

func (c conversation) there() sent {
	return sent{ifindex: loopback, frame: packetCase{ifindex: loopback, destination: GatewayMAC, source: 2, to: c.peer(), hops: 64, tcp: c.tcp}.frame(c.six)}
}

func (c conversation) back() sent {
	if c.tunnel {
		return sent{
			ifindex: testTunnelDevice, key: &TunnelKey{VNI: 1001, Remote: netip.MustParseAddr("192.0.2.11")},
			frame: packetCase{vni: 1001, destination: GatewayMAC, source: c.peer(), to: 2, hops: 64, tcp: c.tcp}.frame(c.six),
		}
	}
	return sent{ifindex: 2, frame: packetCase{ifindex: 2, destination: GatewayMAC, source: c.peer(), to: 2, hops: 64, tcp: c.tcp}.frame(c.six)}
}

// say runs a frame count times in the rehearsal. If flows is not 0, each is of
// one of as many: the next from the first one on, or if first is 0 any.
func (t *Tracer) say(s sent, flows, first, count int) (each time.Duration, err error) {
	arguments, program := tracePortTraceArguments{Ifindex: uint32(s.ifindex), Flows: uint32(flows), NextFlow: uint32(first)}, t.port
	if s.ifindex != loopback {
		arguments.Answers = 1
	}
	if s.key != nil {
		remote, family, err := addressToRaw(s.key.Remote)
		if err != nil {
			return 0, err
		}
		program = t.tunnel
		arguments.HasTunnelKey, arguments.TunnelKey.Vni, arguments.TunnelKey.Family = 1, s.key.VNI, uint32(family)
		arguments.TunnelKey.Remote.Word = remote.Word
	}
	if err := t.in.Put(uint32(0), &arguments); err != nil {
		return 0, err
	}
	verdict, each, err := program.Benchmark(s.frame, count, nil)
	if err == nil && verdict == shot {
		return 0, fmt.Errorf("run %d frames: the last one was dropped", count)
	}
	return each, err
}

// establish makes the ends of some flows proven; 0 is the one of the frame itself.
func establish(b *testing.B, d *Datapath, r *Tracer, c conversation, flows int) {
	b.Helper()
	for range 2 {
		for _, s := range []sent{c.there(), c.back()} {
			_, err := r.say(s, flows, 1, max(flows, 1))
			check(b, err)
		}
	}
	confirmed, halfOpen := 0, 0
	check(b, d.Connections(func(_ ConnectionKey, c Connection) {
		if c.HalfOpen {
			halfOpen++
		} else {
			confirmed++
		}
	}))
	if confirmed < max(flows, 1) || halfOpen > flows/100 {
		b.Fatalf("%d connections are confirmed and %d half-open", confirmed, halfOpen)
	}
}

// BenchmarkEstablished is the path of the next frame of a proven connection, one
// that repeats, so that its entries are hot.
func BenchmarkEstablished(b *testing.B) {
	for _, c := range append(conversations(), conversation{tunnel: true, tcp: true}, conversation{tcp: true}) {
		d := benchmarkDatapath(b, 1000, c.six)
		establish(b, d, newRehearsal(b, d), c, 0)
		b.Run(c.String(), func(b *testing.B) { benchmarkProgram(b, d.hooks[stubSlotSLOT_PORT], c.there().frame) })
	}
}

// BenchmarkFlows is how the path of an established frame grows with the number
// of flows, of which each frame is any.
func BenchmarkFlows(b *testing.B) {
	for _, c := range append(conversations(), conversation{tunnel: true, tcp: true}, conversation{tcp: true}) {
		for _, flows := range []int{1_000, 10_000, 100_000} {
			d := benchmarkDatapath(b, 1000, c.six)
			r := newRehearsal(b, d)
			establish(b, d, r, c, flows)
			b.Run(fmt.Sprintf("%v/%d-flows", c, flows), func(b *testing.B) {
				reportChunks(b, func(count int) (time.Duration, error) { return r.say(c.there(), flows, 0, count) })
			})
		}
	}
}

// BenchmarkNewFlow is the path of the first frame of a flow, in the rehearsal,
// among host routes of which the frames use one.
func BenchmarkNewFlow(b *testing.B) {
	for _, six := range []bool{false, true} {
		for _, routes := range []int{1_000, 100_000, 1_000_000} {
			d := benchmarkDatapath(b, routes, six)
			r := newRehearsal(b, d)
			c := conversation{six: six, tunnel: true}
			next := 1
			b.Run(fmt.Sprintf("%v/%d-routes", c, routes), func(b *testing.B) {
				reportChunks(b, func(count int) (time.Duration, error) {
					next += count
					return r.say(c.there(), 1, next-count, count)
				})
			})
		}
	}
}
