// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
)

const (
	// maxUnacked deltas may be on their way to one host. It keeps the pipe full
	// while the host programs the previous ones, and bounds what a slow host
	// costs; what it then misses is one difference, not a queue.
	maxUnacked = 4
	// maxDeltaBytes bounds a delta, well below gRPC's default limit of 4 MiB
	// for a message received.
	maxDeltaBytes = 1 << 20
	// rowOverheadBytes is more than the framing of a row in a delta.
	rowOverheadBytes = 16
	// maxRowErrors and maxErrorBytes bound what a host can make us remember.
	maxRowErrors  = 10_000
	maxErrorBytes = 1024
)

// progress is what one host has, was sent and has acknowledged: the whole
// protocol of a session, without socket, clock, lock or goroutine.
type progress struct {
	host string          // UUID
	plan *placement.Plan // that the host is on its way to

	sent     map[string]uint64 // hash of each row the host has or was sent
	inFlight map[string]uint64 // sequence of the last unacknowledged delta that carries a key
	unacked  []delta           // in order
	sequence uint64            // of the last delta

	target   placement.Version
	targeted bool
	puts     []placement.Row // still to be sent to reach target
	deletes  []string        // after them
	inSync   bool            // the host was told once that it has everything
	announce bool            // a delta must be sent even if it is empty

	settled  placement.Version // everything of this version is acknowledged
	errors   map[string]string // by key; rows that are not in the kernel
	rowsSent int
}

// delta is a delta that was sent and not acknowledged.
type delta struct {
	sequence uint64
	keys     []string
}

// newProgress begins with what the host says it has.
func newProgress(host string, have []*hoststream.RowHash) *progress {
	p := &progress{
		host:     host,
		sent:     make(map[string]uint64, len(have)),
		inFlight: map[string]uint64{},
		errors:   map[string]string{},
		announce: true,
	}
	for _, h := range have {
		p.sent[h.Key] = h.Hash
	}
	return p
}

// room tells whether another delta may be sent now.
func (p *progress) room() bool { return len(p.unacked) < maxUnacked }

// aim makes a plan the one the host must have.
func (p *progress) aim(plan *placement.Plan) {
	if p.plan != nil && plan.Same(p.host, p.plan) {
		p.target = plan.Version
		p.settle()
	} else {
		p.retarget(plan.Version, plan.For(p.host))
	}
	p.plan = plan
}

// retarget replaces what the host must have. What was planned for an earlier
// target and not sent is forgotten: only the difference to what was sent counts.
func (p *progress) retarget(v placement.Version, rows []placement.Row) {
	p.target, p.targeted = v, true
	p.puts, p.deletes = nil, nil
	matched := 0
	for _, r := range rows {
		hash, ok := p.sent[r.Key]
		if ok {
			matched++
		}
		if !ok || hash != r.Hash {
			p.puts = append(p.puts, r)
		}
	}
	if matched < len(p.sent) {
		wanted := make(map[string]bool, len(rows))
		for _, r := range rows {
			wanted[r.Key] = true
		}
		for key := range p.sent {
			if !wanted[key] {
				p.deletes = append(p.deletes, key)
			}
		}
		slices.SortFunc(p.deletes, compareDeletes)
	}
	p.settle()
}

// deleteOrder is the reverse of the order of puts: what refers goes before
// what is referred to. Keys of unknown kinds go first.
var deleteOrder = []string{"route/", "port/", "name/", "subnet/", "vrf/", "tunnel-source/", "tunnel-endpoint/"}

func compareDeletes(a, b string) int {
	rank := func(key string) int {
		return slices.IndexFunc(deleteOrder, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

// next returns the next delta to send, or nil if there is none or no room.
func (p *progress) next() *hoststream.Delta {
	if !p.targeted || !p.room() || len(p.puts) == 0 && len(p.deletes) == 0 && !p.announce {
		return nil
	}
	p.sequence++
	d := &hoststream.Delta{
		Version:  &hoststream.Version{Epoch: p.target.Epoch, Revision: p.target.Revision},
		Sequence: p.sequence,
	}
	var keys []string
	size := 0
	for len(p.puts) > 0 && fits(&size, len(p.puts[0].Key)+len(p.puts[0].Body)) {
		r := p.puts[0]
		p.puts = p.puts[1:]
		d.Put = append(d.Put, &hoststream.EncodedRow{Key: r.Key, Body: r.Body})
		p.sent[r.Key] = r.Hash
		keys = append(keys, r.Key)
	}
	for len(p.puts) == 0 && len(p.deletes) > 0 && fits(&size, len(p.deletes[0])) {
		key := p.deletes[0]
		p.deletes = p.deletes[1:]
		d.Delete = append(d.Delete, key)
		delete(p.sent, key)
		keys = append(keys, key)
	}
	for _, key := range keys {
		p.inFlight[key] = p.sequence
	}
	p.rowsSent += len(keys)
	if len(p.puts) == 0 && len(p.deletes) == 0 {
		d.InSync, p.inSync, p.announce = true, true, false
	}
	p.unacked = append(p.unacked, delta{p.sequence, keys})
	return d
}

// fits adds a row to the size of a delta if there is room; the first always fits.
func fits(size *int, row int) bool {
	if *size > 0 && *size+row+rowOverheadBytes > maxDeltaBytes {
		return false
	}
	*size += row + rowOverheadBytes
	return true
}

// ack takes an acknowledgement: everything up to its sequence is done, and its
// errors are all rows that are not in the kernel now.
func (p *progress) ack(a *hoststream.Ack) error {
	if a.Sequence > p.sequence {
		return fmt.Errorf("take ack: the host acknowledges delta %d, the last one sent is %d", a.Sequence, p.sequence)
	}
	for len(p.unacked) > 0 && p.unacked[0].sequence <= a.Sequence {
		for _, key := range p.unacked[0].keys {
			if p.inFlight[key] <= a.Sequence {
				delete(p.inFlight, key)
			}
		}
		p.unacked = p.unacked[1:]
	}
	clear(p.errors)
	for _, e := range a.Errors[:min(len(a.Errors), maxRowErrors)] {
		p.errors[e.Key] = strings.ToValidUTF8(e.Error[:min(len(e.Error), maxErrorBytes)], "")
	}
	p.settle()
	return nil
}

// settle notes that everything of the target is acknowledged, if it is.
func (p *progress) settle() {
	if p.targeted && !p.announce && len(p.puts) == 0 && len(p.deletes) == 0 && len(p.unacked) == 0 {
		p.settled = p.target
	}
}

// row tells how far a wanted row has come.
func (p *progress) row(r placement.Row) RowState {
	hash, sent := p.sent[r.Key]
	_, waiting := p.inFlight[r.Key]
	sent = sent && hash == r.Hash
	return RowState{Sent: sent, Acked: sent && !waiting, Error: p.errors[r.Key]}
}
