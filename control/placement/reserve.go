// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

// ReservationKey is the key of the row of a reserved address.
func ReservationKey(address string) string { return "reservation/" + address }

func reservationRow(r *routing.Reservation) Row {
	return encode(ReservationKey(r.Address.Ref.UUID), &hoststream.Row{Body: &hoststream.Row_Reservation{Reservation: &hoststream.Reservation{
		Address: r.Address.Ref.UUID, Vrf: r.Network.VRF, NetworkName: r.Network.Ref.Name, Network: r.Network.Ref.UUID,
		Ip: &hoststream.PortAddress{
			Ip: r.Address.IP.AsSlice(), PrefixLength: uint32(r.Address.PrefixLength), Gateway: r.Address.Gateway.AsSlice(), Subnet: r.Address.Subnet,
		},
		Mac: macBytes(r.MAC), Mtu: uint32(r.Network.MTU), Releasing: r.Releasing,
	}}})
}

func reservationRows(h *routing.Host) (rows []Row) {
	for _, r := range h.Reserved {
		rows = append(rows, reservationRow(r))
	}
	return rows
}
