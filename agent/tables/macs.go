// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// maxLearned bounds the learned MACs that are printed. What was left out is said.
const maxLearned = 10_000

type learnedRow struct {
	key vrouter.MACKey
	vrouter.LearnedMAC
	idle time.Duration
}

// macs lists where the MACs of networks that bridge are: those of ports, then
// what was learned from frames.
func (r Reader) macs(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"VRF", "MAC", "NEXT-HOP", "PORT", "KIND", "IDLE", "MOVES"}}
	hops, err := r.Kernel.NextHops.All()
	if err != nil {
		return t, err
	}
	known, err := r.Kernel.MACs.All()
	if err != nil {
		return t, err
	}
	for _, k := range slices.SortedFunc(maps.Keys(known), datapath.CompareMACs) {
		next := hops[known[k]]
		port := "-"
		if next.Kind == vrouter.NextHopPort {
			port = w.port(next.Ifindex)
		}
		t.Rows = append(t.Rows, []string{number(k.VRF), k.MAC.String(), hop(next, w), port, "port", "-", "-"})
	}
	var rows []learnedRow
	err = r.Statistics.LearnedMACs(func(k vrouter.MACKey, v vrouter.LearnedMAC, idle time.Duration) {
		rows = append(rows, learnedRow{k, v, idle})
	})
	slices.SortFunc(rows, func(a, b learnedRow) int { return datapath.CompareMACs(a.key, b.key) })
	for i, v := range rows {
		if i == maxLearned {
			t.Rows = append(t.Rows, []string{"...", "and " + number(uint64(len(rows)-i)) + " more", "", "", "", "", ""})
			break
		}
		place, port := fmt.Sprintf("tunnel %v vni %d", v.Remote, v.VNI), "-"
		if v.Ifindex != 0 {
			place, port = "port "+w.name(v.Ifindex), w.port(v.Ifindex)
		}
		t.Rows = append(t.Rows, []string{number(v.key.VRF), v.key.MAC.String(), place, port, "learned", v.idle.Round(time.Second).String(), number(v.Moves)})
	}
	return t, err
}

// receivers lists who gets copies of what the networks flood.
func (r Reader) receivers(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"VRF", "RECEIVER", "PORT", "LEFT-OUT"}}
	hops, err := r.Kernel.NextHops.All()
	if err != nil {
		return t, err
	}
	lists, err := r.Kernel.Floods.All()
	if err != nil {
		return t, err
	}
	all, err := r.Kernel.Receivers.All()
	keys := slices.SortedFunc(maps.Keys(all), func(a, b vrouter.Receiver) int {
		return cmp.Or(cmp.Compare(a.VRF, b.VRF), cmp.Compare(a.Place, b.Place))
	})
	for _, k := range keys {
		next := hops[all[k]]
		port := "-"
		if next.Kind == vrouter.NextHopPort {
			port = w.port(next.Ifindex)
		}
		t.Rows = append(t.Rows, []string{number(k.VRF), hop(next, w), port, number(lists[k.VRF].LeftOut)})
	}
	return t, err
}
