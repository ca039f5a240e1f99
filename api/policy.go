// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"strings"
)

// NetworkPolicy says which networks reach each other, and for what. It does
// nothing until networks are put under it by a network-policy-attachment each.
type NetworkPolicy struct {
	Header
	Spec   NetworkPolicySpec   `json:"spec"`
	Status NetworkPolicyStatus `json:"status,omitzero"`
}

// NetworkPolicySpec is an ordered list of rules.
type NetworkPolicySpec struct {
	Rules []NetworkPolicyRule `json:"rules,omitempty" maxItems:"1000" doc:"The first that matches decides. Two attached networks are joined, each taking the other's routes, when a rule that passes names both. A policy without rules is a name for the networks attached to it."`
}

// Direction tells which side of a rule may begin.
type Direction string

// The directions of a rule.
const (
	DirectionBoth Direction = "<>" // either side may begin
	DirectionTo   Direction = ">"  // the source begins
)

// Action is what a rule does.
type Action string

// ActionPass lets packets through.
const ActionPass Action = "pass"

// NetworkPolicyRule says what one side may say to the other.
type NetworkPolicyRule struct {
	Action      Action          `json:"action" enum:"pass,deny" doc:"pass; deny: drop."`
	Direction   Direction       `json:"direction" enum:"<>,>" doc:"<> (either side may begin) or > (the source begins)."`
	Source      NetworkSelector `json:"source,omitzero" doc:"One side; with > the one that begins."`
	Destination NetworkSelector `json:"destination,omitzero" doc:"The other side."`
	Services    []Match         `json:"services,omitempty" doc:"Packets that match one of them, by the ports of who is spoken to; all when absent."`
	Log         bool            `json:"log,omitempty" doc:"Record each first packet that the rule decides."`
	Audit       bool            `json:"audit,omitempty" doc:"Count what the rule would do, and pass on to the next rule. It joins no networks."`
}

// NetworkSelector is one side of a rule: at most one of its fields, or
// none for the workloads of all networks attached to the policy.
type NetworkSelector struct {
	Network Ref          `json:"network,omitzero" doc:"Workloads of this network. With no field: of any network attached to the policy."`
	Policy  Ref          `json:"policy,omitzero" doc:"Workloads of the networks that are attached to this network-policy."`
	Subnet  Ref          `json:"subnet,omitzero" doc:"Addresses of this subnet."`
	Range   netip.Prefix `json:"range,omitzero" doc:"Addresses of this range, whoever has them; it joins no networks."`
	Local   bool         `json:"local,omitempty" doc:"Workloads of the network that the policy is attached to, for each such network by itself: on both sides it is traffic inside one network."`
}

// IsAny tells whether nothing is selected by name: all attached networks are meant.
func (s *NetworkSelector) IsAny() bool { return *s == NetworkSelector{} }

// Names tells whether the selector names a network that is attached to the
// rule's policy, where attached tells what other policies a network is attached to.
func (s *NetworkSelector) Names(network Ref, attached func(policy, network string) bool) bool {
	switch {
	case !s.Network.IsZero():
		return s.Network.UUID == network.UUID
	case !s.Policy.IsZero():
		return attached(s.Policy.UUID, network.UUID)
	case !s.Subnet.IsZero():
		return strings.HasPrefix(s.Subnet.Name, network.Name+":") // a subnet is a child of its network
	}
	return !s.Range.IsValid()
}

func (s *NetworkSelector) refs(field string) []FieldRef {
	return []FieldRef{
		{field, KindNetwork, &s.Network, VerbSee},
		{field + ".policy", KindNetworkPolicy, &s.Policy, VerbSee},
		{field + ".subnet", KindSubnet, &s.Subnet, VerbSee},
	}
}

func (s *NetworkSelector) check(p *Problems, field string) {
	atMostOne(p, field, "network, policy, subnet, range and local",
		!s.Network.IsZero(), !s.Policy.IsZero(), !s.Subnet.IsZero(), s.Range.IsValid(), s.Local)
}

// JoinsAny tells whether the rule joins the networks that its sides name: it is to
// pass something, and between networks.
func (r *NetworkPolicyRule) JoinsAny() bool {
	return r.Action == ActionPass && !r.Audit && !(r.Source.Local && r.Destination.Local)
}

// Joins tells whether the rule joins two networks that are attached to its
// policy. Whichever side may begin, both need the other's routes.
func (r *NetworkPolicyRule) Joins(a, b Ref, attached func(policy, network string) bool) bool {
	if !r.JoinsAny() {
		return false
	}
	names := func(source, destination Ref) bool {
		return r.Source.Names(source, attached) && r.Destination.Names(destination, attached)
	}
	return names(a, b) || names(b, a)
}

// Joins tells whether a rule of the policy joins two networks that are
// attached to it.
func (n *NetworkPolicy) Joins(a, b Ref, attached func(policy, network string) bool) bool {
	for i := range n.Spec.Rules {
		if n.Spec.Rules[i].Joins(a, b, attached) {
			return true
		}
	}
	return false
}

// NetworkPolicyStatus is what the system reports of a policy.
type NetworkPolicyStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (n *NetworkPolicy) Refs() []FieldRef {
	var refs []FieldRef
	for i := range n.Spec.Rules {
		r := &n.Spec.Rules[i]
		refs = append(refs, r.Source.refs(ruleField(i, "source"))...)
		refs = append(refs, r.Destination.refs(ruleField(i, "destination"))...)
	}
	return refs
}

func (n *NetworkPolicy) Claims() []Claim                { return nil }
func (n *NetworkPolicy) Guards() []string               { return nil }
func (n *NetworkPolicy) ValidateUpdate(Object) Problems { return nil }
func (n *NetworkPolicy) StatusBody() any                { return &n.Status }

func (n *NetworkPolicy) Validate() Problems {
	p := checkFields(n.Spec)
	for i := range n.Spec.Rules {
		r := &n.Spec.Rules[i]
		r.Source.check(&p, ruleField(i, "source"))
		r.Destination.check(&p, ruleField(i, "destination"))
		if a, b := r.Source.Range, r.Destination.Range; a.IsValid() && b.IsValid() && a.Addr().Is4() != b.Addr().Is4() {
			p.Addf(ruleField(i, "destination.range"), "%v is not of the family of the source's %v", b, a)
		}
		for j := range r.Services {
			r.Services[j].check(&p, entry(ruleField(i, "services"), j))
		}
	}
	return p
}

// NetworkPolicyAttachment puts one network under one policy. It belongs to
// whoever makes it; a foreign network must be shared with the verb join.
type NetworkPolicyAttachment struct {
	Header
	Spec   NetworkPolicyAttachmentSpec   `json:"spec"`
	Status NetworkPolicyAttachmentStatus `json:"status,omitzero"`
}

// NetworkPolicyAttachmentSpec is fixed at creation.
type NetworkPolicyAttachmentSpec struct {
	Policy  Ref `json:"policy" doc:"The network-policy; fixed."`
	Network Ref `json:"network" doc:"The network; fixed."`
}

// NetworkPolicyAttachmentStatus is what the system reports of an attachment.
type NetworkPolicyAttachmentStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (a *NetworkPolicyAttachment) Refs() []FieldRef {
	return []FieldRef{
		{"spec.policy", KindNetworkPolicy, &a.Spec.Policy, VerbSee},
		{"spec.network", KindNetwork, &a.Spec.Network, VerbJoin},
	}
}

func (a *NetworkPolicyAttachment) Claims() []Claim {
	return []Claim{{
		Key:   "attachment/" + a.Spec.Policy.UUID + "/" + a.Spec.Network.UUID,
		Field: "spec.network",
		What:  "the attachment of network " + a.Spec.Network.String() + " to " + a.Spec.Policy.String(),
	}}
}

func (a *NetworkPolicyAttachment) Guards() []string { return nil }

func (a *NetworkPolicyAttachment) Validate() Problems {
	var p Problems
	required(&p, "spec.policy", a.Spec.Policy)
	required(&p, "spec.network", a.Spec.Network)
	return p
}

func (a *NetworkPolicyAttachment) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*NetworkPolicyAttachment)
	immutable(&p, "spec.policy", was.Spec.Policy, a.Spec.Policy)
	immutable(&p, "spec.network", was.Spec.Network, a.Spec.Network)
	return p
}

func (a *NetworkPolicyAttachment) StatusBody() any { return &a.Status }
