// SPDX-License-Identifier: Apache-2.0

// Package agents runs many simulated agents against a real controller: real
// joins, mutual TLS and stream code; only the maps that a kernel would hold are
// a map in memory.
package agents

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unique"

	"github.com/cespare/xxhash/v2"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// ledger is the host end of one stream: it holds which rows it has by their
// hashes, refuses what a host refuses, and reports its ports as up.
type ledger struct {
	watch *watch // of all ledgers

	mu       sync.Mutex // guards everything that follows
	version  desired.Version
	rows     map[unique.Handle[string]]uint64 // hash of the body by key; all hosts share the keys
	inSync   bool                             // in the present stream
	opened   int                              // streams
	ack      *hoststream.Ack
	report   *hoststream.Report
	listener *host.Listener
}

func newLedger(w *watch) *ledger {
	return &ledger{watch: w, rows: map[unique.Handle[string]]uint64{}, report: &hoststream.Report{}}
}

// Open begins a stream.
func (l *ledger) Open(_ context.Context, agentVersion, kernel string) (*hoststream.Hello, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened++
	l.inSync, l.ack = false, nil
	h := &hoststream.Hello{
		Version:      &hoststream.Version{Epoch: l.version.Epoch, Revision: l.version.Revision},
		AgentVersion: agentVersion, Kernel: kernel,
	}
	for key, hash := range l.rows {
		h.Have = append(h.Have, &hoststream.RowHash{Key: key.Value(), Hash: hash})
	}
	return h, nil
}

// Apply takes a delta.
func (l *ledger) Apply(_ context.Context, d *hoststream.Delta) (*hoststream.Ack, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := desired.Version{Epoch: d.GetVersion().GetEpoch(), Revision: d.GetVersion().GetRevision()}
	if v.Epoch < l.version.Epoch || v.Epoch == l.version.Epoch && v.Revision < l.version.Revision {
		return nil, fmt.Errorf("take delta %d of version %v over %v: %w", d.Sequence, v, l.version, desired.ErrOlder)
	}
	l.version = v
	ports := false
	for _, r := range d.Put {
		l.rows[unique.Make(r.Key)] = xxhash.Sum64(r.Body)
		ports = ports || strings.HasPrefix(r.Key, "port/")
	}
	for _, key := range d.Delete {
		delete(l.rows, unique.Make(key))
		ports = ports || strings.HasPrefix(key, "port/")
	}
	if ports {
		l.describe()
	}
	l.ack = &hoststream.Ack{Sequence: d.Sequence, Version: d.Version}
	l.inSync = l.inSync || d.InSync
	l.watch.seen(d)
	return l.ack, nil
}

// describe makes the report anew: every port is up.
func (l *ledger) describe() {
	r := &hoststream.Report{Features: []string{"policy"}}
	for key := range l.rows {
		if uuid, ok := strings.CutPrefix(key.Value(), "port/"); ok {
			r.Ports = append(r.Ports, &hoststream.PortReport{Port: uuid, State: string(api.PortUp), Interface: "w" + uuid[:8]})
		}
	}
	slices.SortFunc(r.Ports, func(a, b *hoststream.PortReport) int { return strings.Compare(a.Port, b.Port) })
	l.report = r
	if l.listener != nil {
		select {
		case l.listener.Changed <- struct{}{}:
		default: // has not heard of the one before yet
		}
	}
}

// Listen registers the stream's writer.
func (l *ledger) Listen(context.Context) (*host.Listener, error) {
	x := &host.Listener{Changed: make(chan struct{}, 1)}
	x.Changed <- struct{}{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener = x
	return x, nil
}

// Leave ends the registration.
func (l *ledger) Leave(x *host.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == x {
		l.listener = nil
	}
}

// Latest returns the last acknowledgement and report.
func (l *ledger) Latest(context.Context) (*hoststream.Ack, *hoststream.Report, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ack, l.report, nil
}

// Stand returns the version of what the host has.
func (l *ledger) Stand(context.Context, host.Standing) (desired.Version, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.version, nil
}

// state returns how many streams were opened, and whether everything arrived
// in the last one.
func (l *ledger) state() (opened int, inSync bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opened, l.inSync
}

// hashes returns what the host has.
func (l *ledger) hashes() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]uint64, len(l.rows))
	for key, hash := range maps.All(l.rows) {
		all[key.Value()] = hash
	}
	return all
}
