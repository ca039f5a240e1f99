// SPDX-License-Identifier: Apache-2.0

package status

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// encapsulations are those that an agent may say it can do.
var encapsulations = []string{api.EncapsulationVXLAN, api.EncapsulationMPLSUDP, api.EncapsulationNone}

// Announced returns what a host said it has in its underlay; nil if it did not.
// It is no more than a host's object may hold, whatever the host says, and
// nothing that this controller does not know: that would keep the rest out.
func Announced(r *hoststream.Report) *api.Underlay {
	u := &api.Underlay{MTU: int(r.GetUnderlayMtu())}
	for _, e := range r.GetEncapsulations() {
		if slices.Contains(encapsulations, e) && !slices.Contains(u.Encapsulations, e) {
			u.Encapsulations = append(u.Encapsulations, e)
		}
	}
	room := map[bool]int{false: api.MaxTunnelAddresses, true: api.MaxTunnelAddresses} // by whether it is IPv6
	for _, raw := range r.GetTunnelAddresses() {
		a, ok := netip.AddrFromSlice(raw)
		if a = a.Unmap(); ok && room[a.Is6()] > 0 {
			room[a.Is6()]--
			u.TunnelAddresses = append(u.TunnelAddresses, a)
		}
	}
	if len(u.TunnelAddresses) == 0 {
		return nil
	}
	slices.SortFunc(u.TunnelAddresses, netip.Addr.Compare)
	return u
}

// same tells whether two say the same.
func same(a, b *api.Underlay) bool {
	return a != nil && b != nil && a.MTU == b.MTU && slices.Equal(a.TunnelAddresses, b.TunnelAddresses) &&
		slices.Equal(a.Encapsulations, b.Encapsulations)
}

// specOf is what the host's object says of it.
func specOf(h *api.Host) *api.Underlay {
	u := &api.Underlay{MTU: h.Spec.UnderlayMTU, Encapsulations: h.Spec.Encapsulations}
	for _, a := range h.Spec.TunnelAddresses {
		u.TunnelAddresses = append(u.TunnelAddresses, a.Unmap())
	}
	slices.SortFunc(u.TunnelAddresses, netip.Addr.Compare)
	return u
}

// Followed returns a host with the spec that its agent announces, or nil if the
// spec says so already, or something that the agent never announced: that was
// set by hand, and stays.
func Followed(h *api.Host, r *hoststream.Report) *api.Host {
	now := Announced(r)
	if now == nil || same(now, specOf(h)) || !same(h.Status.Announced, specOf(h)) {
		return nil
	}
	f := api.Clone(h)
	f.Spec.TunnelAddresses, f.Spec.UnderlayMTU = now.TunnelAddresses, now.MTU
	f.Spec.Encapsulations = now.Encapsulations
	return f
}

// announced is what the status says of a host's announcement. It lags behind
// while the spec has yet to follow: that it is the same is how the spec is
// known not to be set by hand.
func announced(h *api.Host, r *hoststream.Report) *api.Underlay {
	now := Announced(r)
	if now == nil || Followed(h, r) != nil {
		return h.Status.Announced
	}
	return now
}
