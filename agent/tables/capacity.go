// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// capacity lists how full the kernel's tables are.
func (r Reader) capacity(context.Context, words) (api.Table, error) {
	t := api.Table{Columns: []string{"FEATURE", "TABLE", "USED", "SIZE", "USE", "MEMORY", "FULL"}}
	all, err := r.Statistics.Capacity()
	slices.SortStableFunc(all, func(a, b vrouter.Usage) int { return cmp.Compare(a.Feature, b.Feature) })
	for _, u := range all {
		memory := "-"
		if u.Bytes != 0 {
			memory = fmt.Sprintf("%.1f MB", float64(u.Bytes)/1e6)
		}
		used, use, full := number(u.Used), fmt.Sprintf("%.1f%%", 100*float64(u.Used)/float64(u.Size)), yes(u.Full())
		if u.Fixed {
			used, use, full = "-", "-", "never"
		}
		t.Rows = append(t.Rows, []string{u.Feature, u.Table, used, number(u.Size), use, memory, full})
	}
	return t, err
}
