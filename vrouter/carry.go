// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// formerTables are the directories of tables of other layouts, which programs of
// another build filled or fill.
func (d *Datapath) formerTables() ([]string, error) {
	entries, err := os.ReadDir(d.pinDir)
	if err != nil {
		return nil, fmt.Errorf("list pin directory: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		path := filepath.Join(d.pinDir, e.Name())
		if strings.HasPrefix(e.Name(), mapsPrefix) && path != d.mapsDir {
			dirs = append(dirs, path)
		}
	}
	return dirs, nil
}

// carryConnections notes the connections of other layouts' tables in this one's:
// who began each, which nobody could tell from its next packet, and for how long
// it has been there. Nothing of what the other tables' numbers meant is taken
// along, so the next packet of each goes the long way and is asked about. Those
// that are here already are kept, but for who began.
func (d *Datapath) carryConnections(dirs []string) error {
	for _, dir := range dirs {
		for _, name := range connectionTables {
			if err := d.carryTable(dir, name); err != nil {
				return fmt.Errorf("take over connections from table %s of another layout: %w", name, err)
			}
		}
	}
	return nil
}

// carryTable does so with one table. One that is not there, or does not tell what
// its bytes mean, has nothing to take along.
func (d *Datapath) carryTable(dir, name string) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	former, err := connectionReaderOf(m)
	if err != nil || former == nil {
		return err
	}
	return eachRawEntry(m, func(key, value []byte) error {
		k, v := former.read(key, value)
		err := d.carryEntry(&k, &v)
		if errors.Is(err, unix.E2BIG) { // no room: as good as never seen, as for the programs
			return nil
		}
		return err
	})
}

// eachRawEntry reads a hash table in batches, whatever the size of its entries.
func eachRawEntry(m *ebpf.Map, visit func(key, value []byte) error) error {
	size := connectionsBatch
	var cursor ebpf.MapBatchCursor
	for {
		keys := reflect.MakeSlice(reflect.SliceOf(reflect.ArrayOf(int(m.KeySize()), reflect.TypeFor[byte]())), size, size)
		values := reflect.MakeSlice(reflect.SliceOf(reflect.ArrayOf(int(m.ValueSize()), reflect.TypeFor[byte]())), size, size)
		n, err := m.BatchLookup(&cursor, keys.Interface(), values.Interface(), nil)
		for i := range n {
			if err := visit(keys.Index(i).Slice(0, int(m.KeySize())).Bytes(), values.Index(i).Slice(0, int(m.ValueSize())).Bytes()); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist): // the end
			return nil
		case errors.Is(err, unix.ENOSPC): // one bucket holds more than the batch
			size *= 2
		case err != nil:
			return err
		}
	}
}

// carryEntry notes a connection of another layout's table.
func (d *Datapath) carryEntry(key *layoutConnectionKey, value *layoutConnectionValue) error {
	here, name := d.entryHere(key, value.Port)
	if here != nil {
		state := here.State | value.State
		switch {
		case here.Made == value.Made: // carried already, and perhaps more is known since
			if state == here.State {
				return nil
			}
			value.Seen = max(value.Seen, here.Seen)
		case ConnectionState(value.State).Over(): // what is here began anew
			return nil
		default: // a packet came first, perhaps of the other end's
			state &^= here.State & uint8(ConnectionHeardFirst) &^ value.State
			value.Seen = here.Seen
			addCounts(value, here)
		}
		value.State = state
	}
	return d.noteTaken(key, value, name)
}

// field is where a build had a number or an address; size 0: it had none.
type field struct{ from, size int }

func (f field) of(entry []byte) []byte {
	if f.from+f.size > len(entry) {
		return nil
	}
	return entry[f.from : f.from+f.size]
}

// number is 0 where there was none.
func (f field) number(entry []byte) uint64 {
	switch b := f.of(entry); len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(b))
	case 4:
		return uint64(binary.NativeEndian.Uint32(b))
	case 8:
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}

func (f field) address(entry []byte) (a layoutAddress) {
	if b := f.of(entry); len(b) == 4*len(a.Word) {
		for i := range a.Word {
			a.Word[i] = binary.NativeEndian.Uint32(b[4*i:])
		}
	}
	return a
}

// fieldOf finds a field by its name, also one of a field: names are what builds
// agree about.
func fieldOf(t btf.Type, path ...string) field {
	s, is := btf.UnderlyingType(t).(*btf.Struct)
	if !is {
		return field{}
	}
	for _, m := range s.Members {
		if m.Name != path[0] || m.BitfieldSize != 0 {
			continue
		}
		if len(path) > 1 {
			inner := fieldOf(m.Type, path[1:]...)
			inner.from += int(m.Offset.Bytes())
			return inner
		}
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			return field{}
		}
		return field{int(m.Offset.Bytes()), size}
	}
	return field{}
}

// connectionReader reads entries of connections as another build laid them out.
type connectionReader struct {
	ifindex, protocol, family, localPort, remotePort, local, remote field
	port, state, seen, made, expects, mac, mapping, itself          field
	sentPackets, sentBytes, heardPackets, heardBytes                field
}

// connectionReaderOf returns nil for a table that its maker did not describe.
func connectionReaderOf(m *ebpf.Map) (*connectionReader, error) {
	handle, err := m.Handle()
	if errors.Is(err, btf.ErrNotFound) || errors.Is(err, ebpf.ErrNotSupported) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find its types: %w", err)
	}
	defer handle.Close()
	spec, err := handle.Spec(nil)
	if err != nil {
		return nil, fmt.Errorf("read its types: %w", err)
	}
	var key, value *btf.Struct
	if err := errors.Join(spec.TypeByName("connection_key", &key), spec.TypeByName("connection_value", &value)); errors.Is(err, btf.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read its types: %w", err)
	}
	return &connectionReader{
		fieldOf(key, "ifindex"), fieldOf(key, "protocol"), fieldOf(key, "family"), fieldOf(key, "local_port"), fieldOf(key, "remote_port"), fieldOf(key, "local"), fieldOf(key, "remote"),
		fieldOf(value, "port"), fieldOf(value, "state"), fieldOf(value, "seen"), fieldOf(value, "made"), fieldOf(value, "expects"), fieldOf(value, "mac"), fieldOf(value, "mapping"), fieldOf(value, "itself"),
		fieldOf(value, "sent", "packets"), fieldOf(value, "sent", "bytes"), fieldOf(value, "heard", "packets"), fieldOf(value, "heard", "bytes"),
	}, nil
}

func (r *connectionReader) read(key, value []byte) (k layoutConnectionKey, v layoutConnectionValue) {
	k.Ifindex, k.Protocol, k.Family = uint32(r.ifindex.number(key)), uint8(r.protocol.number(key)), uint8(r.family.number(key))
	k.LocalPort, k.RemotePort = uint16(r.localPort.number(key)), uint16(r.remotePort.number(key))
	k.Local, k.Remote = r.local.address(key), r.remote.address(key)
	v.Port, v.State, v.Expects = uint32(r.port.number(value)), uint8(r.state.number(value)), uint16(r.expects.number(value))
	if at := r.mac.of(value); len(at) == len(v.Mac.Byte) && at[0] == memberMAC {
		copy(v.Mac.Byte[:], at) // a conversation with a virtual address keeps its member
	}
	setMapping(&v, r.mapping.number(value), uint16(r.itself.number(value)))
	v.Seen, v.Made = uint32(r.seen.number(value)), uint32(r.made.number(value))
	v.Sent.Packets, v.Sent.Bytes = r.sentPackets.number(value), r.sentBytes.number(value)
	v.Heard.Packets, v.Heard.Bytes = r.heardPackets.number(value), r.heardBytes.number(value)
	return k, v
}
