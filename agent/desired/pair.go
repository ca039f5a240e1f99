// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/api/hoststream"
)

// Pair is a range of addresses and the MAC that a workload may send from them with.
type Pair struct {
	Range netip.Prefix
	MAC   [6]byte
}

func pairs(m *hoststream.Port) ([]Pair, error) {
	var all []Pair
	for _, raw := range m.Pairs {
		p, ok := prefix(raw.Range.GetAddress(), raw.Range.GetLength())
		if !ok {
			return nil, fmt.Errorf("port %s: allowed pair of %d bytes with prefix length %d is not a prefix", m.PortName, len(raw.Range.GetAddress()), raw.Range.GetLength())
		}
		with, err := mac(raw.Mac)
		if err != nil {
			return nil, fmt.Errorf("port %s: allowed pair %v: %w", m.PortName, p, err)
		}
		all = append(all, Pair{p, with})
	}
	return all, nil
}
