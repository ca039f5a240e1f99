// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"context"
	"fmt"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// limits lists what ports may send (egress) and get (ingress), and what came of it.
func (r Reader) limits(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"INTERFACE", "PORT", "DIRECTION", "RATE", "PACKET-RATE", "DSCP", "PACKETS", "BYTES", "LIMITED", "LIMITED-BYTES", "MARKED"}}
	all, err := r.Statistics.LimitUses()
	for _, u := range all {
		direction, dscp := "egress", "-"
		if u.In {
			direction = "ingress"
		}
		if u.Mark {
			dscp = fmt.Sprint(u.DSCP)
		}
		t.Rows = append(t.Rows, []string{
			w.name(u.Ifindex), w.port(u.Ifindex), direction, rate(u.Rate, u.Burst, " kbit/s", " kbit"), packetRate(u.Limit), dscp,
			number(u.Packets), number(u.Bytes), number(u.Limited), number(u.LimitedBytes), number(u.Marked),
		})
	}
	return t, err
}

// rate says a limit in words, with its burst if one was asked for.
func rate(limit, burst uint32, unit, burstUnit string) string {
	switch {
	case limit == 0:
		return "-"
	case burst == 0:
		return fmt.Sprintf("%d%s", limit, unit)
	}
	return fmt.Sprintf("%d%s, burst %d%s", limit, unit, burst, burstUnit)
}

func packetRate(l vrouter.Limit) string {
	return rate(l.PacketRate, l.PacketBurst, ",000/s", ",000")
}
