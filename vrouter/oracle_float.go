// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

// toFloat brings a frame to the workload behind a floating address.
func (o *Oracle) toFloat(r refusal, route Route, number uint64) Outcome {
	if r.labelled {
		return dropped(r.f.frame, "no-mapping")
	}
	m, there := o.Mappings[number]
	if r.key == nil && there && m.Ifindex == r.ifindex && !o.Ports[m.Ifindex].Frames {
		return o.toItself(r, m, number)
	}
	p, reason := o.inward(r, o.plain(r), number)
	if reason != "" {
		return dropped(r.f.frame, reason)
	}
	return o.onward(r, route, p)
}

// toItself is what becomes of a frame to a floating address of its own port.
func (o *Oracle) toItself(r refusal, m Mapping, number uint64) Outcome {
	switch {
	case r.f.source != m.Internal.Addr():
		return dropped(r.f.frame, "hairpin-source")
	case r.f.icmp && r.f.isError():
		return dropped(r.f.frame, "no-mapping")
	}
	return o.outwardBy(r, number)
}

// outwardByAlias sends a frame from an address that is a floating one.
func (o *Oracle) outwardByAlias(r refusal) (outcome Outcome, done bool) {
	if !o.Ports[r.ifindex].Aliases || !r.f.floats() {
		return outcome, false
	}
	if number := o.Floats[FloatKey{r.ifindex, r.f.source}].Alias; number != 0 {
		return o.outwardBy(r, number), true
	}
	return outcome, false
}

// outwardUnrouted sends a frame to where its own network has no route, through the
// floating address of which the longest route is.
func (o *Oracle) outwardUnrouted(r refusal) (outcome Outcome, done bool) {
	if r.key != nil || r.f.ethDestination != GatewayMAC || !r.f.floats() {
		return outcome, false
	}
	var best uint64
	longest := -1
	for _, number := range o.Floats[FloatKey{r.ifindex, r.f.source}].Mappings {
		m, there := o.Mappings[number]
		prefix, route, found := o.lookupPrefix(m.VRF, r.f.destination)
		if there && found && !route.gap && prefix.Bits() > longest {
			best, longest = number, prefix.Bits()
		}
	}
	if longest < 0 {
		return o.outwardByShare(r)
	}
	return o.outwardBy(r, best), true
}

// outwardBy sends a frame through a mapping that its conversation need not have yet.
func (o *Oracle) outwardBy(r refusal, number uint64) Outcome {
	m, there := o.Mappings[number]
	if !there {
		return dropped(r.f.frame, "no-mapping")
	}
	p := o.plain(r)
	if p.known {
		p.sends, p.sendsAs = number, p.sentPorts.destination
	}
	p.outward, p.maps, p.vrfs[0], p.external[0] = true, true, m.VRF, netip.AddrPortFrom(m.External.Addr(), p.sentPorts.source)
	p.heard = r.f.become(r.f.translated(translation{m.External.Addr(), r.f.destination, p.sentPorts.source, p.sentPorts.destination}))
	return o.leaves(r, m, p)
}

// floats tells whether a frame may leave through a floating address that its
// conversation does not have yet.
func (f parsed) floats() bool {
	if f.icmp && f.isError() || f.ethDestination[0]&1 != 0 {
		return false
	}
	for _, a := range []netip.Addr{f.source, f.destination} {
		if a.IsMulticast() || a.IsLinkLocalUnicast() || a == broadcast4 || a.IsUnspecified() {
			return false
		}
	}
	return true
}
