// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// Reservation is an address that a host may give to a workload by itself while
// it has no controller. Everything else is ready for that day: the host has the
// network's VRF and may send into it, and the other hosts' routes to the address
// lead there.
type Reservation struct {
	Network   *Identity
	Host      api.Ref
	Address   PortAddress
	MAC       api.MAC
	Releasing bool // not to be given away any more
}

// addReservations finds the addresses reserved for hosts, and makes these
// members. One on a missing host is none.
func (n *Network) addReservations(addresses []*api.Address, hosts map[string]*Host) {
	for _, a := range addresses {
		r := a.Spec.Reservation
		if r == nil || !a.Spec.IP.IsValid() {
			continue
		}
		host := hosts[r.Host.UUID]
		if _, err := r.MAC.Bytes(); host == nil || err != nil {
			continue
		}
		address := n.address(api.RefTo(a), a.Spec.IP)
		n.reserved = append(n.reserved, &Reservation{Network: n.Identity, Host: host.Ref, Address: address, MAC: r.MAC, Releasing: r.Releasing})
		n.members = append(n.members, host.Ref)
		n.Own = append(n.Own, Route{
			Prefix: hostPrefix(address.IP), Host: host.Ref, MAC: r.MAC, MTU: n.MTU, OriginKind: api.KindAddress,
			Origin: address.Ref, OriginNetwork: n.Ref, OriginVRF: n.VRF,
		})
	}
	slices.SortFunc(n.members, compareRefs)
	n.members = slices.CompactFunc(n.members, func(a, b api.Ref) bool { return a.UUID == b.UUID })
}

// Equal tells that two reservations read the same.
func (r *Reservation) Equal(s *Reservation) bool {
	return *r.Network == *s.Network && r.Host == s.Host && r.Address == s.Address && r.MAC == s.MAC && r.Releasing == s.Releasing
}

func compareReservations(a, b *Reservation) int { return compareRefs(a.Address.Ref, b.Address.Ref) }

// reserve notes the hosts whose reserved addresses in a network are others now.
func (u *update) reserve(old, now *Network) {
	if slices.EqualFunc(old.reserved, now.reserved, (*Reservation).Equal) {
		return
	}
	for _, r := range slices.Concat(old.reserved, now.reserved) {
		u.reserves[r.Host.UUID] = true
	}
}

// runReserved gives the hosts their reserved addresses.
func (u *update) runReserved() {
	for uuid := range u.reserves {
		h := u.hosts[uuid]
		if h == nil {
			continue
		}
		own := *h
		own.Reserved = nil
		for _, r := range h.Reserved {
			if !u.dirty[r.Network.Ref.UUID] {
				own.Reserved = append(own.Reserved, r)
			}
		}
		for network := range u.dirty {
			n := u.networks[network]
			if n == nil {
				continue
			}
			for _, r := range n.reserved {
				if r.Host.UUID == uuid {
					own.Reserved = append(own.Reserved, r)
				}
			}
		}
		slices.SortFunc(own.Reserved, compareReservations)
		u.hosts[uuid] = &own
	}
}

// address is one of the network's, with what its subnet says of it.
func (n *Network) address(ref api.Ref, ip netip.Addr) PortAddress {
	ip = ip.Unmap().WithZone("")
	address := PortAddress{Ref: ref, IP: ip, PrefixLength: ip.BitLen()}
	for _, sub := range n.Subnets {
		if sub.CIDR.Contains(ip) {
			address.PrefixLength, address.Gateway, address.Subnet = sub.CIDR.Bits(), sub.Gateway, sub.Ref.UUID
			break
		}
	}
	return address
}
