// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

func (r Reader) drops(ctx context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"REASON", "STAGE", "VERDICT", "INTERFACE", "PORT", "PACKETS", "BYTES", "TEXT"}}
	all, err := r.Statistics.Drops()
	if err != nil {
		return t, err
	}
	missing := map[int]string{}
	if slices.ContainsFunc(all, leftOut) {
		if missing, err = r.missingRoutes(ctx); err != nil {
			return t, err
		}
	}
	for _, d := range all {
		text := d.Text
		if why := missing[d.Ifindex]; why != "" && leftOut(d) {
			text = why + "; " + text // first, for terminals cut what is long
		}
		if d.Ifindex == vrouter.AnyInterface {
			text = "on interfaces for whose counts there is no room in table drops; " + text
		}
		t.Rows = append(t.Rows, []string{d.Name, d.Stage, d.Verdict, w.name(d.Ifindex), w.port(d.Ifindex), number(d.Packets), number(d.Bytes), text})
	}
	return t, nil
}

// leftOut tells whether frames ended for their route found no room.
func leftOut(d vrouter.Drop) bool { return slices.Contains(vrouter.LeftOut, d.Name) }

// missingRoutes says, by interface, that routes of the network of its port are
// not in the kernel, and why the first of them is not.
func (r Reader) missingRoutes(ctx context.Context) (missing map[int]string, err error) {
	missing = map[int]string{}
	err = r.Loop.Do(ctx, func(c *host.Core) {
		rows, problems := c.Rows(), c.Problems()
		left := map[uint32][]string{}
		for key := range rows.Routes {
			if row := desired.RouteRow(key); problems[row] != "" {
				left[key.VRF] = append(left[key.VRF], row)
			}
		}
		said := map[uint32]string{}
		for _, vrf := range slices.Sorted(maps.Keys(left)) {
			first := slices.Min(left[vrf])
			said[vrf] = fmt.Sprintf("of the routes of network %s %d are not here, the first by name for: %s", rows.VRFs[vrf].Name, len(left[vrf]), problems[first])
		}
		for id, p := range c.Plugs() {
			if port, bound := rows.Ports[id]; bound && p.Failure == "" {
				missing[p.Ifindex] = said[port.VRF]
			}
		}
	})
	return missing, err
}
