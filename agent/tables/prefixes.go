// SPDX-License-Identifier: Apache-2.0

package tables

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weft-network/weft/vrouter"
)

// portPrefixes are the rows of the table of port addresses that are ranges.
func (r Reader) portPrefixes(w words) ([][]string, error) {
	all, err := r.Kernel.PortPrefixes.All()
	if err != nil {
		return nil, err
	}
	keys := slices.SortedFunc(maps.Keys(all), func(a, b vrouter.PortPrefix) int {
		return cmp.Or(cmp.Compare(a.Ifindex, b.Ifindex), slices.Compare(a.MAC[:], b.MAC[:]), a.Prefix.Compare(b.Prefix))
	})
	var rows [][]string
	for _, k := range keys {
		only := ""
		if all[k].Behind {
			only = "while routed here"
		}
		rows = append(rows, []string{w.name(k.Ifindex), w.port(k.Ifindex), k.Prefix.String(), k.MAC.String(), only})
	}
	return rows, nil
}
