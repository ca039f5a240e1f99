// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/api/hoststream"
)

// Mapped is whom a floating address stands for.
type Mapped struct {
	Port     string // UUID; empty: it is no floating address
	VRF      uint32 // of the floating address's network; a route of another one is leaked
	Internal netip.Addr
	Alias    bool // the workload has the floating address itself
}

// mappedOf reads whom a route of a VRF leads to.
func mappedOf(m *hoststream.Mapped, to netip.Prefix, vrf uint32) (Mapped, error) {
	internal, ok := netip.AddrFromSlice(m.Internal)
	if !ok || m.Port == "" || internal.Is4() != to.Addr().Is4() || !to.IsSingleIP() {
		return Mapped{}, fmt.Errorf("route %v of VRF %d: floating address of port %q for %d bytes", to, vrf, m.Port, len(m.Internal))
	}
	return Mapped{m.Port, cmp.Or(m.Vrf, vrf), internal, m.Alias}, nil
}
