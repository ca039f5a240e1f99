// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// maxConnections of a port are taken along; of more those used last.
const maxConnections = 1 << 16

// columns are what a host tells of a connection, in terms of the port: nothing
// of it is a number of the host.
var columns = []string{"PROTOCOL", "LOCAL", "REMOTE", "STATE", "IDLE", "AGE", "SENT-PACKETS", "SENT-BYTES", "HEARD-PACKETS", "HEARD-BYTES", "MAPPING", "ITSELF", "MEMBER"}

// leastColumns are what hosts tell that know no mappings.
const leastColumns = 10

// rowOf is a connection as it is sent.
func rowOf(c *vrouter.MovedConnection) []string {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return []string{
		number(uint64(c.Protocol)), c.Local.String(), c.Remote.String(), number(uint64(c.State)), c.Idle.String(), c.Age.String(),
		number(c.Sent.Packets), number(c.Sent.Bytes), number(c.Heard.Packets), number(c.Heard.Bytes),
		number(c.Mapping), number(uint64(c.Itself)), // the number is the same on every host
		hex.EncodeToString(c.Member[:]), // so is the name of who serves it
	}
}

// parse reads what another host sent.
func parse(row []string) (c vrouter.MovedConnection, err error) {
	if len(row) < leastColumns { // a later release may say more
		return c, fmt.Errorf("read connection: %d cells, want %d", len(row), leastColumns)
	}
	var failed error
	number := func(text string, bits int) uint64 {
		n, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			failed = err
		}
		return n
	}
	at := func(text string) netip.AddrPort {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			failed = err
		}
		return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
	}
	since := func(text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			failed = err
		}
		return max(0, d)
	}
	c.Protocol, c.Local, c.Remote = uint8(number(row[0], 8)), at(row[1]), at(row[2])
	c.State, c.Idle, c.Age = vrouter.ConnectionState(number(row[3], 8)), since(row[4]), since(row[5])
	c.Sent = vrouter.ConnectionCount{Packets: number(row[6], 64), Bytes: number(row[7], 64)}
	c.Heard = vrouter.ConnectionCount{Packets: number(row[8], 64), Bytes: number(row[9], 64)}
	if len(row) >= len(columns) {
		c.Mapping, c.Itself = number(row[10], 64), uint16(number(row[11], 16))
		member, err := hex.DecodeString(row[12])
		if err != nil || len(member) != len(c.Member) {
			failed = fmt.Errorf("member %q is no MAC", row[12])
		}
		copy(c.Member[:], member)
	}
	if failed == nil && !moves(&c) {
		failed = fmt.Errorf("connections in state %d do not move", c.State)
	}
	if failed != nil {
		return c, fmt.Errorf("read connection %q: %w", row, failed)
	}
	return c, nil
}

// lastUsed are those connections that are taken along, and how many are not. A
// connection that several hosts tell of, or one of a port that was there twice, is
// what was seen of it last: the port took along what was seen before.
func lastUsed(all []vrouter.MovedConnection) (kept []vrouter.MovedConnection, leftOut int) {
	slices.SortStableFunc(all, func(a, b vrouter.MovedConnection) int { return cmp.Compare(a.Idle, b.Idle) })
	known := make(map[vrouter.ConnectionKey]bool, len(all))
	all = slices.DeleteFunc(all, func(c vrouter.MovedConnection) bool {
		key := c.ConnectionKey
		key.Ifindex = 0
		was := known[key]
		known[key] = true
		return was
	})
	kept = all[:min(len(all), maxConnections)]
	return kept, len(all) - len(kept)
}

// moves tells whether a connection goes along: not what is over, nor what the
// host itself began with the workload, which the next host does for itself.
func moves(c *vrouter.MovedConnection) bool {
	return !c.State.Over() && c.State&vrouter.ConnectionUnasked == 0
}

func tableOf(all []vrouter.MovedConnection) api.Table {
	t := api.Table{Columns: columns}
	for i := range all {
		t.Rows = append(t.Rows, rowOf(&all[i]))
	}
	return t
}
