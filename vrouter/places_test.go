// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
)

const placeLimit = 40

// limitedTenants are the named world in which the first port may have so many conversations.
func limitedTenants() *Oracle {
	o := tenants()
	o.PortPolicies = map[int]PortPolicy{1: {ConnectionLimit: placeLimit}}
	port := o.Ports[1]
	port.Policed, port.ID = true, 77
	o.Ports[1] = port
	return o
}

// talk sends one datagram or segment of a conversation from the first port and says whether it went on.
func talk(t testing.TB, d *Datapath, protocol byte, flow int, flags byte) bool {
	s := ipSpec{source: poolAddress(false, 2), destination: poolAddress(false, 3), protocol: protocol, hops: 64, payload: segment(flags, 0)}
	binary.BigEndian.PutUint16(s.payload, uint16(1000+flow))
	frame := ethernetFrame(portMAC(2), portMAC(1), s.ethertype(), s.build())
	action, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)})
	if err != nil {
		t.Error(err)
	}
	return action == 7
}

func mustHavePlaces(t *testing.T, d *Datapath, what string, want int) {
	t.Helper()
	all, err := d.Places()
	check(t, err)
	if n := all[PlaceOwner{1, 77}]; n != want {
		t.Errorf("%s: %d places are taken, want %d", what, n, want)
	}
}

// TestLimitHoldsWhenManyBeginAtOnce has several processors begin more
// conversations than may be.
func TestLimitHoldsWhenManyBeginAtOnce(t *testing.T) {
	const each, tasks = 100, 4
	d := loadForTest(t, smallSizes)
	install(t, d, limitedTenants())
	var begun, dropped atomic.Int64
	var wait sync.WaitGroup
	for task := range tasks {
		wait.Go(func() {
			for n := range each {
				if talk(t, d, 17, task*each+n, 0) {
					begun.Add(1)
				} else {
					dropped.Add(1)
				}
			}
		})
	}
	wait.Wait()
	// Two that come at once for the last place may both be told that there is none.
	for flow := tasks * each; begun.Load() < placeLimit && flow < tasks*each+tasks; flow++ {
		if talk(t, d, 17, flow, 0) {
			begun.Add(1)
		} else {
			dropped.Add(1)
		}
	}
	if begun.Load() != placeLimit {
		t.Errorf("%d conversations began, want %d", begun.Load(), placeLimit)
	}
	mustHavePlaces(t, d, "after many began", placeLimit)
	if n := dropsOf(t, d, 1, "connection-limit"); int64(n) != dropped.Load() {
		t.Errorf("%d counted, want %d", n, dropped.Load())
	}
	going, err := ebpfKeys(d)
	check(t, err)
	for port := range going { // those that began go on
		if !talk(t, d, 17, port-1000, 0) {
			t.Errorf("the conversation from port %d does not go on", port)
		}
	}
}

// ebpfKeys are the local ports that have a place.
func ebpfKeys(d *Datapath) (map[int]bool, error) {
	all, err := d.places.All()
	ports := map[int]bool{}
	for p := range all {
		ports[int(p.Local.Port())] = true
	}
	return ports, err
}

// TestPlacesComeBack: of what ends at once, of what is forgotten when it expires, and
// of what made room for others when the agent looks.
func TestPlacesComeBack(t *testing.T) {
	sizes := smallSizes
	sizes.HalfOpen = 256
	d := loadForTest(t, sizes)
	install(t, d, limitedTenants())
	for flow := range placeLimit {
		talk(t, d, 6, flow, 0x02)
	}
	if talk(t, d, 6, placeLimit, 0x02) {
		t.Error("one more began than may be")
	}
	talk(t, d, 6, 0, 0x04) // a reset ends it
	mustHavePlaces(t, d, "after a reset", placeLimit-1)
	if !talk(t, d, 6, placeLimit, 0x02) {
		t.Error("none begins in the place of one that has ended")
	}
	if talk(t, d, 6, 0, 0x02) {
		t.Error("what has ended begins anew without a place")
	}
	old := func() {
		places, err := d.places.All()
		check(t, err)
		now, err := ticksNow()
		check(t, err)
		for p := range places {
			check(t, d.places.Put(p, now-60))
		}
	}
	old()
	_, err := d.ExpireConnections(nil)
	check(t, err)
	mustHavePlaces(t, d, "after a look at living ones", placeLimit)
	forgetConnections(t, d) // as a flood does
	_, err = d.ExpireConnections(nil)
	check(t, err)
	mustHavePlaces(t, d, "after all were forgotten", 0)
	if !talk(t, d, 6, placeLimit+1, 0x02) {
		t.Error("none begins though all places are free")
	}
}

// TestLimitOutlivesTheProcess: what is taken is the kernel's.
func TestLimitOutlivesTheProcess(t *testing.T) {
	dir := filepath.Join(mountBPFFS(t), "weft")
	before, err := Load(Options{PinDir: dir, Sizes: smallSizes})
	check(t, err)
	install(t, before, limitedTenants())
	for flow := range placeLimit {
		talk(t, before, 17, flow, 0)
	}
	before.Close()
	after, err := Load(Options{PinDir: dir, Sizes: smallSizes})
	check(t, err)
	t.Cleanup(after.Close)
	mustHavePlaces(t, after, "after a restart", placeLimit)
	if talk(t, after, 17, placeLimit, 0) {
		t.Error("one more began after a restart than may be")
	}
	// A conversation from before there was a limit gets a place, whatever the limit.
	check(t, after.PortPolicies.Put(1, PortPolicy{}))
	talk(t, after, 17, placeLimit, 0)
	check(t, after.PortPolicies.Put(1, PortPolicy{ConnectionLimit: placeLimit}))
	_, err = after.ExpireConnections(nil)
	check(t, err)
	mustHavePlaces(t, after, "with one from before there was a limit", placeLimit+1)
	if talk(t, after, 17, placeLimit+1, 0) {
		t.Error("one more began")
	}
}
