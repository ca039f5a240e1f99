// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"slices"
)

// Decide walks the rules in their order: this is the definition, plain and slow. The second verdict is of the audit rule to be counted; its order is 0 if there is none.
func (r Ruleset) Decide(p Packet) (decided, audit Verdict) {
	for i, rule := range r.Rules {
		if !rule.matches(p) {
			continue
		}
		v := Verdict{Order: uint32(i + 1), Rule: rule.Number, Action: rule.Action, Log: rule.Log}
		if p.Identity == Pending && rule.Remote == Workloads {
			v.Action = DropPending
		}
		if !rule.Audit {
			return v, audit
		}
		if audit.Order == 0 {
			audit = v
		}
	}
	return r.unmatched(p.Identity), audit
}

// unmatched is what is decided if no rule matches.
func (r Ruleset) unmatched(id Identity) Verdict {
	v := Verdict{Order: Default, Action: r.Identified}
	if id == None {
		v.Action = r.Outside
	}
	if id == Pending && v.Action.Drops() {
		v.Order, v.Action = PendingDefault, DropPending
	}
	if v.Action.Drops() {
		v.Rule, v.Log = r.Rest, r.Rest != 0
	}
	return v
}

func (r Rule) matches(p Packet) bool {
	return r.matchesRemote(p) && (len(r.Services) == 0 || slices.ContainsFunc(r.Services, func(s Service) bool { return s.matches(p) }))
}

func (r Rule) matchesRemote(p Packet) bool {
	switch r.Remote {
	case Workloads:
		if p.Identity == Pending {
			return r.Action != Pass // it could be one of them
		}
		return p.Identity != None && slices.Contains(r.Identities, p.Identity)
	case Addresses:
		return r.Means(p.Remote)
	}
	return true
}

// Means says whether an address is in the ranges of a rule, and in no exception.
func (r Rule) Means(a netip.Addr) bool {
	in := func(one netip.Prefix) bool { return one.Contains(a) }
	return slices.ContainsFunc(r.Ranges, in) && !slices.ContainsFunc(r.Except, in)
}

func (s Service) matches(p Packet) bool {
	f := p.Family()
	if s.Family != 0 && s.Family != f {
		return false
	}
	if !s.AnyProtocol && s.Protocol != p.Protocol {
		return false
	}
	if (p.Protocol == ICMP || p.Protocol == ICMPv6) && !s.AnyProtocol && !IsICMP(f, p.Protocol) {
		return false
	}
	if (s.Ports != nil || s.SourcePorts != nil) && !HasPorts(p.Protocol) {
		return false
	}
	if s.Ports != nil && !s.Ports.Contains(p.Port) || s.SourcePorts != nil && !s.SourcePorts.Contains(p.SourcePort) {
		return false
	}
	if s.ICMPType == nil {
		return true
	}
	icmpType, code := uint8(p.Port>>8), uint8(p.Port)
	return IsICMP(f, p.Protocol) && *s.ICMPType == icmpType && (s.ICMPCode == nil || *s.ICMPCode == code)
}
