// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"net/netip"

	"github.com/weft-network/weft/vrouter/rules"
)

// policed is a frame as policy sees it.
type policed struct {
	ifindex int // of the sender, 0 if it did not come from a port
	to      int // of the receiver, 0 if it is no port
	ports   wirePorts
	known   bool // the ports are
	copied  bool // one of many, which needs no place
	f       parsed
	// What the receiver has, where the frame is translated on its way; self: nobody is asked.
	heard      parsed
	heardPorts wirePorts
	translated bool
	self       bool
	served     *PoolMember       // whom the sender is asked about in place of the destination
	vrfs       [2]uint32         // in which sender and receiver know each other; 0: the port's
	external   [2]netip.AddrPort // of the mappings that they have
	mapping    uint64            // through which the receiver hears it, 0: none
	itself     uint16            // the sender's own port, with mapping
}

// policedOn is a frame on its way to a next hop.
func (o *Oracle) policedOn(sender int, next NextHop, on passage) policed {
	p := policed{ifindex: sender, f: on.sent, ports: on.sentPorts, known: on.known, heard: on.heard, heardPorts: on.heardPorts, translated: true, self: on.self, served: on.served, vrfs: on.vrfs, external: on.external, mapping: on.mapping, itself: on.itself}
	if _, here := o.Ports[next.Ifindex]; here && next.Kind == NextHopPort {
		p.to = next.Ifindex
	}
	return p
}

// seenBy is the frame as one end has it.
func (p policed) seenBy(hears bool) policed {
	if hears && p.translated {
		p.f, p.ports = p.heard, p.heardPorts
	}
	return p
}

// policed finds the ends of a frame. A sender of 0 is no port.
func (o *Oracle) policed(sender int, ifindex int, vrf uint32, next NextHop, f parsed) policed {
	p := policed{ifindex: sender, f: f}
	p.ports, p.known = o.portsOf(ifindex, vrf, f)
	if _, here := o.Ports[next.Ifindex]; here && next.Kind == NextHopPort {
		p.to = next.Ifindex
	}
	return p
}

// refuses asks both ends. The tables decide anew for each frame: what entries
// remember may not show, but for who began.
func (o *Oracle) refuses(p policed) (reason string) {
	if p.self {
		return ""
	}
	from, to := o.Ports[p.ifindex].Policed, o.Ports[p.to].Policed
	if p.f.later && !p.known && (from || to) {
		return "unknown-fragment"
	}
	if from {
		reason = o.ask(p, p.ifindex, false)
	}
	if to && reason == "" {
		reason = o.ask(p, p.to, true)
	}
	if reason == "" && p.known && !p.copied {
		reason = o.takePlaces(p)
	}
	return reason
}

// ask asks one end, which hears the frame or sends it.
func (o *Oracle) ask(p policed, end int, hears bool) (reason string) {
	p = p.seenBy(hears)
	port := o.Ports[end]
	key, direction, first := o.began(p, end, hears)
	if direction == rules.Directions {
		return ""
	}
	policy, there := o.PortPolicies[end]
	if !there {
		return "policy-absent"
	}
	external, of := p.vrfs[0], p.external[0]
	if hears {
		external, of = p.vrfs[1], p.external[1]
	}
	vrf := cmp.Or(external, port.VRF)
	var served *PoolMember
	var gone bool
	network := o.seenByNetwork(of, external, port.VRF)
	if network == nil {
		served, gone = o.servedFor(p, vrf, key, direction, hears)
	}
	if gone {
		return "no-member"
	}
	q := inquiry{
		p: p, key: key, identity: o.identityOf(vrf, key.Remote.Addr()), served: served, network: network, direction: direction, hears: hears, first: first, stateless: port.Stateless && policy.Stateless, rulesets: policy.Rulesets,
		log: loggedFrame{Ifindex: end, Port: port.ID, VRF: port.VRF, In: hears, Layer: -1},
	}
	reason = o.askLayers(&q)
	if reason == "" && policy.Strict {
		layer := q.log.Layer
		q.former, q.stateless, q.rulesets, q.log.Layer = true, port.Stateless && policy.FormerStateless, policy.Former, -1
		if reason = o.askLayers(&q); reason == "" {
			q.log.Layer = layer
		}
		o.meets("strict", reason != "", true)
	}
	o.log(q.log, reason)
	return reason
}

// inquiry is what an end asks of its rulesets, or of those it had before.
type inquiry struct {
	p         policed
	key       ConnectionKey
	identity  rules.Identity
	served    *PoolMember     // that the remote stands for, but to network-policies; nil: for itself
	network   *throughMapping // as network-policies of who serves see it; nil: as the others
	direction rules.Direction // in which the conversation began
	hears     bool
	first     bool
	stateless bool
	former    bool
	rulesets  [rules.Directions][rules.Layers]uint32
	log       loggedFrame
}

func (o *Oracle) askLayers(q *inquiry) string {
	p, hears, first := q.p, q.hears, q.first
	for layer := range rules.Layers {
		direction := q.direction
		if q.stateless && layer == rules.SecurityGroup { // about the packet itself
			if direction = rules.Egress; hears {
				direction = rules.Ingress
			}
		}
		id := q.rulesets[direction][layer]
		if id == 0 {
			continue
		}
		q.log.Layer = int(layer)
		ruleset, known := o.Rulesets[id]
		if !known {
			q.log.Rule = 0
			return "policy-absent"
		}
		packet := question(p, q.key, direction, p.known || !first)
		packet.Identity = q.identity
		if q.served != nil && layer != rules.NetworkPolicy {
			packet.Remote, packet.Identity = q.served.Internal.Addr(), q.served.Identity
			if direction == rules.Ingress {
				packet.SourcePort = q.served.Internal.Port()
			} else {
				packet.Port = q.served.Internal.Port()
			}
		}
		if q.network != nil && layer == rules.NetworkPolicy {
			q.network.stands(&packet, direction)
		}
		verdict, audit := ruleset.Decide(packet)
		if !q.former || verdict.Action.Drops() {
			q.log.Rule = verdict.Rule
		}
		if first && !q.former || verdict.Action.Drops() {
			o.hit(verdict.Rule)
			o.hit(audit.Rule)
			q.log.rules(layer, verdict, audit)
		}
		drops := verdict.Action.Drops()
		if !p.known && !p.f.later && !first {
			o.meets("error", drops, true)
		}
		if q.stateless && layer == rules.SecurityGroup && !first {
			o.meets("stateless", drops, true)
		}
		if drops {
			return map[rules.Action]string{rules.Deny: "policy-denied", rules.Reject: "policy-rejected", rules.DropPending: "identity-pending"}[verdict.Action]
		}
		if verdict.Action == rules.Pass && layer >= rules.FirewallAdmin {
			return "" // of the tiers the first that decides counts
		}
	}
	return ""
}

// servedFor is who a virtual address stands for when an end is asked about it, nil
// if the remote is none; gone: there is nobody any more.
func (o *Oracle) servedFor(p policed, vrf uint32, key ConnectionKey, direction rules.Direction, hears bool) (served *PoolMember, gone bool) {
	if direction != rules.Egress {
		return nil, false
	}
	if !hears && p.served != nil {
		return p.served, false
	}
	m, virtual, there := o.servedBy(vrf, key)
	if !virtual {
		return nil, false
	}
	return &m, !there
}

func (o *Oracle) hit(rule uint32) {
	if rule != 0 && o.RuleHits != nil {
		o.RuleHits[rule]++
	}
}

// began says in which direction an end is asked, none at all if the host itself
// began; and whether the conversation is new to it.
func (o *Oracle) began(p policed, end int, hears bool) (key ConnectionKey, direction rules.Direction, first bool) {
	source, destination := netip.AddrPortFrom(p.f.source, p.ports.source), netip.AddrPortFrom(p.f.destination, p.ports.destination)
	key, direction = ConnectionKey{end, p.f.protocol, source, destination}, rules.Egress
	if hears {
		key.Local, key.Remote, direction = destination, source, rules.Ingress
	}
	if of, c, ok := o.about(p, end, hears); ok {
		direction, first = directionOf(c)
		return of, direction, first
	}
	c, noted := o.Connections[key]
	another := hears && p.mapping != 0 && (c.Mapping != p.mapping || c.Itself != p.itself) // which is over
	if !p.known || !noted || another || c.Port != o.Ports[end].ID || p.f.saying().beginsAnew(c.State, !hears) {
		return key, direction, true
	}
	direction, first = directionOf(c)
	return key, direction, first
}

// directionOf is that in which a conversation began at an end.
func directionOf(c Connection) (direction rules.Direction, first bool) {
	switch {
	case c.State&ConnectionUnasked != 0:
		return rules.Directions, false
	case c.State&ConnectionHeardFirst != 0:
		return rules.Ingress, false
	}
	return rules.Egress, false
}

// question is the first packet of a conversation, from what an end has in its key.
func question(p policed, key ConnectionKey, direction rules.Direction, known bool) rules.Packet {
	q := rules.Packet{Remote: key.Remote.Addr(), Protocol: key.Protocol, Port: key.Remote.Port(), SourcePort: key.Local.Port()}
	if direction == rules.Ingress {
		q.Port, q.SourcePort = q.SourcePort, q.Port
	}
	if !rules.IsICMP(q.Family(), q.Protocol) {
		return q
	}
	request, reply := uint8(8), uint8(0)
	if q.Family() == 6 {
		request, reply = 128, 129
	}
	switch {
	case !known:
		q.Port = rules.ICMPPort(p.f.payload[0], p.f.payload[1])
	case q.Port == uint16(request):
		q.Port = rules.ICMPPort(request, 0)
	default:
		q.Port = rules.ICMPPort(reply, 0)
	}
	q.SourcePort = 0
	return q
}

// identityOf is whose a remote address is, as one end knows it.
func (o *Oracle) identityOf(vrf uint32, remote netip.Addr) rules.Identity {
	route, _ := o.lookup(vrf, remote)
	if route.Identity != rules.None {
		return route.Identity
	}
	_, _, managed := longest(remote, func(p netip.Prefix) (struct{}, bool) {
		v, ok := o.Managed[RouteKey{vrf, p}]
		return v, ok
	})
	if managed {
		return rules.Pending
	}
	return rules.None
}
