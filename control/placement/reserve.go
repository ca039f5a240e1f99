// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// ReservationKey is the key of the row of a reserved address.
func ReservationKey(address string) string { return "reservation/" + address }

func reservationRow(r *routing.Reservation, asked *policy.Port) Row {
	port := &hoststream.Port{}
	addPolicy(port, asked)
	return encode(ReservationKey(r.Address.Ref.UUID), &hoststream.Row{Body: &hoststream.Row_Reservation{Reservation: &hoststream.Reservation{
		Address: r.Address.Ref.UUID, Vrf: r.Network.VRF, NetworkName: r.Network.Ref.Name, Network: r.Network.Ref.UUID,
		Ip: &hoststream.PortAddress{
			Ip: r.Address.IP.AsSlice(), PrefixLength: uint32(r.Address.PrefixLength), Gateway: r.Address.Gateway.AsSlice(), Subnet: r.Address.Subnet,
		},
		Mac: macBytes(r.MAC), Mtu: uint32(r.Network.MTU), Releasing: r.Releasing,
		Identity: port.Identity, Rulesets: port.Rulesets,
	}}})
}

func reservationRows(h *routing.Host, of *policy.Host) (rows []Row) {
	for i, r := range h.Reserved {
		rows = append(rows, reservationRow(r, of.Reserved[i]))
	}
	return rows
}
