// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// pairsOf are a port's allowed address pairs. One that names no MAC is of the
// port's; equal ones are one.
func pairsOf(p *api.Port) []Pair {
	var pairs []Pair
	for _, a := range p.Spec.AllowedPairs {
		mac := cmp.Or(a.MAC, p.Spec.MAC)
		if _, err := mac.Bytes(); err != nil || !a.Range.IsValid() || a.Range.Addr().Is4In6() {
			continue // the store admits none
		}
		pairs = append(pairs, Pair{Range: netip.PrefixFrom(a.Range.Addr().WithZone(""), a.Range.Bits()).Masked(), MAC: mac, Standby: a.Mode != "active-active"})
	}
	slices.SortFunc(pairs, func(a, b Pair) int {
		return cmp.Or(a.Range.Compare(b.Range), cmp.Compare(a.MAC, b.MAC), compareBool(a.Standby, b.Standby))
	})
	// Of both modes for one range the one that is shared: the vRouter has one.
	return slices.CompactFunc(pairs, func(a, b Pair) bool { return a.Range == b.Range && a.MAC == b.MAC })
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
