// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"slices"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/routing"
)

// ReservationKey is the key of the row of a reserved address.
func ReservationKey(address string) string { return "reservation/" + address }

func reservationRow(r *routing.Reservation) Row {
	return encode(ReservationKey(r.Address.Ref.UUID), &hoststream.Row{Body: &hoststream.Row_Reservation{Reservation: &hoststream.Reservation{
		Address: r.Address.Ref.UUID, Vrf: r.Network.VRF, NetworkName: r.Network.Ref.Name, Network: r.Network.Ref.UUID,
		Ip: &hoststream.PortAddress{
			Ip: r.Address.IP.AsSlice(), PrefixLength: uint32(r.Address.PrefixLength), Gateway: r.Address.Gateway.AsSlice(),
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

// sameReservations tells that two derived hosts have the same reserved addresses.
func sameReservations(a, b *routing.Host) bool {
	return slices.EqualFunc(a.Reserved, b.Reserved, func(a, b *routing.Reservation) bool {
		return a.Network.Ref == b.Network.Ref && a.Network.VRF == b.Network.VRF && a.Network.MTU == b.Network.MTU &&
			a.Address == b.Address && a.MAC == b.MAC && a.Releasing == b.Releasing
	})
}
