// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// maxFlows bounds an answer; what was left out is said.
const maxFlows = 5000

// end is one end of a conversation, at a port of this host.
type end struct {
	key vrouter.ConnectionKey
	vrouter.Connection
}

// Flows answers with the conversations as they are now, the latest used first;
// to ask keeps their packets counted for a while.
func (r *Recorder) Flows(ctx context.Context, query string) (api.Table, error) {
	q, err := api.ParseRecordQuestion(query)
	if err != nil {
		return api.Table{}, err
	}
	r.mu.Lock()
	r.counted = time.Now().Add(watchFor)
	r.mu.Unlock()
	r.hurry()
	var ends []end
	err = r.path.Connections(func(k vrouter.ConnectionKey, c vrouter.Connection) { ends = here(ends, k, c) })
	if err != nil {
		return api.Table{}, err
	}
	devices, err := r.options.Interfaces()
	if err != nil {
		return api.Table{}, err
	}
	known := endsByKey(ends)
	slices.SortFunc(ends, func(a, b end) int { return int(a.Idle - b.Idle) })
	var all []api.Record
	left := uint64(0)
	now := time.Now()
	for part := range slices.Chunk(ends, batch) {
		err := look(ctx, r.loop, func(d directory) {
			for _, e := range part {
				f, told := d.flow(e, now, known)
				if !told || q.Since > 0 && e.unasked() {
					continue
				}
				f.Host, f.Interface = r.options.Host, devices[e.key.Ifindex]
				if !q.Matches(&f) {
					continue
				}
				if len(all) == maxFlows {
					left++
					continue
				}
				all = append(all, f)
			}
		})
		if err != nil {
			return api.Table{}, err
		}
	}
	if q.Since > 0 {
		err := look(ctx, r.loop, func(d directory) {
			for _, f := range r.pastFlows(d, q, now) {
				f.Host = r.options.Host
				all = append(all, f)
			}
		})
		if err != nil {
			return api.Table{}, err
		}
	}
	if left > 0 {
		all = append(all, api.Record{Time: now, Record: api.RecordLost, Host: r.options.Host, Lost: left})
	}
	return api.RecordsTable(all)
}

// here adds an end to others, unless its port is here no more.
func here(ends []end, k vrouter.ConnectionKey, c vrouter.Connection) []end {
	if c.Former {
		return ends
	}
	return append(ends, end{k, c})
}

// finder finds an end by its key.
type finder func(vrouter.ConnectionKey) (end, bool)

func endsByKey(ends []end) finder {
	known := make(map[vrouter.ConnectionKey]end, len(ends))
	for _, e := range ends {
		known[e.key] = e
	}
	return func(k vrouter.ConnectionKey) (end, bool) { e, there := known[k]; return e, there }
}

// flow is a conversation as one of its ends knows it, unless the other end is
// at a port of this host, too, and tells of it. What that one sent is then what
// this one heard, for it is counted there alone.
func (d directory) flow(e end, now time.Time, known finder) (f api.Record, told bool) {
	local := d.at(e.key.Ifindex, e.key.Local)
	vrf := d.ports[e.key.Ifindex].VRF
	remote := d.in(vrf, e.key.Remote)
	if other, there := d.other(e.key, remote, known); there {
		if tells(other, e) {
			return f, false
		}
		e.Heard = other.Sent
	}
	start, last := now.Add(-e.Age), now.Add(-e.Idle)
	f = api.Record{
		Time: now, Record: api.RecordFlow, VRF: vrf, Protocol: protocolWord(e.key.Protocol), State: e.State.String(), Start: &start, End: &last,
		Direction: egress, Source: local, Destination: remote,
	}
	d.rule(&f, e.Rule)
	sent, heard := api.Traffic(e.Sent), api.Traffic(e.Heard)
	if e.heardFirst() {
		f.Direction, f.Source, f.Destination = ingress, remote, local
		sent, heard = heard, sent
	}
	if sent.Packets+heard.Packets > 0 {
		f.Sent, f.Answered = &sent, &heard
	}
	return f, true
}

// heardFirst tells whether the other end began.
func (e end) heardFirst() bool { return e.State&vrouter.ConnectionHeardFirst != 0 }

// other finds the other end of a conversation, if it is at a port of this host.
func (d directory) other(key vrouter.ConnectionKey, remote api.Party, known finder) (end, bool) {
	at, here := d.interfaces[remote.ID]
	if !here {
		return end{}, false
	}
	return known(vrouter.ConnectionKey{Ifindex: at, Protocol: key.Protocol, Local: key.Remote, Remote: key.Local})
}

// tells tells whether the first of the two ends of one conversation is the one
// that is told: who began, or of equals the one with the smaller interface.
func tells(a, b end) bool {
	if a.heardFirst() != b.heardFirst() {
		return b.heardFirst()
	}
	return a.key.Ifindex < b.key.Ifindex
}
