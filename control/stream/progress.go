// SPDX-License-Identifier: Apache-2.0

package stream

import (
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
	// maxTogether deltas may belong together: an agent keeps them back until it
	// has the last. Beyond, the next says that it is to apply what it has.
	maxTogether = 128
	// maxDeltaBytes bounds a delta. All hosts may come with nothing at once;
	// maxUnacked of these are what each then costs.
	maxDeltaBytes = 256 << 10
	// rowOverheadBytes is more than the framing of a row in a delta.
	rowOverheadBytes = 16
	// maxRowErrors and maxErrorBytes bound what a host can make us remember.
	maxRowErrors  = 10_000
	maxErrorBytes = 1024
)

// progress is what one host has, was sent and has acknowledged: the whole
// protocol of a session, without socket, clock, lock or goroutine. Of networks
// it remembers which table the host has, which all hosts share; rows one by one
// only while the host is between two tables.
type progress struct {
	host    string // UUID
	changes bool   // it takes rows by what is other in them

	own      map[string]uint64   // hash of each row that is of no network
	networks map[uint32]*network // what the host has of each network, by VRF
	unacked  []delta             // in order
	sequence uint64              // of the last delta
	kept     uint64              // those unacknowledged up to this one the host keeps back

	target   placement.Version
	targeted bool
	view     *placement.View // what the host must have at target
	ownAs    *placement.View // whose own rows the host has; nil: has others
	todo     []uint32        // networks of which the host has something else
	inSync   bool            // the host was told once that it has everything
	announce bool            // a delta must be sent even if it is empty

	settled  placement.Version // everything of this version is acknowledged
	errors   map[string]string // by key; rows that are not in the kernel
	rowsSent int
}

// network is what the host has, or was sent, of one network.
type network [placement.Parts]part

// part is a part of a network's rows: those of a table, nil for none, and some
// that are to be deleted; or those listed.
type part struct {
	table  *placement.Table
	extra  []string
	listed map[string]uint64 // hash by key; nil: not listed
}

// is tells that the part is as in a table.
func (p part) is(t *placement.Table) bool {
	return p.listed == nil && len(p.extra) == 0 && p.table == t
}

func (p part) empty() bool { return p.table == nil && len(p.listed) == 0 && len(p.extra) == 0 }

// list returns the part's rows one by one.
func (p part) list(of placement.Part, host string) map[string]uint64 {
	if p.listed != nil {
		return p.listed
	}
	listed := map[string]uint64{}
	for r := range p.table.Rows(of, host) {
		listed[r.Key] = r.Hash
	}
	for _, key := range p.extra {
		listed[key] = 0 // of whatever it was: it is put again if it is wanted again
	}
	return listed
}

// delta is a delta that was sent and not acknowledged.
type delta struct {
	sequence uint64
	keys     []string
}

// newProgress begins with what the host says it has.
func newProgress(host string, have []*hoststream.RowHash) *progress {
	p := &progress{host: host, own: map[string]uint64{}, networks: map[uint32]*network{}, errors: map[string]string{}, announce: true}
	p.list(have)
	return p
}

// list notes rows that the host has.
func (p *progress) list(have []*hoststream.RowHash) {
	for _, h := range have {
		vrf, of, ok := placement.PartOf(h.Key)
		if !ok {
			p.own[h.Key] = h.Hash
			continue
		}
		n := p.network(vrf)
		if n[of].listed == nil {
			n[of].listed = map[string]uint64{}
		}
		n[of].listed[h.Key] = h.Hash
	}
}

// resumeProgress begins with what the host says its tables sum up to. It has
// the tables of a view where the sums are the same, and must be asked for the
// rows of the others.
func resumeProgress(host string, view *placement.View, tables []*hoststream.TableSum) (p *progress, unknown []uint32) {
	p = newProgress(host, nil)
	for _, has := range tables {
		var t *placement.Table
		if view != nil { // else the host was deleted just now
			t = view.Table(has.Table)
		}
		switch {
		case view != nil && has.Table == 0 && has.Sum == view.OwnSum():
			p.ownAs = view
			for r := range view.Own {
				p.own[r.Key] = r.Hash
			}
		case t != nil && has.Sum == t.Sum(host):
			p.networks[t.VRF] = &network{{table: t}, {table: t}}
		default:
			unknown = append(unknown, has.Table)
		}
	}
	return p, unknown
}

// network returns what the host has of a network.
func (p *progress) network(vrf uint32) *network {
	n := p.networks[vrf]
	if n == nil {
		n = &network{}
		p.networks[vrf] = n
	}
	return n
}

// room tells whether another delta may be sent now.
func (p *progress) room() bool {
	under := 0
	for i := len(p.unacked) - 1; i >= 0 && p.unacked[i].sequence > p.kept; i-- {
		under++
	}
	return under < maxUnacked && len(p.unacked) < maxTogether+maxUnacked
}

// aim makes a plan the one the host must have.
func (p *progress) aim(plan *placement.Plan) {
	if view := plan.View(p.host); view != nil { // else its session is about to end
		p.retarget(plan.Version, view)
	}
}

// retarget replaces what the host must have. What was planned for an earlier
// target and not sent is forgotten: only the difference to what was sent counts.
func (p *progress) retarget(v placement.Version, view *placement.View) {
	p.target = v
	if p.targeted && view == p.view {
		p.settle()
		return
	}
	p.targeted, p.view = true, view
	if p.ownAs != nil && view.SameOwn(p.ownAs) {
		p.ownAs = view
	} else {
		p.ownAs = nil
	}
	p.todo = p.todo[:0]
	for _, t := range view.Tables() {
		if n := p.networks[t.VRF]; n == nil || !n[placement.Sources].is(t) || !n[placement.Routes].is(t) {
			p.todo = append(p.todo, t.VRF)
		}
	}
	for vrf := range p.networks {
		if view.Table(vrf) == nil {
			p.todo = append(p.todo, vrf)
		}
	}
	slices.Sort(p.todo)
	p.settle()
}

// done tells whether the host was sent everything of the target.
func (p *progress) done() bool { return p.targeted && p.ownAs != nil && len(p.todo) == 0 }

// next returns the next delta to send, or nil if there is none or no room.
func (p *progress) next() *hoststream.Delta {
	if !p.targeted || !p.room() || p.done() && !p.announce {
		return nil
	}
	w := writing{progress: p, delta: &hoststream.Delta{
		Version:  &hoststream.Version{Epoch: p.target.Epoch, Revision: p.target.Revision},
		Sequence: p.sequence + 1,
	}}
	all := w.everything()
	if all && len(w.keys) == 0 && !p.announce { // it changed back before it was sent
		p.settle()
		return nil
	}
	if all {
		w.delta.InSync, p.inSync, p.announce = true, true, false
	}
	w.delta.More = !all && len(p.unacked) < maxTogether
	p.sequence++
	p.rowsSent += len(w.keys)
	p.unacked = append(p.unacked, delta{p.sequence, w.keys})
	return w.delta
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
	if max(a.Sequence, a.Kept) > p.sequence {
		return fmt.Errorf("take ack: the host acknowledges delta %d, the last one sent is %d", max(a.Sequence, a.Kept), p.sequence)
	}
	p.kept = max(p.kept, a.Kept)
	for len(p.unacked) > 0 && p.unacked[0].sequence <= a.Sequence {
		p.unacked = slices.Delete(p.unacked, 0, 1)
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
	if p.done() && !p.announce && len(p.unacked) == 0 {
		p.settled = p.target
	}
}

// reached is the newest version of which everything is acknowledged: that of a
// plan if what the host has acknowledged is all the same under it.
func (p *progress) reached(plan *placement.Plan) placement.Version {
	if plan != nil && p.settled == p.target && p.targeted && p.view == plan.View(p.host) {
		return plan.Version
	}
	return p.settled
}

// rows tells how far wanted rows have come.
func (p *progress) rows(rows []placement.Row) []RowState {
	waiting := map[string]bool{}
	for _, d := range p.unacked {
		for _, key := range d.keys {
			waiting[key] = true
		}
	}
	type place struct {
		vrf uint32
		of  placement.Part
	}
	lists := map[place]map[string]uint64{}
	states := make([]RowState, len(rows))
	for i, r := range rows {
		has := p.own
		if vrf, of, ok := placement.PartOf(r.Key); ok {
			at := place{vrf, of}
			if n := p.networks[vrf]; n != nil && lists[at] == nil {
				lists[at] = n[of].list(of, p.host)
			}
			has = lists[at]
		}
		hash, sent := has[r.Key]
		sent = sent && hash == r.Hash
		states[i] = RowState{Sent: sent, Acked: sent && !waiting[r.Key], Error: p.errors[r.Key]}
	}
	return states
}
