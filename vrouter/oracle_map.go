// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

// mapped finds the mapping that a frame from a tunnel is for.
func (o *Oracle) mappedFromTunnel(r refusal) (key ListenerKey, number uint64, ok bool) {
	if r.f.ethDestination[0] != memberMAC {
		return key, 0, false
	}
	key, known := o.listenerOf(r)
	m, there := o.PoolMembers[PoolMemberKey{key, r.f.ethDestination}]
	return key, m.Mapping, known && there && m.Mapping != 0
}

// inwardFromTunnel brings such a frame to its workload.
func (o *Oracle) inwardFromTunnel(r refusal, key ListenerKey, number uint64) Outcome {
	p, reason := o.inward(r, o.plain(r), number)
	if reason != "" {
		return dropped(r.f.frame, reason)
	}
	member := o.PoolMembers[PoolMemberKey{key, r.f.ethDestination}]
	return o.onward(r, Route{NextHop: member.NextHop}, p)
}

// inward translates a frame to what the workload behind a mapping is to see, also one
// that has left through another mapping.
func (o *Oracle) inward(r refusal, p passage, number uint64) (passage, string) {
	m, there := o.Mappings[number]
	if !there || o.Ports[m.Ifindex].Frames {
		return p, "no-mapping"
	}
	f := p.heard
	s, isError := f.subject()
	isError = isError && !p.known
	floats := m.Protocol == 0
	own := r.key == nil && r.ifindex == m.Ifindex
	hairpin := own && !floats
	if floats {
		m, p.to = m.of(f.protocol, p.heardPorts.destination), m.Ifindex
		if isError {
			m = m.of(s.protocol, s.local.Port())
		}
	}
	p.maps, p.vrfs[1], p.external[1] = true, m.VRF, m.External
	p.self = own
	remote := f.source
	switch {
	case hairpin && f.source != m.Internal.Addr(), !hairpin && f.source == hairpinRemote(f.source):
		return p, "hairpin-source"
	case hairpin:
		remote = hairpinRemote(f.source)
	}
	p.mapping = number
	if isError {
		return o.inwardError(p, m, s, remote, hairpin)
	}
	if !p.known {
		return inwardUnnoted(p, m, floats)
	}
	port, reason := o.candidate(m, number, f, remote, p.heardPorts)
	if reason != "" {
		return p, reason
	}
	p.itself = p.heardPorts.source
	p.heardPorts = wirePorts{port, m.Internal.Port()}
	p.heard = f.become(f.translated(translation{remote, m.Internal.Addr(), port, m.Internal.Port()}))
	return p, ""
}

// inwardUnnoted translates what belongs to no connection.
func inwardUnnoted(p passage, m Mapping, floats bool) (passage, string) {
	f := p.heard
	switch {
	case !floats, f.later:
		return p, "mapping-fragment"
	case f.icmp && f.isError():
		return p, "no-mapping"
	}
	p.mapping = 0
	p.heard = f.become(f.translated(translation{f.source, m.Internal.Addr(), 0, 0}))
	return p, ""
}

// of is the mapping of a floating address for a protocol and a port of the workload.
func (m Mapping) of(protocol byte, port uint16) Mapping {
	m.Protocol, m.External, m.Internal = protocol, netip.AddrPortFrom(m.External.Addr(), port), netip.AddrPortFrom(m.Internal.Addr(), port)
	return m
}

// become is the frame as it is after a translation.
func (f parsed) become(frame []byte) parsed {
	now := parse(frame)
	now.later, now.fragment, now.fragmentID = f.later, f.fragment, f.fragmentID
	return now
}

func hairpinRemote(family netip.Addr) netip.Addr {
	if family.Is4() {
		return HairpinRemote4
	}
	return HairpinRemote6
}

// candidate is the port that the other end has towards the workload.
func (o *Oracle) candidate(m Mapping, number uint64, f parsed, remote netip.Addr, ports wirePorts) (uint16, string) {
	all := conversationPorts(m.Protocol, f.source, m.External.Addr(), ports.source, m.External.Port())
	if port, ours := o.conversation(m, number, remote, all, ports.source); ours {
		return port, ""
	}
	for _, c := range all {
		entry, noted := o.Connections[m.key(remote, c)]
		if !noted || entry.Port != o.Ports[m.Ifindex].ID || entry.State.Over() {
			return c, ""
		}
	}
	return 0, "mapping-exhausted"
}

// conversation finds the candidate that a conversation has already.
func (o *Oracle) conversation(m Mapping, number uint64, remote netip.Addr, candidates []uint16, itself uint16) (uint16, bool) {
	for _, c := range candidates {
		entry, noted := o.Connections[m.key(remote, c)]
		if noted && entry.Port == o.Ports[m.Ifindex].ID && entry.Mapping == number && entry.Itself == itself {
			return c, true
		}
	}
	return 0, false
}

// key is that of a conversation at the workload's end.
func (m Mapping) key(remote netip.Addr, port uint16) ConnectionKey {
	return ConnectionKey{m.Ifindex, m.Protocol, m.Internal, netip.AddrPortFrom(remote, port)}
}

// inwardError translates an error about a packet that the workload sent.
func (o *Oracle) inwardError(p passage, m Mapping, s subject, remote netip.Addr, hairpin bool) (passage, string) {
	client := s.remote.Addr()
	if hairpin {
		client = remote
	} else if client == hairpinRemote(client) {
		return p, "hairpin-source"
	}
	all := conversationPorts(m.Protocol, s.remote.Addr(), m.External.Addr(), s.remote.Port(), m.External.Port())
	port, ours := o.conversation(m, p.mapping, client, all, s.remote.Port())
	if !ours {
		return p, "no-mapping"
	}
	source := p.heard.source
	if hairpin {
		source = remote
	}
	quoted := translation{m.Internal.Addr(), client, m.Internal.Port(), port}
	p.heard = p.heard.become(p.heard.translatedError(source, m.Internal.Addr(), quoted))
	p.mapping = 0 // an error is noted nowhere
	return p, ""
}

// outward is what becomes of a frame that leaves through the mapping of its
// conversation; others are not done.
func (o *Oracle) outward(r refusal) (outcome Outcome, done bool) {
	f, p := r.f, o.plain(r)
	key := senderKey(r.ifindex, f, p.sentPorts)
	c, noted := o.Connections[key]
	s, isError := f.subject()
	if isError && !p.known {
		key = ConnectionKey{r.ifindex, s.protocol, s.remote, s.local}
		c, noted = o.Connections[key]
	}
	if !noted || c.Port != o.Ports[r.ifindex].ID || c.Mapping == 0 || !isError && (!p.known || f.saying().beginsAnew(c.State, true)) {
		return outcome, false
	}
	if _, shared := o.SharedAddresses[c.Mapping]; shared {
		return o.outwardShared(r, key, c), true
	}
	m, there := o.Mappings[c.Mapping]
	if !there {
		return dropped(f.frame, "no-mapping"), true
	}
	if m.Protocol == 0 {
		m = m.of(key.Protocol, key.Local.Port())
	}
	client := key.Remote.Addr()
	if p.self = client == hairpinRemote(client); p.self {
		client, p.to = m.Internal.Addr(), r.ifindex
	}
	p.outward, p.maps, p.vrfs[0], p.external[0] = true, true, m.VRF, m.External
	if isError && !p.known {
		destination := f.destination
		if p.self {
			destination = client
		}
		quoted := translation{client, m.External.Addr(), c.Itself, m.External.Port()}
		p.heard = f.become(f.translatedError(m.External.Addr(), destination, quoted))
	} else {
		p.heardPorts = wirePorts{m.External.Port(), c.Itself}
		p.heard = f.become(f.translated(translation{m.External.Addr(), client, m.External.Port(), c.Itself}))
	}
	return o.leaves(r, m, p), true
}

// leaves sends it on in the external VRF.
func (o *Oracle) leaves(r refusal, m Mapping, p passage) Outcome {
	external := r
	external.vrf, external.f = m.VRF, p.heard
	if p.self {
		return o.onward(external, Route{MAC: o.Ports[r.ifindex].MAC}, p)
	}
	route, found := o.lookup(m.VRF, p.heard.destination)
	if !found {
		return dropped(r.f.frame, "no-route")
	}
	if route.gap {
		return dropped(r.f.frame, "route-left-out")
	}
	var reason string
	switch next := o.NextHops[route.NextHop]; next.Kind {
	case NextHopGroup:
		if route, reason = o.throughGroup(r.ifindex, false, p, route); reason != "" {
			return dropped(r.f.frame, reason)
		}
	case NextHopMapped:
		if p, reason = o.inward(external, p, next.Mapping); reason != "" {
			return dropped(r.f.frame, reason)
		}
		return o.onward(external, route, p)
	case NextHopShared:
		return o.toShared(external, route, p, next.Mapping)
	}
	switch o.NextHops[route.NextHop].Kind {
	case NextHopGateway, NextHopBalancer, NextHopMapped:
		return dropped(r.f.frame, "unresolved-next-hop")
	}
	return o.onward(external, route, p)
}

// taken tells that a frame would be told for another conversation's at its receiver.
func (o *Oracle) taken(next NextHop, p passage) bool {
	_, there := o.Ports[next.Ifindex]
	if next.Kind != NextHopPort || !there || p.mapping != 0 || !p.known {
		return false
	}
	key := receiverKey(next.Ifindex, p)
	c, noted := o.Connections[key]
	if !noted || c.Port != o.Ports[next.Ifindex].ID || c.Mapping == 0 {
		return false
	}
	return !c.State.Over() || !p.heard.saying().beginsAnew(c.State, false)
}

// receiverKey is that of a frame's connection at its receiver.
func receiverKey(ifindex int, p passage) ConnectionKey {
	return ConnectionKey{ifindex, p.heard.protocol, netip.AddrPortFrom(p.heard.destination, p.heardPorts.destination), netip.AddrPortFrom(p.heard.source, p.heardPorts.source)}
}

// translated tells whether the two ends have the frame otherwise.
func (p passage) translated() bool { return p.maps }
