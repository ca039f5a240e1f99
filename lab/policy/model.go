// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/probe"
)

// Packet is the first one of a conversation.
type Packet struct {
	From, To            *api.Port
	Source, Destination netip.Addr
	Protocol            int
	SourcePort, Port    int // of ICMP neither
	Type, Code          int // of ICMP
	// FromIs and ToIs are what the other end takes one for that is not known by its
	// address: Outside or Pending. Else it is known.
	FromIs, ToIs Stranger
	// FromOwn and ToOwn are addresses of the ports, where those of the packet are not.
	FromOwn, ToOwn netip.Addr
}

// Stranger is an end that is not known by its address.
type Stranger string

// The strangers.
const (
	Outside Stranger = "outside"
	Pending Stranger = "pending" // of this network, and no route says who it is
)

// ActionPending drops because it is not known yet who the other end is.
const ActionPending api.Action = "identity-pending"

// The layers, by their names in doc/policy.md.
const (
	LayerNetworkPolicy = "network-policy"
	LayerSecurityGroup = "security-group"
	LayerFirewall      = "firewall"
)

// Decision is what the layers of both ends say, and which of them said it.
type Decision struct {
	Action api.Action // pass, deny or reject
	Side   api.Side   // egress at the sender's port, ingress at the receiver's
	Layer  string
	Object string // whose rule it was; empty if none matched
}

func (d Decision) String() string {
	if d.Action == api.ActionPass && d.Layer == "" {
		return "pass: nothing forbids it"
	}
	text := fmt.Sprintf("%s: %s by %s", d.Action, d.Side, d.Layer)
	if d.Object == "" {
		return text + ", no rule matches"
	}
	return text + ", " + d.Object
}

var passed = Decision{Action: api.ActionPass}

// Decide asks both ends: egress at the port of the sender, and if it passes
// that, ingress at the port of the receiver.
func (m *Model) Decide(p Packet) Decision {
	for _, e := range p.ends(m) {
		if d := e.decide(); d.Action != api.ActionPass {
			d.Side = e.side
			return d
		}
	}
	return passed
}

// ends are both ends, as each sees the other.
func (p Packet) ends(m *Model) []end {
	all := []end{
		{m: m, side: api.Egress, port: p.From, remote: p.To, is: p.ToIs, local: p.Source, other: p.Destination, packet: p},
		{m: m, side: api.Ingress, port: p.To, remote: p.From, is: p.FromIs, local: p.Destination, other: p.Source, packet: p},
	}
	for i, own := range []netip.Addr{p.FromOwn, p.ToOwn} {
		if own.IsValid() {
			all[i].local = own
		}
		if all[i].is != "" {
			all[i].remote = nil
		}
	}
	return all
}

// Answer decides about what comes back of a conversation that may be: nothing
// asks but stateless security-groups, in the direction in which it goes. ICMP that
// is no echo is no conversation, and what comes back is asked like anything.
func (m *Model) Answer(p Packet) Decision {
	back := p
	back.From, back.To, back.Source, back.Destination = p.To, p.From, p.Destination, p.Source
	back.SourcePort, back.Port = p.Port, p.SourcePort
	if replies := map[int]int{probe.EchoRequest4: 0, probe.TimestampRequest: 14, probe.EchoRequest6: 129}; p.icmp() {
		back.Type = replies[p.Type]
		if p.Type == probe.TimestampRequest {
			return m.Decide(back)
		}
	}
	for _, e := range []end{
		{m: m, side: api.Egress, port: back.From, remote: back.To, local: back.Source, other: back.Destination, packet: back},
		{m: m, side: api.Ingress, port: back.To, remote: back.From, local: back.Destination, other: back.Source, packet: back},
	} {
		if !m.stateless(e.port) {
			continue
		}
		if d := e.securityGroups(); d.Action != api.ActionPass {
			d.Side = e.side
			return d
		}
	}
	return passed
}

func (p Packet) icmp() bool {
	return p.Protocol == probe.ProtocolICMP || p.Protocol == probe.ProtocolICMPv6
}

// end is one port that is asked about a packet, and what is at the other end.
type end struct {
	m            *Model
	side         api.Side
	port, remote *api.Port // remote is nil of a stranger
	is           Stranger
	local, other netip.Addr // addresses of the packet
	packet       Packet
}

// decide asks the layers in their order.
func (e end) decide() Decision {
	for _, layer := range []func() Decision{e.networkPolicies, e.securityGroups, e.firewall} {
		if d := layer(); d.Action != api.ActionPass {
			return d
		}
	}
	return passed
}

// guess is what a rule that names workloads says of a stranger: one that is not
// known yet could be any of them, so only what does not pass means it.
func (e end) guess(a api.Action) bool { return e.is == Pending && a != api.ActionPass }

// refused is what is decided if nothing matches, and this is refused to an end that is known.
func (e end) refused(layer string) Decision {
	if e.is == Pending {
		return Decision{Action: ActionPending, Layer: layer}
	}
	return Decision{Action: api.ActionDeny, Layer: layer}
}

// groups are the security-groups of a port.
func (m *Model) groups(p *api.Port) (groups []*api.SecurityGroup) {
	security := p.Spec.PortSecurity
	if n, is := get[*api.Network](m, p.Spec.Network); security == "" && is {
		security = n.Spec.PortSecurity
	}
	if security == api.PortSecurityOff {
		return nil
	}
	for _, r := range p.Spec.SecurityGroups {
		if g, is := get[*api.SecurityGroup](m, r); is {
			groups = append(groups, g)
		}
	}
	if len(p.Spec.SecurityGroups) > 0 {
		return groups
	}
	for _, g := range all[*api.SecurityGroup](m, api.KindSecurityGroup) {
		if g.Spec.Default && g.Meta.Parent.UUID == project(p).UUID {
			groups = append(groups, g)
		}
	}
	return groups
}

// stateless: one group that is not lets answers through.
func (m *Model) stateless(p *api.Port) bool {
	groups := m.groups(p)
	return len(groups) > 0 && !slices.ContainsFunc(groups, func(g *api.SecurityGroup) bool { return !g.Spec.Stateless })
}

// securityGroups: what any group allows is allowed.
func (e end) securityGroups() Decision {
	groups := e.m.groups(e.port)
	if len(groups) == 0 {
		return passed
	}
	for _, r := range all[*api.SecurityGroupRule](e.m, api.KindSecurityGroupRule) {
		ours := slices.ContainsFunc(groups, func(g *api.SecurityGroup) bool { return g.Meta.UUID == r.Meta.Parent.UUID })
		if ours && r.Spec.Direction == e.side && e.allowedBy(r) {
			return passed
		}
	}
	return e.refused(LayerSecurityGroup)
}

func (e end) allowedBy(r *api.SecurityGroupRule) bool {
	s := r.Spec
	if e.local.Is4() != (s.Family == api.IPv4) || !e.matches(s.Match) {
		return false
	}
	switch {
	case s.RemoteRange.IsValid():
		return s.RemoteRange.Masked().Contains(e.other)
	case !s.RemoteGroup.IsZero():
		return e.remote != nil && slices.ContainsFunc(e.m.groups(e.remote), func(g *api.SecurityGroup) bool { return g.Meta.UUID == s.RemoteGroup.UUID })
	case !s.RemoteAddressGroup.IsZero():
		return e.m.inAddressGroup(s.RemoteAddressGroup, e.other)
	}
	return true
}

func (m *Model) inAddressGroup(r api.Ref, a netip.Addr) bool {
	g, is := get[*api.AddressGroup](m, r)
	in := func(p netip.Prefix) bool { return p.Masked().Contains(a) }
	return is && slices.ContainsFunc(g.Spec.Ranges, in) && !slices.ContainsFunc(g.Spec.Except, in)
}

// anyOf tells whether the packet matches one of some services; none are all.
func (e end) anyOf(services []api.Match) bool {
	return len(services) == 0 || slices.ContainsFunc(services, e.matches)
}

// matches tells whether the packet is what is meant.
func (e end) matches(s api.Match) bool {
	p := e.packet
	if n, given := s.Protocol.Number(); given && n != p.Protocol {
		return false
	}
	if n, _ := s.Protocol.Number(); n == probe.ProtocolICMP && e.local.Is6() || n == probe.ProtocolICMPv6 && e.local.Is4() {
		return false
	}
	in := func(r *api.PortRange, n int) bool { return r == nil || !p.icmp() && r.From <= n && n <= r.Last() }
	if !in(s.Ports, p.Port) || !in(s.SourcePorts, p.SourcePort) {
		return false
	}
	if s.PortName != "" && !e.named(s) {
		return false
	}
	return (s.ICMPType == nil || p.icmp() && *s.ICMPType == p.Type) && (s.ICMPCode == nil || *s.ICMPCode == p.Code)
}

// named tells whether the end that is spoken to gives the packet's port this name.
func (e end) named(s api.Match) bool {
	if e.side == api.Egress && e.remote == nil {
		return false
	}
	return slices.ContainsFunc(e.packet.To.Spec.NamedPorts, func(n api.NamedPort) bool {
		number, _ := n.Protocol.Number()
		return n.Name == s.PortName && number == e.packet.Protocol && n.Port == e.packet.Port
	})
}
