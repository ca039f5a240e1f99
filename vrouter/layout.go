// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// rodataPrefix marks constants for Go in the layout object; they are not a table.
const rodataPrefix = ".rodata"

// eventControl is the one variable that is shared by all programs, as a table;
// eventSection is what the objects call it. A bpffs takes no dots.
const (
	eventControl = "event_control"
	eventSection = ".data.events"
)

// sizedLayout returns the tables of this build with their bounds.
func sizedLayout(sizes Sizes) (*ebpf.CollectionSpec, error) {
	spec, err := loadLayout()
	if err != nil {
		return nil, fmt.Errorf("read layout object: %w", err)
	}
	control := spec.Maps[eventSection]
	control.Name = eventControl
	control.Flags |= unix.BPF_F_MMAPABLE // which the loader of programs wants of variables
	delete(spec.Maps, eventSection)
	spec.Maps[eventControl] = control
	bounds := sizes.of()
	for name, m := range spec.Maps {
		if strings.HasPrefix(name, rodataPrefix) {
			delete(spec.Maps, name)
			continue
		}
		bound, ok := bounds[name]
		if !ok {
			panic(fmt.Sprintf("vrouter: table %s has no bound", name))
		}
		m.MaxEntries = bound
	}
	return spec, nil
}

// layoutHash is a short name for everything that must agree for a program to
// use a table another build made: kind, bound, flags and the meaning of each
// byte of key and value, including the numbers of reasons.
func layoutHash(layout *ebpf.CollectionSpec) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(layout.Maps)) {
		m := layout.Maps[name]
		fmt.Fprintf(h, "%s %s %d %d %d %d\n", name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
		if m.Key == nil { // a ring: what is in it outlives no reader
			continue
		}
		fmt.Fprintln(h, describe(m.Key))
		fmt.Fprintln(h, describe(m.Value))
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// describe writes a type out in full.
func describe(t btf.Type) string {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Void: // the key of variables
		return "void"
	case *btf.Datasec:
		var b strings.Builder
		for _, v := range t.Vars {
			fmt.Fprintf(&b, "%s@%d;", describe(v.Type), v.Offset)
		}
		return b.String()
	case *btf.Var:
		return describe(t.Type)
	case *btf.Int:
		return fmt.Sprintf("int%d", t.Size*8)
	case *btf.Array:
		return fmt.Sprintf("[%d]%s", t.Nelems, describe(t.Type))
	case *btf.Enum:
		var b strings.Builder
		fmt.Fprintf(&b, "enum%d{", t.Size*8)
		for _, v := range t.Values {
			fmt.Fprintf(&b, "%s=%d;", v.Name, v.Value)
		}
		return b.String() + "}"
	case *btf.Struct:
		var b strings.Builder
		fmt.Fprintf(&b, "struct%d{", t.Size)
		for _, m := range t.Members {
			fmt.Fprintf(&b, "%s@%d:%s;", m.Name, m.Offset.Bytes(), describe(m.Type))
		}
		return b.String() + "}"
	default:
		panic(fmt.Sprintf("vrouter: type %v in a table layout is not described", t))
	}
}
