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

// specOf is what the host's object says of it.
func specOf(h *api.Host) *api.Underlay {
	u := &api.Underlay{MTU: h.Spec.UnderlayMTU, Encapsulations: h.Spec.Encapsulations}
	for _, a := range h.Spec.TunnelAddresses {
		u.TunnelAddresses = append(u.TunnelAddresses, a.Unmap())
	}
	slices.SortFunc(u.TunnelAddresses, netip.Addr.Compare)
	return u
}

// fields are some of a host's.
type fields struct{ addresses, mtu, encapsulations bool }

// behind are the fields of a host's spec that are to follow what its agent
// announces now: what the spec says is what was announced before. Anything else
// was set by hand and stays, and keeps no other field from following.
func behind(h *api.Host, now *api.Underlay) fields {
	was, spec := h.Status.Announced, specOf(h)
	if now == nil || was == nil {
		return fields{}
	}
	return fields{
		addresses:      slices.Equal(spec.TunnelAddresses, was.TunnelAddresses) && !slices.Equal(spec.TunnelAddresses, now.TunnelAddresses),
		mtu:            spec.MTU == was.MTU && spec.MTU != now.MTU,
		encapsulations: slices.Equal(spec.Encapsulations, was.Encapsulations) && !slices.Equal(spec.Encapsulations, now.Encapsulations),
	}
}

// Followed returns a host with the spec that its agent announces, or nil if no
// field is to follow.
func Followed(h *api.Host, r *hoststream.Report) *api.Host {
	now := Announced(r)
	follow := behind(h, now)
	if follow == (fields{}) {
		return nil
	}
	f := api.Clone(h)
	if follow.addresses {
		f.Spec.TunnelAddresses = now.TunnelAddresses
	}
	if follow.mtu {
		f.Spec.UnderlayMTU = now.MTU
	}
	if follow.encapsulations {
		f.Spec.Encapsulations = now.Encapsulations
	}
	return f
}

// announced is what the status says of a host's announcement. A field of it lags
// behind while the spec has yet to follow: that it is the same is how the spec is
// known not to be set by hand.
func announced(h *api.Host, r *hoststream.Report) *api.Underlay {
	was, now := h.Status.Announced, Announced(r)
	if now == nil {
		return was
	}
	lags := behind(h, now)
	if lags.addresses {
		now.TunnelAddresses = was.TunnelAddresses
	}
	if lags.mtu {
		now.MTU = was.MTU
	}
	if lags.encapsulations {
		now.Encapsulations = was.Encapsulations
	}
	return now
}
