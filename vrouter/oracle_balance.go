// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"

	"github.com/weft-network/weft/vrouter/maglev"
)

// passage is a frame on its way, as its two ends have it; they differ where it is
// translated.
type passage struct {
	sent, heard parsed
	// Of sent and of heard; not known of ICMP that is no echo.
	sentPorts, heardPorts wirePorts
	known                 bool
	listener              ListenerKey       // it was sent to; of a conversation that is remembered
	served                *PoolMember       // whom the sender is asked about; nil: the destination
	member                MAC               // of served
	remembers             bool              // the listener does
	mapping               uint64            // that the receiver's entry has; 0: none
	itself                uint16            // the sender's own port, with mapping
	sends                 uint64            // that the sender's entry gets; 0: it stays as it is
	sendsAs               uint16            // what it has as itself, with sends
	outward               bool              // it leaves through a mapping
	maps                  bool              // the two ends have it otherwise
	to                    int               // the port of a mapping; 0: as the next hop says
	self                  bool              // from a port to itself
	vrfs                  [2]uint32         // in which sender and receiver know each other; 0: the port's
	external              [2]netip.AddrPort // of the mappings of sender and receiver
}

// plain is a frame that nothing translates.
func (o *Oracle) plain(r refusal) passage {
	p := passage{sent: r.f, heard: r.f}
	p.sentPorts, p.known = o.portsOf(r.ifindex, r.vrf, r.f)
	p.heardPorts = p.sentPorts
	return p
}

// balance says what becomes of a frame from a port to a virtual address.
func (o *Oracle) balance(r refusal, route Route, vrf uint32) Outcome {
	f := r.f
	if f.icmp && !f.fragment {
		if answered := echo(r.ifindex, f); answered.Reason == "" {
			return answered
		}
	}
	key, listener, member, reason := o.chooses(r, vrf)
	if reason != "" {
		return o.closed(r, reason)
	}
	p := o.plain(r)
	served := o.PoolMembers[PoolMemberKey{key, member}]
	p.listener, p.served, p.member, p.remembers = key, &served, member, listener.Ticks != 0
	route.NextHop, route.MTU, route.MAC = served.NextHop, served.MTU, member
	switch o.NextHops[route.NextHop].Kind {
	case NextHopTunnel:
	case NextHopPort:
		if p, reason = o.inward(r, p, served.Mapping); reason != "" {
			return dropped(f.frame, reason)
		}
	default:
		return dropped(f.frame, "unresolved-next-hop")
	}
	return o.onward(r, route, p)
}

// chooses finds the listener and the member that a frame is for.
func (o *Oracle) chooses(r refusal, vrf uint32) (key ListenerKey, l Listener, member MAC, reason string) {
	f := r.f
	if about, c, ok := o.about(policed{f: f}, r.ifindex, false); ok {
		key = ListenerKey{vrf, f.destination, about.Protocol, about.Remote.Port()}
		if l, ok = o.Listeners[key]; !ok {
			return key, l, member, "no-listener"
		}
		way := o.ways[about]
		if _, there := o.PoolMembers[PoolMemberKey{key, way.mac}]; !there || c.Port != o.Ports[r.ifindex].ID {
			return key, l, member, "no-member"
		}
		return key, l, way.mac, ""
	}
	ports, known := o.portsOf(r.ifindex, r.vrf, f)
	if f.later && !known {
		return key, l, member, "listener-fragment"
	}
	key = ListenerKey{vrf, f.destination, f.protocol, ports.destination}
	l, there := o.Listeners[key]
	if !there || !known || f.protocol != 6 && f.protocol != 17 && f.protocol != 132 {
		return key, l, member, "no-listener"
	}
	if way, has := o.usedMember(r.ifindex, key, f, ports); has {
		return key, l, way, ""
	}
	if a, kept := o.Affinities[AffinityKey{r.vrf, key, f.source}]; kept && l.Ticks != 0 && o.Tick-a.Tick <= l.Ticks {
		if m, there := o.PoolMembers[PoolMemberKey{key, a.MAC}]; there && m.Chosen {
			return key, l, a.MAC, ""
		}
	}
	member, there = o.Choices[l.Choice].of(f, ports, l.BySource)
	if _, known := o.PoolMembers[PoolMemberKey{key, member}]; !there || !known {
		return key, l, member, "no-member"
	}
	return key, l, member, ""
}

// usedMember is the one that a frame's connection goes to, while it is there.
func (o *Oracle) usedMember(ifindex int, key ListenerKey, f parsed, ports wirePorts) (MAC, bool) {
	at := senderKey(ifindex, f, ports)
	c, noted := o.Connections[at]
	way, has := o.ways[at]
	if !noted || !has || c.Port != o.Ports[ifindex].ID || f.saying().beginsAnew(c.State, true) {
		return MAC{}, false
	}
	_, there := o.PoolMembers[PoolMemberKey{key, way.mac}]
	return way.mac, there
}

// of is the member of a frame's bucket.
func (c Choice) of(f parsed, ports wirePorts, bySource bool) (MAC, bool) {
	if len(c.Buckets) == 0 {
		return MAC{}, false
	}
	fields := GroupAllFields
	if bySource {
		fields = GroupSource
	}
	h := uint64(hash(f, ports, true, fields))
	number := c.Buckets[h*uint64(len(c.Buckets))>>32]
	if number == maglev.None {
		return MAC{}, false
	}
	return c.Members[number], true
}

// closed ends a frame for which nobody is there, and tells its sender so.
func (o *Oracle) closed(r refusal, reason string) Outcome {
	f := r.f
	answer := answerTo(f, router{f.destination, GatewayMAC})
	if f.protocol == 17 || f.protocol == 132 {
		if answer != nil {
			answer = icmpError(f, router{f.destination, GatewayMAC}, "no-listener", 0)
		}
	} else if f.protocol != 6 {
		answer = nil
	}
	if answer == nil || reason == "listener-fragment" || o.Muted[r.ifindex] {
		return dropped(f.frame, reason)
	}
	return Outcome{Verdict: "answered", Reason: reason, Redirect: r.ifindex, Frame: answer}
}

// remember keeps a client at the member that it was given.
func (o *Oracle) remember(r refusal, p passage) {
	if p.remembers && p.known && o.Affinities != nil && !o.Traces && r.key == nil {
		o.Affinities[AffinityKey{r.vrf, p.listener, p.sent.source}] = Affinity{p.member, o.Tick}
	}
}

// servedBy is whom a virtual address stands for in a conversation that began at an
// end; virtual: the remote is one.
func (o *Oracle) servedBy(vrf uint32, key ConnectionKey) (m PoolMember, virtual, there bool) {
	route, found := o.lookup(vrf, key.Remote.Addr())
	next := o.NextHops[route.NextHop]
	if !found || next.Kind != NextHopBalancer {
		return m, false, false
	}
	listener := ListenerKey{next.VNI, key.Remote.Addr(), key.Protocol, key.Remote.Port()}
	if c, noted := o.Connections[key]; !noted || c.Port != o.Ports[key.Ifindex].ID { // of a former port of the interface
		return m, true, false
	}
	m, there = o.PoolMembers[PoolMemberKey{listener, o.ways[key].mac}]
	return m, true, there
}

// conversationPorts are four ports that a conversation may have towards a workload.
func conversationPorts(protocol byte, source, external netip.Addr, from, to uint16) []uint16 {
	all := portCandidates(source, external, from, to)
	if protocol != 6 && protocol != 17 {
		return all[:1]
	}
	return all[:]
}

// listenerOf is the listener that a frame from a tunnel names.
func (o *Oracle) listenerOf(r refusal) (key ListenerKey, known bool) {
	f := r.f
	if s, ok := f.subject(); ok {
		return ListenerKey{r.vrf, f.destination, s.protocol, s.local.Port()}, true
	}
	ports, known := o.portsOf(r.ifindex, r.vrf, f)
	return ListenerKey{r.vrf, f.destination, f.protocol, ports.destination}, known
}
