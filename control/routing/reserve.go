// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"net/netip"

	"github.com/weft-network/weft/api"
)

// Reservation is an address that a host may give to a workload by itself while
// it has no controller. Everything else is ready for that day: the host has the
// network's VRF and may send into it, and the other hosts' routes to the address
// lead there.
type Reservation struct {
	Network   *Network
	Address   PortAddress
	MAC       api.MAC
	Releasing bool // not to be given away any more
}

// addReservations finds the addresses reserved for hosts. One on a missing host
// or in a network without VRF is none.
func (d *Derived) addReservations(s api.Snapshot) {
	for _, a := range api.ListOf[*api.Address](s, api.KindAddress) {
		r := a.Spec.Reservation
		if r == nil || !a.Spec.IP.IsValid() {
			continue
		}
		host, network := d.hosts[r.Host.UUID], d.networks[a.Meta.Parent.UUID]
		if _, err := r.MAC.Bytes(); host == nil || network == nil || err != nil {
			continue
		}
		address := network.address(api.RefTo(a), a.Spec.IP)
		host.Reserved = append(host.Reserved, &Reservation{Network: network, Address: address, MAC: r.MAC, Releasing: r.Releasing})
		network.Own = append(network.Own, Route{
			Prefix: hostPrefix(address.IP), Host: host.Ref, MAC: r.MAC, MTU: network.MTU, OriginKind: api.KindAddress,
			Origin: address.Ref, OriginNetwork: network.Ref, OriginVRF: network.VRF,
		})
	}
}

// address is one of the network's, with what its subnet says of it.
func (n *Network) address(ref api.Ref, ip netip.Addr) PortAddress {
	ip = ip.Unmap().WithZone("")
	address := PortAddress{Ref: ref, IP: ip, PrefixLength: ip.BitLen()}
	for _, sub := range n.Subnets {
		if sub.CIDR.Contains(ip) {
			address.PrefixLength, address.Gateway = sub.CIDR.Bits(), sub.Gateway
			break
		}
	}
	return address
}
