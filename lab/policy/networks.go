// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"

	"github.com/weft-network/weft/api"
)

// attached are the network-policies that a network is under, by their names.
func (m *Model) attached(network api.Ref) (under []*api.NetworkPolicy) {
	for _, n := range all[*api.NetworkPolicy](m, api.KindNetworkPolicy) {
		if m.isAttached(api.RefTo(n), network) {
			under = append(under, n)
		}
	}
	return under
}

func (m *Model) isAttached(policy, network api.Ref) bool {
	for _, a := range all[*api.NetworkPolicyAttachment](m, api.KindNetworkPolicyAttachment) {
		if a.Spec.Policy.UUID == policy.UUID && a.Spec.Network.UUID == network.UUID {
			return true
		}
	}
	return false
}

// joined tells whether a network-policy that both are under joins two networks.
func (m *Model) joined(a, b api.Ref) bool {
	if a.UUID == b.UUID {
		return false
	}
	for _, n := range m.attached(a) {
		if !m.isAttached(api.RefTo(n), b) {
			continue
		}
		for _, r := range n.Spec.Rules {
			if r.Action == api.ActionPass && !r.Audit && !(r.Source.Local && r.Destination.Local) && (m.names(r.Source, a) && m.names(r.Destination, b) || m.names(r.Source, b) && m.names(r.Destination, a)) {
				return true
			}
		}
	}
	return false
}

// names tells whether one side of a rule may mean a network that is under its policy.
func (m *Model) names(s api.NetworkSelector, network api.Ref) bool {
	switch {
	case !s.Network.IsZero():
		return s.Network.UUID == network.UUID
	case !s.Policy.IsZero():
		return m.isAttached(s.Policy, network)
	case !s.Subnet.IsZero():
		return within(s.Subnet, network)
	}
	return !s.Range.IsValid()
}

// networkPolicies: the policies that the port's network is under, by name, their
// rules as written.
func (e end) networkPolicies() Decision {
	policies := e.m.attached(e.port.Spec.Network)
	for _, n := range policies {
		for i, r := range n.Spec.Rules {
			ruled, guessed := e.ruled(n, r)
			switch {
			case !ruled || r.Audit:
			case guessed:
				return Decision{Action: ActionPending, Layer: LayerNetworkPolicy, Object: ruleOf(n.Meta.FQName, i)}
			case r.Action == api.ActionPass:
				return passed
			default:
				return Decision{Action: r.Action, Layer: LayerNetworkPolicy, Object: ruleOf(n.Meta.FQName, i)}
			}
		}
	}
	if len(policies) == 0 || e.is == Outside || e.remote != nil && e.remote.Spec.Network.UUID == e.port.Spec.Network.UUID {
		return passed
	}
	return e.refused(LayerNetworkPolicy)
}

// ruled tells whether a rule is for the port and its packet, and whether only
// because the other end is not known yet and could be meant.
func (e end) ruled(n *api.NetworkPolicy, r api.NetworkPolicyRule) (ruled, guessed bool) {
	here, there := r.Source, r.Destination
	if e.side == api.Ingress {
		here, there = there, here
	}
	inside := r.Source.Local && r.Destination.Local
	on := func(here, there api.NetworkSelector) (ruled, guessed bool) {
		spoken := there
		if e.side == api.Ingress {
			spoken = here
		}
		if !e.selected(n, here, e.port, e.local, inside) {
			return false, false
		}
		services := known(r.Services, !spoken.Subnet.IsZero() || spoken.Range.IsValid())
		if !e.anyOf(services) {
			return e.couldName(services, r.Action, func(p *api.Port) bool { return e.selected(n, there, p, e.other, inside) })
		}
		if e.remote == nil && there.Subnet.IsZero() && !there.Range.IsValid() {
			return e.guess(r.Action), true
		}
		return e.selected(n, there, e.remote, e.other, inside), false
	}
	if ruled, guessed = on(here, there); ruled || r.Direction != api.DirectionBoth {
		return ruled, guessed
	}
	return on(there, here)
}

// selected tells whether one side of a rule means a port with an address.
func (e end) selected(n *api.NetworkPolicy, s api.NetworkSelector, p *api.Port, a netip.Addr, inside bool) bool {
	switch {
	case !s.Network.IsZero():
		return s.Network.UUID == p.Spec.Network.UUID
	case !s.Policy.IsZero():
		return e.m.isAttached(s.Policy, p.Spec.Network)
	case !s.Subnet.IsZero():
		subnet, is := get[*api.Subnet](e.m, s.Subnet)
		return is && subnet.Spec.CIDR.Masked().Contains(a)
	case s.Range.IsValid():
		return s.Range.Masked().Contains(a)
	case s.Local && inside: // beside another side it is like any
		return p.Spec.Network.UUID == e.port.Spec.Network.UUID && e.m.isAttached(api.RefTo(n), p.Spec.Network)
	}
	return e.m.isAttached(api.RefTo(n), p.Spec.Network)
}
