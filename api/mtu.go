// SPDX-License-Identifier: Apache-2.0

package api

import "net/netip"

// The ways in which packets travel between hosts: the words of a network's
// encapsulation.
const (
	EncapsulationVXLAN   = "vxlan"
	EncapsulationMPLSUDP = "mplsudp"
	EncapsulationMPLSGRE = "mplsgre"
	EncapsulationNone    = "none"
)

// MinimumMTU is what every link that carries IPv6 must take (RFC 8200, section 5).
const MinimumMTU = 1280

// TunnelCost is how many bytes an encapsulation adds to an IP packet, over an
// underlay of one family.
func TunnelCost(encapsulation string, six bool) int {
	const udp, vxlan, ethernet, label, gre = 8, 8, 14, 4, 4
	ip := 20
	if six {
		ip = 40
	}
	switch encapsulation {
	case EncapsulationNone:
		return 0
	case EncapsulationMPLSUDP: // the packet follows the label, without an Ethernet header
		return ip + udp + label
	case EncapsulationMPLSGRE:
		return ip + gre + label
	}
	return ip + udp + vxlan + ethernet
}

// WorkloadMTU is the largest packet of a workload that every tunnel of a host
// carries, and what of its underlay's MTU the tunnel takes. A host with both
// families tunnels over IPv6 to hosts that have nothing else, so it pays for
// the larger header. 0 is not known.
func WorkloadMTU(underlay int, encapsulation string, tunnelAddresses []netip.Addr) (mtu, cost int) {
	if underlay == 0 {
		return 0, 0
	}
	six := false
	for _, a := range tunnelAddresses {
		six = six || a.Is6() && !a.Is4In6()
	}
	cost = TunnelCost(encapsulation, six)
	return underlay - cost, cost
}
