// SPDX-License-Identifier: Apache-2.0

package api

// MaxHostReserve bounds the addresses that a network claims beforehand for each
// host: the largest number of workloads that start on one host during an outage
// that anybody should plan for.
const MaxHostReserve = 256

// AddressReservation claims an address for a host beforehand: while no
// controller can be reached, the host gives it to a new workload by itself. It
// ends when a port gets the address.
type AddressReservation struct {
	Host Ref `json:"host" doc:"Host that may give the address away."`
	// MAC is shared by the addresses, one of each family, that one workload gets.
	MAC MAC `json:"mac,omitempty" doc:"Ethernet address of the workload that gets it; the same for one address of each family, which go together. The port that is made for it needs it too."`
	// Releasing comes before the deletion: the host may be out of reach and give
	// the address away until it knows.
	Releasing bool `json:"releasing,omitempty" doc:"The host is to give it away no more; it is deleted once the host has acknowledged that."`
}

// TakenAddress says where a host without a controller put a reserved address.
type TakenAddress struct {
	Port string `json:"port" doc:"UUID of the port that is to be made."`
	Name string `json:"name,omitempty" doc:"Name that whoever plugged called it by."`
	MAC  MAC    `json:"mac,omitempty" doc:"Its Ethernet address."`
}

// check finds what is wrong with the reservation of an address.
func (r *AddressReservation) check(a *Address, p *Problems) {
	if r == nil {
		return
	}
	if !a.Spec.Port.IsZero() {
		p.Addf("spec.reservation", "port %s has the address: an address is a port's or reserved for a host", a.Spec.Port)
	}
	if r.Host.IsZero() {
		p.Addf("spec.reservation.host", "is required")
	}
	if _, err := r.MAC.Bytes(); err != nil {
		p.Addf("spec.reservation.mac", "%v", err)
	}
}

// ReservedFor is the host that the address is reserved for; zero for none.
func (a *Address) ReservedFor() Ref {
	if a.Spec.Reservation == nil {
		return Ref{}
	}
	return a.Spec.Reservation.Host
}
