// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/weft-network/weft/api"
)

// dropGroups are the columns that each word of --by keeps.
var dropGroups = map[string][]string{
	"host": {"HOST"}, "port": {"HOST", "PORT"}, "reason": {"REASON", "STAGE", "TEXT"}, "stage": {"STAGE"},
}

// columns are those that the options ask for.
func (o dropsOptions) columns() []string {
	if o.by == "" {
		return dropColumns
	}
	return append([]string{"PACKETS", "BYTES"}, dropGroups[o.by]...)
}

// grouped sums rows up by what the options say, and keeps the first of the
// largest sums.
func (o dropsOptions) grouped(rows [][]string) [][]string {
	if o.by == "" {
		return rows
	}
	type sum struct {
		words          []string
		packets, bytes uint64
	}
	var sums []*sum
	for _, r := range rows {
		var words []string
		for _, name := range dropGroups[o.by] {
			words = append(words, r[slices.Index(dropColumns, name)])
		}
		n := slices.IndexFunc(sums, func(s *sum) bool { return slices.Equal(s.words, words) })
		if n < 0 {
			n = len(sums)
			sums = append(sums, &sum{words: words})
		}
		packets, _ := strconv.ParseUint(r[dropPackets], 10, 64) // not a number: an agent that counts otherwise
		bytes, _ := strconv.ParseUint(r[dropPackets+1], 10, 64)
		sums[n].packets += packets
		sums[n].bytes += bytes
	}
	slices.SortStableFunc(sums, func(a, b *sum) int { return cmp.Compare(b.packets, a.packets) })
	if o.top > 0 && len(sums) > o.top {
		sums = sums[:o.top]
	}
	out := [][]string{}
	for _, s := range sums {
		out = append(out, append([]string{strconv.FormatUint(s.packets, 10), strconv.FormatUint(s.bytes, 10)}, s.words...))
	}
	return out
}

// table is the rows as the options ask for them.
func (o dropsOptions) table(rows [][]string) api.Table {
	return api.Table{Columns: o.columns(), Rows: o.grouped(rows)}
}
