// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// maxConnections bounds the table that is printed; a host may have a million.
// What was left out is said.
const maxConnections = 10_000

type connectionRow struct {
	key vrouter.ConnectionKey
	vrouter.Connection
}

// connections lists the ends of connections, the latest used first.
func (r Reader) connections(_ context.Context, w words) (api.Table, error) {
	t := api.Table{Columns: []string{"INTERFACE", "PORT", "PROTOCOL", "LOCAL", "REMOTE", "STATE", "TABLE", "IDLE", "AGE"}}
	var rows []connectionRow
	err := r.Statistics.Connections(func(k vrouter.ConnectionKey, c vrouter.Connection) {
		rows = append(rows, connectionRow{k, c})
	})
	slices.SortFunc(rows, func(a, b connectionRow) int {
		return cmp.Or(cmp.Compare(a.Idle, b.Idle), cmp.Compare(a.key.Ifindex, b.key.Ifindex), cmp.Compare(a.key.Protocol, b.key.Protocol),
			a.key.Local.Compare(b.key.Local), a.key.Remote.Compare(b.key.Remote))
	})
	for i, c := range rows {
		if i == maxConnections {
			t.Rows = append(t.Rows, []string{"...", "and " + number(uint64(len(rows)-i)) + " more", "", "", "", "", "", "", ""})
			break
		}
		table := "confirmed"
		if c.HalfOpen {
			table = "half-open"
		}
		t.Rows = append(t.Rows, []string{
			w.name(c.key.Ifindex), w.port(c.key.Ifindex), protocol(c.key.Protocol), end(c.key.Local), end(c.key.Remote),
			c.State.String(), table, c.Idle.Round(time.Second).String(), c.Age.Round(time.Second).String(),
		})
	}
	return t, err
}

// end leaves a port out that is none.
func end(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// protocol is the usual name of an IP protocol, or its number.
func protocol(p uint8) string {
	name, known := map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 50: "esp", 51: "ah", 58: "icmpv6", 132: "sctp", 136: "udplite"}[p]
	if known {
		return name
	}
	return number(uint32(p))
}
