// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"maps"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/vrouter/rules"
)

// fill puts entries into a hash table of the kernel until it takes no more.
func fill[K, V any](t *testing.T, m *ebpf.Map, key func(int) K, value V) {
	t.Helper()
	for n := range 2 * m.MaxEntries() {
		k := key(int(n))
		switch err := m.Update(&k, value, ebpf.UpdateNoExist); {
		case errors.Is(err, unix.E2BIG):
			return
		case err != nil:
			t.Fatal(err)
		}
	}
	t.Fatalf("a table of %d entries takes more", m.MaxEntries())
}

func cpusOf(t *testing.T) int {
	t.Helper()
	n, err := ebpf.PossibleCPU()
	check(t, err)
	return n
}

// Counts of an interface that is no port any more, which frames make after it was
// forgotten, do not stay; those of a port, and of all, do.
func TestCountsOfInterfacesThatAreGone(t *testing.T) {
	d := loadForTest(t, smallSizes)
	install(t, d, tenants())
	const gone = 1000
	for _, ifindex := range []uint32{AnyInterface, 1, gone} {
		key := layoutDropKey{Ifindex: ifindex, Reason: layoutReason(2)}
		values := make([]layoutDropValue, cpusOf(t))
		values[0].Packets = 1
		check(t, d.maps["drops"].Put(&key, values))
	}
	for _, times := range []*Table[int, uint64]{d.requestTimes, d.errorTimes, d.answerTimes, d.floodTimes, d.serviceTimes} {
		check(t, times.Put(1, 5))
		check(t, times.Put(gone, 5))
	}
	check(t, d.ForgetGone())
	counted, err := d.countedInterfaces()
	check(t, err)
	if want := (map[int]bool{AnyInterface: true, 1: true}); !maps.Equal(counted, want) {
		t.Errorf("counts of interfaces %v, want %v", counted, want)
	}
	if all, err := d.serviceTimes.All(); err != nil || len(all) != 1 {
		t.Errorf("times %v, %v, want those of the port", all, err)
	}
}

// What ends where there is no room to count it is counted still, with its reason.
func TestDropsThatFindNoRoom(t *testing.T) {
	d := loadForTest(t, smallSizes)
	install(t, d, tenants())
	spoofed := func() {
		s := ipSpec{source: poolAddress(false, 9), destination: poolAddress(false, 3), protocol: 17, hops: 64, payload: make([]byte, 8)}
		frame := ethernetFrame(portMAC(2), portMAC(1), s.ethertype(), s.build())
		_, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)})
		check(t, err)
	}
	spoofed()
	check(t, d.Forget(1))
	fill(t, d.maps["drops"], func(n int) layoutDropKey {
		return layoutDropKey{Ifindex: uint32(1000 + n/60), Reason: layoutReason(1 + n%60)}
	}, make([]layoutDropValue, cpusOf(t)))
	spoofed()
	spoofed()
	if n := dropsOf(t, d, 1, "spoofed-address"); n != 0 {
		t.Errorf("%d are counted in a table without room", n)
	}
	if n := dropsOf(t, d, AnyInterface, "spoofed-address"); n != 2 {
		t.Errorf("%d are counted as of any interface, want 2", n)
	}
	if n := dropsOf(t, d, AnyInterface, "spoofed-mac"); n != 0 {
		t.Errorf("%d of another reason are counted", n)
	}
}

// A conversation that cannot be counted does not begin, and that is no limit's
// doing; those that began go on.
func TestPlacesThatFindNoRoom(t *testing.T) {
	sizes := smallSizes
	sizes.HalfOpen = 16
	d := loadForTest(t, sizes)
	install(t, d, limitedTenants())
	for flow := range 16 {
		if !talk(t, d, 17, flow, 0) {
			t.Fatalf("conversation %d does not begin", flow)
		}
	}
	if talk(t, d, 17, 16, 0) {
		t.Error("one more begins than can be counted")
	}
	if limit, full := dropsOf(t, d, 1, "connection-limit"), dropsOf(t, d, 1, "places-full"); limit != 0 || full != 1 {
		t.Errorf("%d are counted as connection-limit, %d as places-full", limit, full)
	}
	if !talk(t, d, 17, 15, 0) {
		t.Error("a conversation that has a place does not go on")
	}
	mustHavePlaces(t, d, "in a full table", 16)
}

// Conversations from before there was a limit that find no place are told, and keep
// nothing from being counted.
func TestSweepOfPlacesThatFindNoRoom(t *testing.T) {
	sizes := smallSizes
	sizes.HalfOpen = 64
	d := loadForTest(t, sizes)
	o := limitedTenants()
	limits := o.PortPolicies
	o.PortPolicies = map[int]PortPolicy{1: {}}
	install(t, d, o)
	if !talk(t, d, 17, 0, 0) {
		t.Fatal("a conversation does not begin")
	}
	check(t, d.PortPolicies.Put(1, limits[1]))
	now, err := ticksNow()
	check(t, err)
	fill(t, d.maps["places"], func(n int) layoutPlaceKey {
		return layoutPlaceKey{Connection: layoutConnectionKey{Ifindex: 1, RemotePort: uint16(n)}, Port: 77}
	}, now+2)
	if _, err := d.ExpireConnections(nil); !errors.Is(err, ErrFull) {
		t.Errorf("of a conversation that finds no place is told: %v", err)
	}
	mustHavePlaces(t, d, "when one more has none", 64)
}

// What rules decide is counted also where their own counts find no room.
func TestRulesThatFindNoRoom(t *testing.T) {
	d, _, _ := speaker(t)
	asking(t, d, map[rules.Layer][]rules.Rule{rules.SecurityGroup: {{Number: 7, Action: rules.Pass}}})
	send := sendFrom(t, d)
	send(1000)
	fill(t, d.maps["rule_hits"], func(n int) uint32 { return uint32(1000 + n) }, make([]uint64, cpusOf(t)))
	send(1001)
	check(t, d.ForgetRuleHits(7))
	fill(t, d.maps["rule_hits"], func(n int) uint32 { return uint32(100_000 + n) }, make([]uint64, cpusOf(t)))
	check(t, d.ForgetRuleHits(AnyRule))
	send(1002)
	hits, err := d.RuleHits()
	check(t, err)
	if _, own := hits[7]; own || hits[AnyRule] != 1 {
		t.Errorf("%d are counted as of any rule, want 1, and of the rule %d", hits[AnyRule], hits[7])
	}
}
