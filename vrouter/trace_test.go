// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
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
	d := loadForTest(t, smallSizes)
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
			case ifindex == testTunnelDevice || g.chance(30):
				outcome, err = tracer.FromTunnel(testTunnelDevice, g.tunnelKey(1), frame)
			default:
				outcome, err = tracer.FromPort(ifindex, frame)
			}
			check(t, err)
			seen.add(outcome)
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

// A trace tells the stages in the order in which the frame met them, and the
// route that it took.
func TestTraceTellsTheWay(t *testing.T) {
	d := loadForTest(t, smallSizes)
	install(t, d, tenants())
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	for _, c := range packetCases {
		if c.ifindex != 1 || c.what != "routed" && c.what != "spoofed address" {
			continue
		}
		got, err := tracer.FollowFromPort(1, c.frame(false))
		check(t, err)
		want := []string{"port", "parse", "spoof"}
		if c.what == "routed" {
			want = append(want, "neighbour", "request", "route", "encap")
			if got.Route == nil || got.Route.NextHop != 13 || !got.Route.Routed || got.Bits != 32 || got.Led {
				t.Errorf("%s: route %+v of length %d, led %v", c.what, got.Route, got.Bits, got.Led)
			}
			prefix, route, found, err := d.LongestRoute(1, poolAddress(false, 100))
			if check(t, err); !found || prefix != host(poolAddress(false, 100)) || route.NextHop != 13 {
				t.Errorf("longest route %v %+v %v", prefix, route, found)
			}
		} else if got.Route != nil {
			t.Errorf("%s: route %+v", c.what, got.Route)
		}
		if !slices.Equal(got.Stages, want) {
			t.Errorf("%s: stages %v, want %v", c.what, got.Stages, want)
		}
	}
}
