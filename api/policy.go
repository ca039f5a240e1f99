// SPDX-License-Identifier: Apache-2.0

package api

// NetworkPolicy joins networks. It does nothing until networks are put under
// it by a network-policy-attachment each.
type NetworkPolicy struct {
	Header
	Spec   NetworkPolicySpec   `json:"spec"`
	Status NetworkPolicyStatus `json:"status,omitzero"`
}

// NetworkPolicySpec is an ordered list of rules.
type NetworkPolicySpec struct {
	Rules []NetworkPolicyRule `json:"rules" doc:"Two attached networks are joined when a rule names both."`
}

// Direction tells which side of a rule may begin.
type Direction string

// DirectionBoth lets either side begin.
const DirectionBoth Direction = "<>"

// Action is what a rule does.
type Action string

// ActionPass lets packets through.
const ActionPass Action = "pass"

// NetworkPolicyRule names two sides that reach each other.
type NetworkPolicyRule struct {
	Action      Action          `json:"action" enum:"pass" doc:"pass."`
	Direction   Direction       `json:"direction" enum:"<>" doc:"<> (either side may begin)."`
	Source      NetworkSelector `json:"source" doc:"One side."`
	Destination NetworkSelector `json:"destination" doc:"The other side."`
}

// NetworkSelector is one network, or any that is attached to the policy.
type NetworkSelector struct {
	Network Ref `json:"network,omitzero" doc:"The network; absent means any network attached to the policy."`
}

// Matches tells whether a network is selected.
func (s NetworkSelector) Matches(network string) bool {
	return s.Network.IsZero() || s.Network.UUID == network
}

// Joins tells whether a rule of the policy joins two networks.
func (n *NetworkPolicy) Joins(a, b string) bool {
	for _, r := range n.Spec.Rules {
		if r.Source.Matches(a) && r.Destination.Matches(b) || r.Source.Matches(b) && r.Destination.Matches(a) {
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
		refs = append(refs,
			FieldRef{ruleField(i, "source"), KindNetwork, &r.Source.Network, VerbSee},
			FieldRef{ruleField(i, "destination"), KindNetwork, &r.Destination.Network, VerbSee})
	}
	return refs
}

func (n *NetworkPolicy) Claims() []Claim                { return nil }
func (n *NetworkPolicy) Guards() []string               { return nil }
func (n *NetworkPolicy) ValidateUpdate(Object) Problems { return nil }
func (n *NetworkPolicy) StatusBody() any                { return &n.Status }

func (n *NetworkPolicy) Validate() Problems {
	var p Problems
	if len(n.Spec.Rules) > MaxPolicyRules {
		p.Addf("spec.rules", "%d rules, at most %d are allowed", len(n.Spec.Rules), MaxPolicyRules)
	}
	for i, r := range n.Spec.Rules {
		if r.Action != ActionPass {
			p.Addf(ruleField(i, "action"), "%q is not pass", r.Action)
		}
		if r.Direction != DirectionBoth {
			p.Addf(ruleField(i, "direction"), "%q is not <>", r.Direction)
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
