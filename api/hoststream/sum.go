// SPDX-License-Identifier: Apache-2.0

package hoststream

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// TableOf tells of which network (by VRF) a row is, by its key: that is the
// table of a TableSum. Rows of no network are in table 0.
func TableOf(key string) uint32 {
	class, rest, _ := strings.Cut(key, "/")
	switch class {
	case "route", "vrf", "tunnel-source":
		number, _, _ := strings.Cut(rest, "/")
		n, _ := strconv.ParseUint(number, 10, 32) // no number: as any other row
		return uint32(n)
	}
	return 0
}

// SumOf is what a row adds to the sum of its table. hash is that of its body.
func SumOf(key string, hash uint64) uint64 {
	buffer := make([]byte, 0, 128)
	buffer = append(append(buffer, key...), 0)
	return xxhash.Sum64(binary.BigEndian.AppendUint64(buffer, hash))
}

// Sums sums up rows by table, ordered as the first row of each.
func Sums(rows []*RowHash) []*TableSum {
	var sums []*TableSum
	of := map[uint32]*TableSum{}
	for _, r := range rows {
		table := TableOf(r.Key)
		s := of[table]
		if s == nil {
			s = &TableSum{Table: table}
			of[table] = s
			sums = append(sums, s)
		}
		s.Sum += SumOf(r.Key, r.Hash)
	}
	return sums
}
