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

// Flows answers with the conversations as they are now, the latest used first.
func (r *Recorder) Flows(ctx context.Context, query string) (api.Table, error) {
	q, err := api.ParseRecordQuestion(query)
	if err != nil {
		return api.Table{}, err
	}
	var ends []end
	err = r.path.Connections(func(k vrouter.ConnectionKey, c vrouter.Connection) { ends = append(ends, end{k, c}) })
	if err != nil {
		return api.Table{}, err
	}
	devices, err := r.options.Interfaces()
	if err != nil {
		return api.Table{}, err
	}
	known := make(map[vrouter.ConnectionKey]vrouter.ConnectionState, len(ends))
	for _, e := range ends {
		known[e.key] = e.State
	}
	slices.SortFunc(ends, func(a, b end) int { return int(a.Idle - b.Idle) })
	var all []api.Record
	left := uint64(0)
	now := time.Now()
	for part := range slices.Chunk(ends, batch) {
		err := look(ctx, r.loop, func(d directory) {
			for _, e := range part {
				f, other := d.flow(e, now)
				if other != 0 && d.toldByOther(e, other, known) {
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
	if left > 0 {
		all = append(all, api.Record{Time: now, Record: api.RecordLost, Host: r.options.Host, Lost: left})
	}
	return api.RecordsTable(all)
}

// flow is a conversation as one of its ends knows it. It returns the interface
// of the other end, too, if that is a port of this host.
func (d directory) flow(e end, now time.Time) (f api.Record, other int) {
	local := d.at(e.key.Ifindex, e.key.Local)
	vrf := d.ports[e.key.Ifindex].VRF
	remote := d.in(vrf, e.key.Remote)
	start, last := now.Add(-e.Age), now.Add(-e.Idle)
	f = api.Record{
		Time: now, Record: api.RecordFlow, VRF: vrf, Protocol: protocolWord(e.key.Protocol), State: e.State.String(), Start: &start, End: &last,
		Direction: egress, Source: local, Destination: remote,
	}
	if e.heardFirst() {
		f.Direction, f.Source, f.Destination = ingress, remote, local
	}
	return f, d.interfaceOf(remote.ID)
}

// heardFirst tells whether the other end began, as far as the entry tells.
func (e end) heardFirst() bool { return e.State&vrouter.ConnectionSent == 0 }

func (d directory) interfaceOf(port string) int {
	if port == "" {
		return 0
	}
	return d.interfaces[port]
}

// toldByOther tells whether the other end of a conversation between two ports
// of this host is the one that tells of it: who began, or of equals the one
// with the smaller interface.
func (d directory) toldByOther(e end, other int, known map[vrouter.ConnectionKey]vrouter.ConnectionState) bool {
	state, there := known[vrouter.ConnectionKey{Ifindex: other, Protocol: e.key.Protocol, Local: e.key.Remote, Remote: e.key.Local}]
	if !there {
		return false
	}
	mine, others := e.heardFirst(), end{Connection: vrouter.Connection{State: state}}.heardFirst()
	if mine != others {
		return mine
	}
	return other < e.key.Ifindex
}
