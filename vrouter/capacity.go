// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
)

// ErrFull says that a table takes no further entry.
var ErrFull = errors.New("the table is full")

// Usage is how full a table is.
type Usage struct {
	Table   string // as doc/packet-path.md names it
	Feature string // what it is for, see [Feature]
	Used    uint32 // entries
	Size    uint32 // entries at most
	Bytes   uint64 // of kernel memory now, 0 if this kernel does not tell or the table takes none while empty
	Fixed   bool   // its entries are always all there: it cannot fill up
}

// Full tells whether the table takes no more. A table that evicts is never full.
func (u Usage) Full() bool { return u.Used >= u.Size && u.fills() }

// NearlyFull tells whether at least this many of a hundred entries are used.
func (u Usage) NearlyFull(percent uint64) bool {
	return uint64(u.Used)*100 >= uint64(u.Size)*percent && u.fills()
}

func (u Usage) fills() bool { return !u.Fixed && !slices.Contains(evicting, u.Table) }

var evicting = []string{halfOpenTable, restTable, "fragments", "host_flows", "affinities"} // or, of half_open, leaves it to the next

// purposes are what tables are for, by which their memory is summed up.
var purposes = map[string]string{
	"ports": "ports", "port_addresses": "ports", "port_prefixes4": "ports", "port_prefixes6": "ports", "aliases": "ports", "sub_ports": "ports",
	"host_routes": "routes", "routes4": "routes", "routes6": "routes", "next_hops": "routes", "groups": "routes",
	"macs": "layer-2", "learned_macs": "layer-2", "mac_counts": "layer-2", "floods": "layer-2", "receivers": "layer-2", "flood_times": "layer-2",
	"limits": "ports", "limit_states": "ports",
	"mirrors": "mirrors", "mirror_counts": "mirrors", "mirror_targets": "mirrors", "mirror_target_counts": "mirrors",
	"listeners": "load-balancing", "choices": "load-balancing", "choice_members": "load-balancing", "pool_members": "load-balancing", "mappings": "load-balancing", "affinities": "load-balancing", "floats": "load-balancing",
	"vnis": "networks", "tunnel_sources": "networks",
	"connections": "connections", halfOpenTable: "connections", restTable: "connections", "half_open_counts": "connections", "half_open_returned": "connections", "half_open_share": "connections", "fragments": "connections", "generations": "connections",
	"services": "services", "host_flows": "services", "requests": "services", "request_times": "services", "service_times": "services",
	"port_policies": "policy", "rulesets": "policy", "remote_classes": "policy", "remote_ranges4": "policy", "remote_ranges6": "policy", "service_classes": "policy",
	"service_pages": "policy", "verdicts": "policy", "managed4": "policy", "managed6": "policy", "rule_hits": "policy", "places": "policy", "place_counts": "policy", "places_returned": "policy",
	eventControl: "records", "events": "records", "event_times": "records", "event_counts": "records", "log_times": "records",
	"drops": "counters", "counters": "counters", "error_times": "counters", "answer_times": "counters",
}

// Feature is what a table is for: ports, routes, networks, connections,
// services, layer-2, load-balancing, mirrors, policy, counters, records, or other.
func Feature(table string) string {
	return cmp.Or(purposes[table], "other")
}

// Capacity returns the use of every table, by name. It walks the tables: a
// million entries take about a second.
func (d *Datapath) Capacity() ([]Usage, error) {
	var all []Usage
	for _, name := range slices.Sorted(maps.Keys(d.maps)) {
		m := d.maps[name]
		u := Usage{Table: name, Feature: Feature(name), Size: m.MaxEntries()}
		var err error
		switch m.Type() {
		case ebpf.Array, ebpf.PerCPUArray, ebpf.ProgramArray:
			u.Fixed = true
		case ebpf.RingBuf: // it has bytes and no entries
			u.Fixed = true
		default:
			u.Used, u.Size, err = d.use(name)
		}
		if err != nil {
			return nil, fmt.Errorf("count entries of table %s: %w", name, err)
		}
		info, err := m.Info()
		if err != nil {
			return nil, fmt.Errorf("read memory of table %s: %w", name, err)
		}
		u.Bytes, _ = info.Memlock()
		all = append(all, u)
	}
	return all, nil
}

// use counts what of a table can fill it. Gaps take no room from routes.
func (d *Datapath) use(name string) (used, size uint32, err error) {
	m := d.maps[name]
	if t := d.tries[name]; t != nil {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		return t.routes, t.size, nil
	}
	used, err = countEntries(m)
	return used, m.MaxEntries(), err
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
