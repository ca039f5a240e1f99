// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
)

// Usage is how full a table is.
type Usage struct {
	Table string // as doc/packet-path.md names it
	Used  uint32 // entries
	Size  uint32 // entries at most
	Bytes uint64 // of kernel memory now, 0 if this kernel does not tell or the table takes none while empty
}

// Full tells whether the table takes no more. A table that evicts is never full.
func (u Usage) Full() bool { return u.Used >= u.Size && !slices.Contains(evicting, u.Table) }

var evicting = []string{halfOpenTable, "fragments", "host_flows"}

// Capacity returns the use of every table that can fill up, by name. It walks
// the tables: a million entries take about a second.
func (d *Datapath) Capacity() ([]Usage, error) {
	var all []Usage
	for _, name := range slices.Sorted(maps.Keys(d.maps)) {
		m := d.maps[name]
		switch m.Type() {
		case ebpf.Array, ebpf.PerCPUArray: // all of its entries are always there
			continue
		case ebpf.RingBuf: // it has bytes and no entries
			continue
		}
		used, err := countEntries(m)
		if err != nil {
			return nil, fmt.Errorf("count entries of table %s: %w", name, err)
		}
		u := Usage{Table: name, Used: used, Size: m.MaxEntries()}
		info, err := m.Info()
		if err != nil {
			return nil, fmt.Errorf("read memory of table %s: %w", name, err)
		}
		u.Bytes, _ = info.Memlock()
		all = append(all, u)
	}
	return all, nil
}

// countEntries ends also while entries come and go, when a walk may begin anew.
func countEntries(m *ebpf.Map) (uint32, error) {
	var key any // nothing: the first
	for n := range m.MaxEntries() {
		next, err := m.NextKeyBytes(key)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return 0, err
		}
		if next == nil {
			return n, nil
		}
		key = next
	}
	return m.MaxEntries(), nil
}
