// SPDX-License-Identifier: Apache-2.0

package vrouter

import "net/netip"

// reach brings a packet from the underlay, or from this host itself, to who serves a
// virtual address.
func (o *Oracle) reach(r refusal, fromUplink bool, route Route) Outcome {
	f := r.f
	if !o.answersInto(r.vrf, f.source) {
		return dropped(f.frame, "fabric-spoofed")
	}
	key, member, reason := o.choosesAnew(r)
	if reason != "" {
		return dropped(f.frame, reason)
	}
	served, there := o.PoolMembers[PoolMemberKey{key, member}]
	if !there {
		return dropped(f.frame, "no-member")
	}
	p := o.plain(r)
	route.NextHop, route.MTU, route.MAC = served.NextHop, served.MTU, member
	switch next := o.NextHops[route.NextHop]; next.Kind {
	case NextHopTunnel:
	case NextHopPort:
		if p, reason = o.inward(r, p, served.Mapping); reason != "" {
			return dropped(f.frame, reason)
		}
		route.MAC = o.Ports[next.Ifindex].MAC
	default:
		return dropped(f.frame, "unresolved-next-hop")
	}
	return o.reached(r, fromUplink, route, p)
}

// reached is what becomes of it when its member is known.
func (o *Oracle) reached(r refusal, fromUplink bool, route Route, p passage) Outcome {
	next, f := o.NextHops[route.NextHop], r.f
	var from router
	if fromUplink {
		if from = (router{o.Config.Local4, f.ethDestination}); f.source.Is6() {
			from.address = o.Config.Local6
		}
		if reason := o.refuses(o.policedOn(0, next, p)); reason != "" {
			return o.answerFrom(from, r.ifindex, next.Ifindex, f, reason)
		}
		if f.hops <= 1 {
			return o.refusal(r.ifindex, from, f, "ttl-expired", 0)
		}
	}
	if limit := o.limit(next, route); limit != 0 && len(f.frame)-14 > limit {
		return o.refusal(r.ifindex, from, f, "too-big", limit)
	}
	out := append([]byte(nil), p.heard.frame...)
	copy(out[0:], route.MAC[:])
	copy(out[6:], GatewayMAC[:])
	if fromUplink {
		setHops(out, f.hops-1)
	}
	o.notePassage(noted{ifindex: r.ifindex, vrf: r.vrf, fromTunnel: true, fromHost: !fromUplink}, next, Route{}, p)
	if next.Kind == NextHopPort {
		return o.deliver(next, out)
	}
	return o.encap(route.NextHop, next, p.heard, out)
}

// choosesAnew finds listener and member by the frame alone.
func (o *Oracle) choosesAnew(r refusal) (key ListenerKey, member MAC, reason string) {
	f := r.f
	ports, known := o.portsOf(r.ifindex, r.vrf, f)
	if f.later && !known {
		return key, member, "listener-fragment"
	}
	client, protocol := f.source, f.protocol
	if s, is := f.subject(); is && !known { // what it quotes, as the client sent it
		client, protocol, known = s.remote.Addr(), s.protocol, true
		ports = wirePorts{s.remote.Port(), s.local.Port()}
	}
	key = ListenerKey{r.vrf, f.destination, protocol, ports.destination}
	l, there := o.Listeners[key]
	if !there || !known || protocol != 6 && protocol != 17 && protocol != 132 {
		return key, member, "no-listener"
	}
	sent := parsed{source: client, destination: f.destination, protocol: protocol}
	if member, there = o.Choices[l.Choice].of(sent, ports, l.BySource); !there {
		return key, member, "no-member"
	}
	return key, member, ""
}

// reachesBack tells whether the underlay has a virtual address in its network.
func (o *Oracle) reachesBack(vrf uint32, external netip.Addr) bool {
	back, found := o.lookup(UnderlayVRF, external)
	next := o.NextHops[back.NextHop]
	return found && next.Kind == NextHopBalancer && next.VNI == vrf
}

// answersHost tells of a frame from a tunnel whether it is what a member of a virtual
// address answers this host itself.
func (o *Oracle) answersHost(vrf uint32, next NextHop, f parsed) bool {
	own := o.Config.Local4
	if f.destination.Is6() {
		own = o.Config.Local6
	}
	return next.Kind == NextHopFabric && next.Ifindex == 0 && f.destination == own && o.reachesBack(vrf, f.source)
}
