// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

// contents is every byte of every table, but for the ring, which has no entries.
func contents(t *testing.T, d *Datapath) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, m := range d.maps {
		if m.Type() == ebpf.RingBuf {
			continue
		}
		var key any
		for {
			next, err := m.NextKeyBytes(key)
			if next == nil || errors.Is(err, ebpf.ErrKeyNotExist) {
				break
			}
			check(t, err)
			key = next
			value := "unreadable"
			if m.Type() == ebpf.PerCPUArray || m.Type() == ebpf.PerCPUHash || m.Type() == ebpf.LRUCPUHash {
				var perCPU [][]byte
				check(t, m.Lookup(next, &perCPU))
				value = fmt.Sprintf("%x", perCPU)
			} else if m.Type() != ebpf.ProgramArray {
				raw, err := m.LookupBytes(next)
				check(t, err)
				value = hex.EncodeToString(raw)
			}
			all[name+" "+hex.EncodeToString(next)] = value
		}
	}
	return all
}

// Traces of random frames, which end for every reason, change no byte of any
// table, also where connections, limits and counts of real packets are.
func TestTraceChangesNoTable(t *testing.T) {
	r := seeded(t)
	d := tablesForTest(t, smallSizes)
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	var seen distribution
	for range 4 {
		g := newGenerator(r)
		install(t, d, g.o)
		before := contents(t, d)
		if len(before) < 100 {
			t.Fatalf("only %d entries to compare", len(before))
		}
		for range 1500 {
			ifindex := 1 + g.IntN(testPorts)
			_, frame := g.frame(ifindex)
			if g.chance(40) {
				s := g.rare()
				ifindex, frame = s.ifindex, s.frame
			}
			if !runnable(frame) {
				continue
			}
			var outcome Outcome
			switch {
			case g.chance(10):
				outcome, err = tracer.FromHost(testHostDevice, g.fromHost())
			case g.chance(8):
				outcome, err = tracer.ToUnderlay(testLabelFar, g.labelled())
			case g.chance(8):
				if frame = g.fromUnderlay(); runnable(frame) {
					outcome, err = tracer.FromUnderlay(testUnderlayDevice, frame)
				}
			case g.chance(8):
				if frame = g.fromFabric(); runnable(frame) {
					outcome, err = tracer.FromFabric(testUplink, frame)
				}
			case ifindex == testTunnelDevice || g.chance(30):
				outcome, err = tracer.FromTunnel(testTunnelDevice, g.tunnelKey(1), frame)
			default:
				outcome, err = tracer.FromPort(ifindex, frame)
			}
			check(t, err)
			if outcome.Verdict != "" {
				seen.add(outcome)
			}
		}
		after := contents(t, d)
		for _, key := range slices.Sorted(maps.Keys(after)) {
			if before[key] != after[key] {
				t.Fatalf("entry %s was %s and is %s", key, before[key], after[key])
			}
		}
		if len(before) != len(after) {
			t.Fatalf("%d entries before, %d after", len(before), len(after))
		}
	}
	if len(seen.counts) < 25 {
		t.Errorf("only these ends were tried:\n%s", &seen)
	}
}

// waysOf are the stages that frames of the named world meet.
var waysOf = map[string][]string{
	"routed":                          {"port", "parse", "spoof", "neighbour", "request", "route", "encap"},
	"spoofed address":                 {"port", "parse", "spoof"},
	"inside the network on this host": {"port", "parse", "spoof", "neighbour", "request", "route", "deliver"},
	"from the tunnel":                 {"tunnel", "parse", "route", "deliver"},
	"from nobody":                     {"tunnel"},
}

// A trace tells the stages in the order in which the frame met them, and the
// route that it took.
func TestTraceTellsTheWay(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	install(t, d, tenants())
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	tried := 0
	for _, c := range packetCases {
		want, named := waysOf[c.what]
		if !named {
			continue
		}
		tried++
		var got Trace
		if c.ifindex != 0 {
			got, err = tracer.FollowFromPort(c.ifindex, c.frame(false))
		} else {
			from := netip.MustParseAddr(cmp.Or(c.from, "192.0.2.11"))
			got, err = tracer.FollowFromTunnel(testTunnelDevice, &TunnelKey{VNI: c.vni, Remote: from}, c.frame(false))
		}
		check(t, err)
		if !slices.Equal(got.Stages, want) {
			t.Errorf("%s: stages %v, want %v", c.what, got.Stages, want)
		}
		if routed := slices.Contains(want, "route"); (got.Route != nil) != routed {
			t.Errorf("%s: route %+v, want one: %t", c.what, got.Route, routed)
		}
		if c.what == "routed" && (got.Route == nil || got.Route.NextHop != 13 || !got.Route.Routed || got.Bits != 32 || got.Led) {
			t.Errorf("%s: route %+v of length %d, led %v", c.what, got.Route, got.Bits, got.Led)
		}
	}
	if tried != len(waysOf) {
		t.Errorf("%d of %d ways were tried", tried, len(waysOf))
	}
	to := poolAddress(false, 100)
	prefix, route, found, err := d.LongestRoute(1, to)
	if check(t, err); !found || prefix != host(to) || route.NextHop != 13 {
		t.Errorf("longest route %v %+v %v", prefix, route, found)
	}
}
