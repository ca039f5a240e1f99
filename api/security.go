// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"strings"
)

// The kinds of security groups and of what their rules name.
const (
	KindSecurityGroup     Kind = "security-group"
	KindSecurityGroupRule Kind = "security-group-rule"
	KindAddressGroup      Kind = "address-group"
	KindServiceGroup      Kind = "service-group"
)

var securityKinds = []Info{
	{KindAddressGroup, "address-groups", "ag", KindProject, "Ranges of addresses that rules name together.", func() Object { return &AddressGroup{} }},
	{KindServiceGroup, "service-groups", "sg", KindProject, "Protocols and ports that rules name together.", func() Object { return &ServiceGroup{} }},
	{KindSecurityGroup, "security-groups", "secg", KindProject, "What its ports may receive and send; a port may have several, and what one of them allows is allowed.", func() Object { return &SecurityGroup{} }},
	{KindSecurityGroupRule, "security-group-rules", "secr", KindSecurityGroup, "One permission of a security-group.", func() Object { return &SecurityGroupRule{} }},
}

// maxRanges bounds the ranges of an address-group: a list of that length is
// about 200 KiB, far below etcd's request limit.
const maxRanges = 5000

// AddressGroup is ranges of addresses with a name.
type AddressGroup struct {
	Header
	Spec   AddressGroupSpec `json:"spec"`
	Status Reported         `json:"status,omitzero"`
}

// AddressGroupSpec lists ranges, of either family.
type AddressGroupSpec struct {
	Ranges []netip.Prefix `json:"ranges,omitempty" maxItems:"5000" hostBits:"true" doc:"Ranges of addresses, IPv4 and IPv6; host bits are kept as written and not matched."`
	Except []netip.Prefix `json:"except,omitempty" maxItems:"5000" hostBits:"true" doc:"Ranges inside them that do not belong to the group."`
}

func (a *AddressGroup) Validate() Problems { return checkFields(a.Spec) }
func (a *AddressGroup) StatusBody() any    { return &a.Status }

// ServiceGroup is protocols and ports with a name.
type ServiceGroup struct {
	Header
	Spec   ServiceGroupSpec `json:"spec"`
	Status Reported         `json:"status,omitzero"`
}

// ServiceGroupSpec lists what packets are meant.
type ServiceGroupSpec struct {
	Services []Match `json:"services,omitempty" doc:"A packet belongs to the group when it matches one of them."`
}

func (s *ServiceGroup) Validate() Problems {
	p := checkFields(s.Spec)
	for i := range s.Spec.Services {
		s.Spec.Services[i].check(&p, entry("spec.services", i))
	}
	return p
}

func (s *ServiceGroup) StatusBody() any { return &s.Status }

// SecurityGroup is a set of permissions that ports refer to. Its rules are
// objects of their own: they have identities, are made and deleted one by one
// by several clients at once, and never change.
type SecurityGroup struct {
	Header
	Spec   SecurityGroupSpec `json:"spec"`
	Status Reported          `json:"status,omitzero"`
}

// SecurityGroupSpec says how the rules are applied.
type SecurityGroupSpec struct {
	Stateless bool `json:"stateless,omitempty" doc:"Whether replies need a rule of their own. It cannot change while ports use the group."`
	Log       bool `json:"log,omitempty" doc:"Count and record what no rule of its ports' groups allows, in the name of the first by name of those of a port's groups that say so."`
	Default   bool `json:"default,omitempty" doc:"Whether ports of the project that name no group get this one; at most one of a project."`
}

// Claims holds being the project's default.
func (s *SecurityGroup) Claims() []Claim {
	if !s.Spec.Default {
		return nil
	}
	return []Claim{{"default-security-group/" + s.Meta.Parent.UUID, "spec.default", "the default security-group of " + s.Meta.Parent.String()}}
}

func (s *SecurityGroup) Validate() Problems { return checkFields(s.Spec) }
func (s *SecurityGroup) StatusBody() any    { return &s.Status }

// SecurityGroupRule allows some packets.
type SecurityGroupRule struct {
	Header
	Spec   SecurityGroupRuleSpec `json:"spec"`
	Status Reported              `json:"status,omitzero"`
}

// SecurityGroupRuleSpec is fixed at creation.
type SecurityGroupRuleSpec struct {
	Direction Side   `json:"direction" enum:"ingress,egress" doc:"ingress: packets towards the port; egress: packets from it. Fixed."`
	Family    Family `json:"family" enum:"IPv4,IPv6" doc:"Version of IP. Fixed."`
	Match     Match  `json:"match,omitzero" doc:"Which packets; all when absent. Fixed."`
	// The other side: at most one of the three; anybody when none is given.
	RemoteRange        netip.Prefix `json:"remoteRange,omitzero" hostBits:"true" doc:"The other side is in this range; host bits are kept as written and not matched. Fixed."`
	RemoteGroup        Ref          `json:"remoteGroup,omitzero" doc:"The other side is a port of this security-group; fixed."`
	RemoteAddressGroup Ref          `json:"remoteAddressGroup,omitzero" doc:"The other side is in this address-group; fixed."`
}

func (s *SecurityGroupRule) Refs() []FieldRef {
	return []FieldRef{
		{"spec.remoteGroup", KindSecurityGroup, &s.Spec.RemoteGroup, VerbSee},
		{"spec.remoteAddressGroup", KindAddressGroup, &s.Spec.RemoteAddressGroup, VerbSee},
	}
}

// Claims refuses a second rule of the group that says the same.
func (s *SecurityGroupRule) Claims() []Claim {
	remote := s.Spec.RemoteGroup.UUID + s.Spec.RemoteAddressGroup.UUID
	if r := s.Spec.RemoteRange; r.IsValid() {
		remote = r.Masked().String()
	}
	says := strings.Join([]string{string(s.Spec.Direction), string(s.Spec.Family), s.Spec.Match.key(), remote}, "/")
	return []Claim{{"security-group-rule/" + s.Meta.Parent.UUID + "/" + says, "spec", "a rule that says the same in " + s.Meta.Parent.String()}}
}

func (s *SecurityGroupRule) Validate() Problems {
	p := checkFields(s.Spec)
	s.Spec.Match.check(&p, "spec.match")
	if s.Spec.Match.SourcePorts != nil || s.Spec.Match.PortName != "" {
		p.Addf("spec.match", "a security-group-rule matches destination ports, by number, and no sourcePorts: a firewall-rule matches these and names")
	}
	r := s.Spec.RemoteRange
	atMostOne(&p, "spec.remoteRange", "remoteRange, remoteGroup and remoteAddressGroup", r.IsValid(), !s.Spec.RemoteGroup.IsZero(), !s.Spec.RemoteAddressGroup.IsZero())
	if r.IsValid() && r.Addr().Is4() != (s.Spec.Family == IPv4) {
		p.Addf("spec.remoteRange", "%v is not of family %s", r, s.Spec.Family)
	}
	switch s.Spec.Match.Protocol.Key() {
	case "1":
		if s.Spec.Family == IPv6 {
			p.Addf("spec.match.protocol", "of family IPv6 it is icmpv6")
		}
	case "58":
		if s.Spec.Family == IPv4 {
			p.Addf("spec.match.protocol", "of family IPv4 it is icmp")
		}
	}
	return p
}

func (s *SecurityGroupRule) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*SecurityGroupRule).Spec
	immutable(&p, "spec.direction", was.Direction, s.Spec.Direction)
	immutable(&p, "spec.family", was.Family, s.Spec.Family)
	immutable(&p, "spec.match", was.Match.key(), s.Spec.Match.key())
	immutable(&p, "spec.remoteRange", was.RemoteRange, s.Spec.RemoteRange)
	immutable(&p, "spec.remoteGroup", was.RemoteGroup, s.Spec.RemoteGroup)
	immutable(&p, "spec.remoteAddressGroup", was.RemoteAddressGroup, s.Spec.RemoteAddressGroup)
	return p
}

func (s *SecurityGroupRule) StatusBody() any { return &s.Status }
