// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// widenedStruct is a structure with another field before all others.
func widenedStruct(t testing.TB, of btf.Type) (*btf.Struct, uint32) {
	t.Helper()
	s := btf.Copy(of).(*btf.Struct)
	word := btf.Member{Name: "other", Type: &btf.Int{Name: "unsigned long long", Size: 8}}
	s.Size += 8
	for i := range s.Members {
		s.Members[i].Offset += 64
	}
	s.Members = slices.Insert(s.Members, 0, word)
	return s, s.Size
}

// otherLayoutOf makes a table as a build with other fields would have it, and
// returns what puts an entry there.
func otherLayoutOf(t testing.TB, d *Datapath, dir, name string) func(layoutConnectionKey, layoutConnectionValue) {
	t.Helper()
	spec, err := loadLayout()
	check(t, err)
	m := spec.Maps[name]
	m.Name, m.Pinning, m.MaxEntries = name, ebpf.PinByName, 64
	m.Key, m.KeySize = widenedStruct(t, m.Key)
	m.Value, m.ValueSize = widenedStruct(t, m.Value)
	check(t, os.MkdirAll(filepath.Join(d.pinDir, dir), 0o700))
	other, err := ebpf.NewMapWithOptions(m, ebpf.MapOptions{PinPath: filepath.Join(d.pinDir, dir)})
	check(t, err)
	t.Cleanup(func() { other.Close() })
	entry := func(size uint32, v any) []byte {
		var b bytes.Buffer
		check(t, binary.Write(&b, binary.NativeEndian, uint64(7)))
		check(t, binary.Write(&b, binary.NativeEndian, v))
		if b.Len() != int(size) {
			t.Fatalf("an entry of another layout has %d bytes, want %d", b.Len(), size)
		}
		return b.Bytes()
	}
	return func(k layoutConnectionKey, v layoutConnectionValue) {
		t.Helper()
		check(t, other.Put(entry(m.KeySize, &k), entry(m.ValueSize, &v)))
	}
}

// TestConnectionsOutliveAnotherLayout: who began, since when, and how much was
// sent is known after tables with other fields took over, whatever those are;
// what the numbers of the former tables meant is not.
func TestConnectionsOutliveAnotherLayout(t *testing.T) {
	d := loadForTest(t, smallSizes)
	now, err := ticksNow()
	check(t, err)
	key := func(n uint32, family layoutFamily) layoutConnectionKey {
		return layoutConnectionKey{Ifindex: 3, Protocol: 6, Family: uint8(family), LocalPort: 80, RemotePort: uint16(n), Local: layoutAddress{Word: [4]uint32{1, 2, 3, 4}}, Remote: layoutAddress{Word: [4]uint32{n, 6, 7, 8}}}
	}
	const began, proven = uint8(ConnectionHeardFirst | ConnectionHeard), uint8(ConnectionHeardFirst | ConnectionHeard | ConnectionSent | ConnectionProven)
	full := layoutConnectionValue{Way: 5<<32 | 6, PortGeneration: 7, Port: 11, Mtu: 1400, Expects: 12, Seen: now - 5, Made: now - 100, Flags: 3, State: proven, Rule: 8, Passed: 9, Told: 10}
	full.Sent.Packets, full.Sent.Bytes, full.Heard.Packets, full.Heard.Bytes = 21, 22, 23, 24
	kept := full // of what was there
	kept.Way, kept.PortGeneration, kept.Mtu, kept.Flags, kept.Rule, kept.Passed, kept.Told = 0, 0, 0, 0, 0, 0, 0
	with := func(v layoutConnectionValue, change func(*layoutConnectionValue)) layoutConnectionValue {
		change(&v)
		return v
	}

	established := otherLayoutOf(t, d, "maps-other", confirmedTable)
	opening := otherLayoutOf(t, d, "maps-other", restTable)
	over := uint8(ConnectionFinSent | ConnectionFinHeard)
	halfOpen := with(full, func(v *layoutConnectionValue) { v.State = began })
	finished := with(full, func(v *layoutConnectionValue) { v.State |= over })
	established(key(1, layoutFamilyFAMILY_4), full)
	established(key(2, layoutFamilyFAMILY_6), full)
	opening(key(3, layoutFamilyFAMILY_4), halfOpen)
	established(key(4, layoutFamilyFAMILY_4), full)
	established(key(5, layoutFamilyFAMILY_4), finished)
	// These tables have met a packet of each of the last two already: an answer, and a new beginning.
	met := layoutConnectionValue{Port: 11, Seen: now, Made: now, State: uint8(ConnectionSent), Way: 77}
	met.Sent.Packets, met.Sent.Bytes = 1, 2
	fourth, fifth := key(4, layoutFamilyFAMILY_4), key(5, layoutFamilyFAMILY_4)
	check(t, d.maps[restTable].Put(&fourth, &met))
	check(t, d.maps[restTable].Put(&fifth, &met))

	check(t, d.Activate())
	want := map[layoutConnectionKey]layoutConnectionValue{
		key(1, layoutFamilyFAMILY_4): kept,
		key(2, layoutFamilyFAMILY_6): kept,
		key(3, layoutFamilyFAMILY_4): with(kept, func(v *layoutConnectionValue) { v.State = began }),
		fourth:                       with(kept, func(v *layoutConnectionValue) { v.Seen = now; v.Sent.Packets++; v.Sent.Bytes += 2 }),
		fifth:                        met,
	}
	for k, v := range want {
		table := confirmedTable
		if ConnectionState(v.State)&ConnectionProven == 0 {
			table = restTable
		}
		var got layoutConnectionValue
		if err := d.maps[table].Lookup(&k, &got); err != nil || got != v {
			t.Errorf("connection to port %d is %+v in %s, want %+v (%v)", k.RemotePort, got, table, v, err)
		}
	}
	n := 0
	check(t, d.Connections(func(ConnectionKey, Connection) { n++ }))
	if n != len(want) {
		t.Errorf("%d connections are known, want %d", n, len(want))
	}
	if _, err := os.Stat(filepath.Join(d.pinDir, "maps-other")); !os.IsNotExist(err) {
		t.Errorf("tables of another layout are there after their connections were taken over (%v)", err)
	}
}
