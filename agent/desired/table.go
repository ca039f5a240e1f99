// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/weft-network/weft/api/hoststream"
)

// ErrOlder says that a delta is of a version before what the host has: its
// controller is behind, and another one should be asked.
var ErrOlder = errors.New("older than what this host has")

// Version orders deltas: first by epoch, then by revision.
type Version struct {
	Epoch    uint64
	Revision int64
}

// Before tells whether v is older than o.
func (v Version) Before(o Version) bool {
	return v.Epoch < o.Epoch || v.Epoch == o.Epoch && v.Revision < o.Revision
}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Revision) }

// Table is the desired rows with their encoding and version. It is a value of
// one goroutine.
type Table struct {
	Rows
	version Version
	bodies  map[string][]byte
	inSync  bool
	partial bool // the last delta is not all of its version
}

// New returns an empty table.
func New() *Table { return &Table{Rows: newRows(), bodies: map[string][]byte{}} }

// Version returns what the rows are of; zero for nothing.
func (t *Table) Version() Version { return t.version }

// InSync tells whether a controller has said, in this process's lifetime, that
// the rows are complete. Rows read from a file never are.
func (t *Table) InSync() bool { return t.inSync }

// Partial tells whether the rows are on their way to a version: some are of it
// already, and others are not.
func (t *Table) Partial() bool { return t.partial }

// Len returns the number of rows.
func (t *Table) Len() int { return len(t.bodies) }

// Apply takes a delta whole or not at all. A delta of an older version is
// ErrOlder, one that changes a row into what the controller does not say ErrUnlike.
func (t *Table) Apply(d *hoststream.Delta) error {
	v := Version{d.GetVersion().GetEpoch(), d.GetVersion().GetRevision()}
	if v.Before(t.version) {
		return fmt.Errorf("apply delta %d of version %v over %v: %w", d.Sequence, v, t.version, ErrOlder)
	}
	changed, err := t.changed(d)
	if err != nil {
		return err
	}
	defer func() { t.fresh = nil }() // from here on they are seen
	for _, r := range slices.Concat(d.Put, changed) {
		t.bodies[r.Key] = r.Body
		t.put(r.Key, r.Body)
	}
	for _, k := range d.Delete {
		delete(t.bodies, k)
		t.remove(k)
	}
	t.version = v
	t.inSync, t.partial = t.inSync || d.InSync, !d.InSync
	return nil
}

// Hashes lists what the host has, ordered by key, for a Hello.
func (t *Table) Hashes() []*hoststream.RowHash {
	hashes := make([]*hoststream.RowHash, 0, len(t.bodies))
	for k, body := range t.bodies {
		hashes = append(hashes, &hoststream.RowHash{Key: k, Hash: xxhash.Sum64(body)})
	}
	slices.SortFunc(hashes, func(a, b *hoststream.RowHash) int { return strings.Compare(a.Key, b.Key) })
	return hashes
}

// Keys returns the keys of all rows, ordered.
func (t *Table) Keys() []string {
	keys := make([]string, 0, len(t.bodies))
	for k := range t.bodies {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// FindPort finds a port by UUID or fully qualified name.
func (t *Table) FindPort(ref string) (Port, bool) {
	if p, ok := t.Ports[ref]; ok {
		return p, true
	}
	for _, p := range t.Ports {
		if p.Name == ref {
			return p, true
		}
	}
	return Port{}, false
}
