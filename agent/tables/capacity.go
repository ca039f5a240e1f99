// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"context"
	"fmt"

	"github.com/weft-network/weft/api"
)

// capacity lists how full the kernel's tables are.
func (r Reader) capacity(context.Context, words) (api.Table, error) {
	t := api.Table{Columns: []string{"TABLE", "USED", "SIZE", "USE", "MEMORY", "FULL"}}
	all, err := r.Statistics.Capacity()
	for _, u := range all {
		memory := "-"
		if u.Bytes != 0 {
			memory = fmt.Sprintf("%.1f MB", float64(u.Bytes)/1e6)
		}
		use := fmt.Sprintf("%.1f%%", 100*float64(u.Used)/float64(u.Size))
		t.Rows = append(t.Rows, []string{u.Table, number(u.Used), number(u.Size), use, memory, yes(u.Full())})
	}
	return t, err
}
