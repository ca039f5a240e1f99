// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter/rules"
)

// Reservation is an address that this host may give to a workload by itself
// while it has no controller.
type Reservation struct {
	ID          string // UUID of the address
	VRF         uint32
	Network     string // UUID
	NetworkName string // fully qualified
	Address     Address
	MAC         [6]byte // those with the same one go to one workload
	MTU         int     // as Port.MTU
	Releasing   bool    // not to be given away any more
	Identity    rules.Identity
	Rulesets    []PortRuleset
}

const reservationPrefix = "reservation/"

// ReservationRow is the key of a reserved address's row.
func ReservationRow(address string) string { return reservationPrefix + address }

// removeReservation forgets a reserved address by its key, and tells whether the key is of one.
func (r *Rows) removeReservation(key string) bool {
	id, is := strings.CutPrefix(key, reservationPrefix)
	if is {
		delete(r.Reservations, id)
	}
	return is
}

func reservation(m *hoststream.Reservation) (Reservation, error) {
	r := Reservation{ID: m.Address, VRF: m.Vrf, Network: m.Network, NetworkName: m.NetworkName, MTU: int(m.Mtu), Releasing: m.Releasing}
	var err error
	if r.MAC, err = mac(m.Mac); err != nil {
		return r, fmt.Errorf("reserved address %s: %w", m.Address, err)
	}
	ip, ok := netip.AddrFromSlice(m.Ip.GetIp())
	if !ok || int(m.Ip.GetPrefixLength()) > ip.BitLen() {
		return r, fmt.Errorf("reserved address %s: address of %d bytes with prefix length %d", m.Address, len(m.Ip.GetIp()), m.Ip.GetPrefixLength())
	}
	r.Identity, r.Rulesets = rules.Identity(m.Identity), portRulesets(m.Rulesets)
	gateway, _ := netip.AddrFromSlice(m.Ip.GetGateway()) // none is allowed
	r.Address = Address{netip.PrefixFrom(ip, int(m.Ip.GetPrefixLength())), gateway, m.Ip.GetSubnet()}
	return r, nil
}
