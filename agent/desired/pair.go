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
	// Standby: an address in it moves to whoever speaks for it last.
	Standby bool
}

// Spoken is the greatest number under which the rows say that a port has spoken.
func (r *Rows) Spoken(port string) (greatest uint64) {
	for _, route := range r.Routes {
		if route.Port == port {
			greatest = max(greatest, route.Announced)
		}
	}
	return greatest
}

// announced are the addresses that a port asked for and has.
func announced(m *hoststream.Port) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, raw := range m.Announced {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return nil, fmt.Errorf("port %s: announced address of %d bytes", m.PortName, len(raw))
		}
		all = append(all, a)
	}
	return all, nil
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
		all = append(all, Pair{p, with, raw.Standby})
	}
	return all, nil
}
