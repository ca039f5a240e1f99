// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"net/netip"
)

// translates tells whether frames of a protocol, as their end has their ports, go out
// with a shared address: an echo only as a request.
func (f parsed) translates(ports wirePorts) bool {
	switch {
	case f.protocol == 6 || f.protocol == 17:
		return true
	case f.protocol == 1 && f.source.Is4():
		return ports.destination == 8
	}
	return f.protocol == 58 && f.source.Is6() && ports.destination == 128
}

// outwardByShare sends a frame through the shared address of which the longest route is.
func (o *Oracle) outwardByShare(r refusal) (outcome Outcome, done bool) {
	var best uint64
	longest, has := -1, false
	for _, number := range o.Shares[ShareKey{r.vrf, r.f.destination.Is6()}] {
		s := o.SharedAddresses[number]
		prefix, route, found := o.lookupPrefix(s.VRF, r.f.destination)
		if !found || route.gap {
			continue
		}
		if bits, able := prefix.Bits(), s.count() > 0; bits > longest || bits == longest && able && !has {
			best, longest, has = number, bits, able
		}
	}
	if longest < 0 {
		return outcome, false
	}
	return o.goOut(r, best, 0), true
}

// goOut sends a frame on with a shared address; had is the port that its conversation
// has there already, or 0.
func (o *Oracle) goOut(r refusal, number uint64, had uint16) Outcome {
	s, p, f := o.SharedAddresses[number], o.plain(r), r.f
	switch {
	case !p.known && f.later:
		return dropped(f.frame, "mapping-fragment")
	case !p.known || !f.translates(p.sentPorts):
		return dropped(f.frame, "snat-protocol")
	}
	port, ok := o.choosePort(r, s, p, had)
	if !ok {
		return dropped(f.frame, "snat-exhausted")
	}
	p.sends, p.sendsAs = number, port
	p.outward, p.maps, p.vrfs[0], p.external[0] = true, true, s.VRF, netip.AddrPortFrom(s.External, port)
	p.heardPorts = wirePorts{port, p.sentPorts.destination}
	p.heard = f.become(f.retold(translation{s.External, f.destination, port, p.sentPorts.destination}, port))
	return o.leaves(r, Mapping{VRF: s.VRF}, p)
}

// retold is the frame translated, an echo with another identifier.
func (f parsed) retold(t translation, identifier uint16) []byte {
	out := patch(f.translated(t))
	if f.icmp && !f.later {
		out.port(f.l4+4, identifier, out[f.l4+2:][:2])
	}
	return out
}

// choosePort finds the external port of a conversation and takes it.
func (o *Oracle) choosePort(r refusal, s SharedAddress, p passage, had uint16) (uint16, bool) {
	f := r.f
	mine := Translation{r.ifindex, o.Ports[r.ifindex].ID, netip.AddrPortFrom(f.source, p.sentPorts.source)}
	takes := func(port uint16) bool {
		key := TranslationKey{s.VRF, f.protocol, netip.AddrPortFrom(s.External, port), netip.AddrPortFrom(f.destination, p.sentPorts.destination)}
		of, taken := o.Translations[key]
		if taken && of != mine && of.Port == o.Ports[of.Ifindex].ID {
			return false
		}
		if !o.Traces {
			o.Translations[key] = mine
		}
		return true
	}
	if had != 0 && takes(had) {
		return had, true
	}
	n := s.count()
	if n == 0 {
		return 0, false
	}
	const prime = 2654435761
	h := (addressHash(f.source, f.destination, p.sentPorts.source, p.sentPorts.destination) ^ uint32(f.protocol)) * prime
	for i := range uint32(sourceNATTries) {
		h = (h ^ i) * prime
		if port := s.port(int(uint64(h) * uint64(n) >> 32)); takes(port) {
			return port, true
		}
	}
	return 0, false
}

func (s SharedAddress) count() (n int) {
	for _, r := range s.Ports {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// port is the one with a number among those that this host has.
func (s SharedAddress) port(number int) uint16 {
	for _, r := range s.Ports {
		size := int(r.Last) - int(r.First) + 1
		if number < size {
			return r.First + uint16(number)
		}
		number -= size
	}
	return 0
}

// outwardShared is what becomes of a frame whose conversation goes out with a shared
// address, or of an error about it.
func (o *Oracle) outwardShared(r refusal, key ConnectionKey, c Connection) Outcome {
	p := o.plain(r)
	if p.known {
		return o.goOut(r, c.Mapping, c.Itself)
	}
	s := o.SharedAddresses[c.Mapping]
	p.outward, p.maps, p.vrfs[0], p.external[0] = true, true, s.VRF, netip.AddrPortFrom(s.External, c.Itself)
	quoted := translation{key.Remote.Addr(), s.External, key.Remote.Port(), c.Itself}
	p.heard = r.f.become(r.f.retoldError(s.External, r.f.destination, quoted, c.Itself))
	return o.leaves(r, Mapping{VRF: s.VRF}, p)
}

// retoldError is an ICMP error translated, and an echo that it quotes with another identifier.
func (f parsed) retoldError(source, destination netip.Addr, quoted translation, identifier uint16) []byte {
	out := patch(f.translatedError(source, destination, quoted))
	ip := f.l4 + 8
	l4, protocol := ip+40, out[ip+6]
	if f.source.Is4() {
		l4, protocol = ip+4*int(out[ip]&15), out[ip+9]
	}
	if protocol != 1 && protocol != 58 {
		return out
	}
	inner := patch(append([]byte(nil), out...))
	inner.port(l4+4, identifier, inner[l4+2:][:2])
	out.put(l4+2, inner[l4+2:l4+6], out[f.l4+2:][:2])
	return out
}

// toShared is what becomes of a frame to a shared address: it goes to the host that has
// the port, and there to whose conversation it is.
func (o *Oracle) toShared(r refusal, route Route, p passage, number uint64) Outcome {
	f := p.heard
	refuse := func(reason string) Outcome { return dropped(r.f.frame, reason) }
	protocol, external, remote := f.protocol, netip.AddrPortFrom(f.destination, p.heardPorts.destination), netip.AddrPortFrom(f.source, p.heardPorts.source)
	s, isError := f.subject()
	if isError = isError && !p.known; isError {
		protocol, external, remote = s.protocol, s.local, s.remote
	}
	switch {
	case r.labelled:
		return refuse("no-mapping")
	case !isError && !p.known && f.later:
		return refuse("mapping-fragment")
	case !isError && (!p.known || !f.translates(wirePorts{p.heardPorts.destination, p.heardPorts.source})):
		return refuse("snat-protocol")
	}
	hop, there := o.PortBlocks[PortBlock{number, external.Port() / blockPorts}]
	if !there {
		return refuse("no-port-block")
	}
	if hop != 0 {
		route.NextHop = hop
		return o.onward(r, route, p)
	}
	t, there := o.Translations[TranslationKey{o.SharedAddresses[number].VRF, protocol, external, remote}]
	key := ConnectionKey{t.Ifindex, protocol, t.Internal, remote}
	c, noted := o.Connections[key]
	if !there || t.Port != o.Ports[t.Ifindex].ID || !noted || c.Port != t.Port || c.Mapping != number || c.Itself != external.Port() {
		return refuse("no-mapping")
	}
	p.to, p.maps, p.vrfs[1], p.external[1] = t.Ifindex, true, o.SharedAddresses[number].VRF, external
	if isError {
		quoted := translation{t.Internal.Addr(), remote.Addr(), t.Internal.Port(), remote.Port()}
		p.heard = f.become(f.retoldError(f.source, t.Internal.Addr(), quoted, t.Internal.Port()))
		return o.onward(r, route, p)
	}
	p.mapping, p.itself = number, external.Port()
	p.heardPorts.destination = t.Internal.Port()
	p.heard = f.become(f.retold(translation{f.source, t.Internal.Addr(), p.heardPorts.source, t.Internal.Port()}, t.Internal.Port()))
	return o.onward(r, route, p)
}

// addressHash is what candidates of ports are made from.
func addressHash(source, destination netip.Addr, from, to uint16) (h uint32) {
	const prime = 2654435761
	for _, a := range []netip.Addr{source, destination} {
		var words [16]byte
		copy(words[:], a.AsSlice())
		for i := 0; i < 16; i += 4 {
			h = (h ^ binary.BigEndian.Uint32(words[i:])) * prime
		}
	}
	return (h ^ (uint32(from)<<16 | uint32(to))) * prime
}
