// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"

	"github.com/weft-network/weft/api"
)

// runSenders finds the hosts that may send into each network: those with a
// binding of a port in it or with an address reserved there, or in a network
// that imports it. An inactive
// binding counts: it is how the destination of a move gets the right to send
// before the workload runs there. A binding whose port, network or host is
// missing does not.
func (u *update) runSenders() {
	for uuid := range u.admits {
		n := u.own(uuid)
		if n == nil {
			continue
		}
		n.Senders = n.members
		if importers := u.importers[uuid]; len(importers) > 0 {
			all := slices.Clone(n.members)
			for _, importer := range importers {
				all = append(all, u.networks[importer].members...)
			}
			slices.SortFunc(all, compareRefs)
			n.Senders = slices.CompactFunc(all, func(a, b api.Ref) bool { return a.UUID == b.UUID })
		}
	}
}
