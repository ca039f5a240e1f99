// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// encapsulationsOf are the tunnels to a network's ports. A label has 20 bits and
// small ones are reserved, so not every VNI is one. To be without a tunnel is
// said elsewhere; where that is not to be had, the rest of the list counts.
func encapsulationsOf(n *api.Network) string {
	tunnels := slices.DeleteFunc(slices.Clone(n.Spec.Encapsulation), func(e string) bool { return e == api.EncapsulationNone })
	if _, ok := api.LabelOf(n.Spec.VNI); ok {
		return strings.Join(tunnels, " ")
	}
	others := slices.DeleteFunc(slices.Clone(tunnels), func(e string) bool { return e == api.EncapsulationMPLSUDP })
	if len(others) == 0 {
		others = tunnels // it stays the only one that is allowed
	}
	return strings.Join(others, " ")
}

// Labelled tells whether the network's hosts take packets that carry its VNI as
// a label: where its list or a gateway outside asks for it.
func (n *Network) Labelled() bool {
	if _, ok := api.LabelOf(n.VRF); !ok {
		return false
	}
	if slices.Contains(strings.Fields(n.Encapsulations), api.EncapsulationMPLSUDP) {
		return true
	}
	outside := func(r Route) bool { return r.Outside.Encapsulation == api.EncapsulationMPLSUDP }
	return slices.ContainsFunc(n.Routes, outside) || slices.ContainsFunc(n.Equal, outside)
}

// sameUnderlay tells that two hosts have the same underlay and can do the same.
func (h *Host) sameUnderlay(other *Host) bool {
	return h.UnderlayMTU == other.UnderlayMTU && slices.Equal(h.TunnelAddresses, other.TunnelAddresses) &&
		slices.Equal(h.Encapsulations, other.Encapsulations)
}

// SameEndpoint tells that others reach two hosts in the same way.
func (h *Host) SameEndpoint(other *Host) bool {
	return h == other || h.Ref == other.Ref && h.sameUnderlay(other)
}
