// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// BenchmarkPacket reports the time the programs take for one frame, without
// the interfaces around them. One frame repeats, so its table entries are hot.
func BenchmarkPacket(b *testing.B) {
	for _, routes := range []int{1_000, 100_000} {
		for _, six := range []bool{false, true} {
			for _, to := range []int{3, 4} {
				what := map[int]string{3: "local", 4: "tunnel"}[to]
				family := map[bool]string{false: "IPv4", true: "IPv6"}[six]
				b.Run(fmt.Sprintf("from-port/%s/%s/%d-routes", what, family, routes), func(b *testing.B) {
					d := benchmarkDatapath(b, routes, six)
					frame := packetCase{ifindex: loopback, destination: GatewayMAC, source: 2, to: to, hops: 64}.frame(six)
					benchmarkProgram(b, d.hooks[stubSlotSLOT_PORT], frame)
				})
			}
		}
	}
}

// BenchmarkDrop is the path of a flood: the frame is counted and dropped.
func BenchmarkDrop(b *testing.B) {
	d := benchmarkDatapath(b, 1000, false)
	frame := packetCase{ifindex: loopback, destination: GatewayMAC, source: 9, to: 3, hops: 64}.frame(false)
	benchmarkProgram(b, d.hooks[stubSlotSLOT_PORT], frame)
}

// BenchmarkFromTunnel runs the trace build, as a test run has no tunnel key;
// what it writes down costs about as much as reading the key and counting.
func BenchmarkFromTunnel(b *testing.B) {
	for _, six := range []bool{false, true} {
		b.Run(map[bool]string{false: "IPv4", true: "IPv6"}[six], func(b *testing.B) {
			d := benchmarkDatapath(b, 100_000, six)
			tracer, err := d.NewTracer()
			check(b, err)
			defer tracer.Close()
			frame := packetCase{vni: 1001, destination: GatewayMAC, source: 4, to: 3, hops: 64}.frame(six)
			key := &TunnelKey{VNI: 1001, Remote: netip.MustParseAddr("192.0.2.11")}
			_, err = tracer.FromTunnel(testTunnelDevice, key, frame) // leaves the key in place
			check(b, err)
			benchmarkProgram(b, tracer.tunnel, frame)
		})
	}
}

// benchmarkDatapath is the tenants' world among many other routes.
func benchmarkDatapath(b *testing.B, routes int, six bool) *Datapath {
	b.Helper()
	return benchmarkDatapathOf(b, Sizes{}, tenants(), routes, six)
}

// benchmarkDatapathOf is a world among as many other routes of each family.
func benchmarkDatapathOf(b *testing.B, sizes Sizes, o *Oracle, routes int, families ...bool) *Datapath {
	b.Helper()
	sizes.HostRoutes, sizes.HalfOpen = 1<<21, 1<<18
	d := loadForTest(b, sizes)
	install(b, d, o)
	for _, six := range families {
		for n := range routes {
			a := netip.AddrFrom4([4]byte{10, byte(1 + n>>16), byte(n >> 8), byte(n)})
			if six {
				a = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 5, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
			}
			check(b, d.Routes.Put(RouteKey{1, host(a)}, Route{NextHop: 11}))
		}
	}
	return d
}

// chunk is how many frames are timed together: a few milliseconds, so that most
// chunks are not interrupted by what else the machine does.
const chunk = 10_000

// reportChunks runs frames in chunks and reports the middle of the chunks'
// times for one frame, and the tenth of a hundred, which is nearly undisturbed.
func reportChunks(b *testing.B, run func(count int) (each time.Duration, err error)) {
	b.Helper()
	var all []time.Duration
	b.ResetTimer()
	for left := b.N; left > 0; left -= chunk {
		each, err := run(min(left, chunk))
		check(b, err)
		all = append(all, each)
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds()), "ns/packet")
	b.ReportMetric(float64(all[len(all)/10].Nanoseconds()), "p10-ns/packet")
}

func benchmarkProgram(b *testing.B, program *ebpf.Program, frame []byte) {
	b.Helper()
	reportChunks(b, func(count int) (time.Duration, error) {
		_, each, err := program.Benchmark(frame, count, nil)
		return each, err
	})
}

// BenchmarkRoutePut is how fast a table fills.
func BenchmarkRoutePut(b *testing.B) {
	d := loadForTest(b, Sizes{})
	for n := range b.N {
		n %= 1 << 20
		a := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		check(b, d.Routes.Put(RouteKey{1, host(a)}, Route{NextHop: 11}))
	}
}
