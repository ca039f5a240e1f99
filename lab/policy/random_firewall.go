// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"

	"github.com/weft-network/weft/api"
)

// The numbers of objects of the firewall.
const (
	firewallRules    = 14
	firewallPolicies = 6
	policySets       = 4
)

// tagTypes and their values, in red:shop; anybody of red may have them.
var tagValues = map[string][]string{
	api.TagTier: {"web", "db"}, api.TagApplication: {"shop", "hr"}, api.TagSite: {"east", "west"}, api.TagDeployment: {"live", "trial"}, "label": {"a", "b", "c"}, "color": {"blue", "green"},
	"label/app": {"cart", "till"},
}

var tagTypes = []string{api.TagTier, api.TagApplication, api.TagSite, api.TagDeployment, "label", "color", "label/app"}

func tagName(kind, value string) string { return strings.ReplaceAll(kind, "/", "-") + "-" + value }

func (e *Editor) tag() api.Ref {
	kind := pick(e.Rand, append(tagTypes, api.TagTier)...)
	return api.Ref{Name: "red:shop:" + tagName(kind, pick(e.Rand, tagValues[kind]...))}
}

// Firewall makes tags, rules, policies and sets.
func (e *Editor) Firewall() (operations []api.Operation) {
	for _, kind := range tagTypes {
		for _, value := range tagValues[kind] {
			t := &api.Tag{Header: header(api.KindTag, "red:shop", tagName(kind, value))}
			t.Spec.Type, t.Spec.Value = kind, value
			operations = append(operations, create(t))
		}
	}
	for i := range addressGroups {
		g := &api.AddressGroup{Header: header(api.KindAddressGroup, "red:shop", fmt.Sprintf("f%d", i))}
		e.addresses(g)
		operations = append(operations, create(g))
	}
	for i := range 2 {
		g := &api.ServiceGroup{Header: header(api.KindServiceGroup, "red:shop", fmt.Sprintf("s%d", i))}
		g.Spec.Services = e.services()
		operations = append(operations, create(g))
	}
	for i := range firewallRules {
		r := &api.FirewallRule{Header: header(api.KindFirewallRule, "red:shop", fmt.Sprintf("f%d", i))}
		e.firewallRule(r)
		operations = append(operations, create(r))
	}
	for i := range firewallPolicies {
		p := &api.FirewallPolicy{Header: header(api.KindFirewallPolicy, "red:shop", fmt.Sprintf("p%d", i))}
		e.firewallPolicy(p)
		operations = append(operations, create(p))
	}
	for i := range policySets {
		s := &api.ApplicationPolicySet{Header: header(api.KindApplicationPolicySet, "red:shop", fmt.Sprintf("set%d", i))}
		e.policySet(s)
		operations = append(operations, create(s))
	}
	return operations
}

// FirewallEdits are some changes of rules, policies, sets, and of who has which tag.
func (e *Editor) FirewallEdits(m *Model, number int) (operations []api.Operation) {
	e.busy = map[string]bool{}
	for range number {
		kind := pick(e.Rand, api.KindFirewallRule, api.KindFirewallRule, api.KindFirewallPolicy, api.KindApplicationPolicySet, api.KindServiceGroup, api.KindTagBinding, api.KindTag, api.KindTag)
		o, is := e.choose(m, kind)
		if kind == api.KindTag {
			if b := e.binding(m); b != nil {
				operations = append(operations, create(b))
			}
			continue
		}
		if !is {
			continue
		}
		switch o := o.(type) {
		case *api.FirewallRule:
			operations = append(operations, update(o, e.firewallRule))
		case *api.FirewallPolicy:
			operations = append(operations, update(o, e.firewallPolicy))
		case *api.ApplicationPolicySet:
			operations = append(operations, update(o, e.policySet))
		case *api.ServiceGroup:
			operations = append(operations, update(o, func(g *api.ServiceGroup) { g.Spec.Services = e.services() }))
		case *api.TagBinding:
			operations = append(operations, api.Operation{Op: api.OpDelete, Object: o})
		}
	}
	return operations
}

// binding puts a tag on something that has none of its type yet, where there is one of it.
func (e *Editor) binding(m *Model) *api.TagBinding {
	e.next++
	b := &api.TagBinding{Header: header(api.KindTagBinding, "red:shop", fmt.Sprintf("b%d", e.next))}
	b.Spec.Tag = e.tag()
	switch e.Rand.IntN(8) {
	case 0:
		b.Spec.TargetKind, b.Spec.Target = api.KindProject, api.Ref{Name: pick(e.Rand, "red:shop", "red:test")}
	case 1:
		b.Spec.TargetKind, b.Spec.Target = api.KindNetwork, api.Ref{Name: pick(e.Rand, redWeb, redDB, redTest).FQName()}
	case 2:
		b.Spec.TargetKind, b.Spec.Target = api.KindHost, api.Ref{Name: fmt.Sprintf("h%d", 1+e.Rand.IntN(Hosts))}
	case 3:
		b.Spec.TargetKind, b.Spec.Target = api.KindVirtualMachine, api.Ref{Name: pick(e.Rand, Workloads...).Machine()}
	default:
		w := pick(e.Rand, Workloads...)
		b.Spec.TargetKind, b.Spec.Target = api.KindPort, api.Ref{Name: w.Port()}
	}
	tag, _ := m.named(api.KindTag, b.Spec.Tag.Name).(*api.Tag)
	if tag == nil {
		return nil
	}
	key := tag.Spec.Type + " " + b.Spec.Target.Name
	if !single(tag.Spec.Type) {
		key = tag.Meta.FQName + " " + b.Spec.Target.Name
	}
	for _, o := range all[*api.TagBinding](m, api.KindTagBinding) {
		other, _ := get[*api.Tag](m, o.Spec.Tag)
		same := other != nil && (other == tag || other.Spec.Type == tag.Spec.Type && single(tag.Spec.Type))
		if same && o.Spec.Target.Name == b.Spec.Target.Name {
			return nil
		}
	}
	if e.busy[key] {
		return nil
	}
	e.busy[key] = true
	return b
}

func (e *Editor) services() (services []api.Match) {
	for range 1 + e.Rand.IntN(2) {
		services = append(services, e.match(pick(e.Rand, api.IPv4, api.IPv6), false))
	}
	return services
}

func (e *Editor) firewallRule(r *api.FirewallRule) {
	r.Spec = api.FirewallRuleSpec{
		Action:    pick(e.Rand, api.ActionPass, api.ActionPass, api.ActionDeny, api.ActionReject, api.ActionNext),
		Direction: pick(e.Rand, api.DirectionBoth, api.DirectionTo), Source: e.endpoint(), Destination: e.endpoint(),
		Disabled: e.Rand.IntN(10) == 0, Audit: e.Rand.IntN(8) == 0,
	}
	switch e.Rand.IntN(4) {
	case 0:
		r.Spec.ServiceGroup = api.Ref{Name: fmt.Sprintf("red:shop:s%d", e.Rand.IntN(2))}
	case 1, 2:
		r.Spec.Services = e.services()
	}
	if e.Rand.IntN(6) == 0 && !r.Spec.Source.ByAddress() && !r.Spec.Destination.ByAddress() {
		r.Spec.MatchTags = []string{pick(e.Rand, api.TagTier, api.TagSite, api.TagDeployment, "label", "color", "label/app")}
	}
}

// endpoint is workloads or addresses, or anybody.
func (e *Editor) endpoint() (x api.Endpoint) {
	switch e.Rand.IntN(10) {
	case 0, 1:
		x.Tags = []api.Ref{e.tag()}
	case 2:
		kind := pick(e.Rand, api.TagTier, "label", "color", "label/app")
		x.Expressions = []api.TagExpression{{Type: kind, Operator: pick(e.Rand, "in", "not-in"), Values: tagValues[kind][:1], Project: e.tagsOf()}}
	case 3:
		x.Expressions = []api.TagExpression{{Type: pick(e.Rand, api.TagSite, "color"), Operator: pick(e.Rand, "exists", "not-exists"), Level: pick(e.Rand, "", api.KindPort, api.KindVirtualMachine), Project: e.tagsOf()}}
	case 4:
		x.Network = api.Ref{Name: pick(e.Rand, redWeb, redDB, redTest).FQName()}
	case 5:
		x.Project = api.Ref{Name: pick(e.Rand, "red:shop", "red:test")}
	case 6:
		f := pick(e.Rand, api.IPv4, api.IPv6)
		if x.Range = e.rangeOf(f); e.Rand.IntN(3) == 0 {
			if sub := e.rangeOf(f); x.Range.Masked().Contains(sub.Addr()) && sub.Bits() > x.Range.Bits() {
				x.Except = append(x.Except, sub)
			}
		}
	case 7:
		x.AddressGroup = api.Ref{Name: fmt.Sprintf("red:shop:f%d", e.Rand.IntN(addressGroups))}
	}
	return x
}

// tagsOf is whose tags an expression means: mostly those that there are, sometimes
// those of a project without any.
func (e *Editor) tagsOf() api.Ref {
	return api.Ref{Name: pick(e.Rand, "", "", "red:shop", "red:test")}
}

func (e *Editor) firewallPolicy(p *api.FirewallPolicy) {
	p.Spec = api.FirewallPolicySpec{Audit: e.Rand.IntN(10) == 0}
	for _, i := range e.Rand.Perm(firewallRules)[:1+e.Rand.IntN(5)] {
		p.Spec.Rules = append(p.Spec.Rules, api.Ref{Name: fmt.Sprintf("red:shop:f%d", i)})
	}
	if e.Rand.IntN(2) == 0 {
		if x := e.endpoint(); !x.ByAddress() {
			p.Spec.Workloads = x
		}
	}
	if e.Rand.IntN(4) == 0 {
		p.Spec.Isolates = [][]api.Side{{api.Ingress}, {api.Egress}, {api.Ingress, api.Egress}}[e.Rand.IntN(3)]
	}
}

func (e *Editor) policySet(s *api.ApplicationPolicySet) {
	s.Spec = api.ApplicationPolicySetSpec{
		Scope: pick(e.Rand, "project", "project", "global"), Tier: pick(e.Rand, "admin", "default", "default", "baseline"), Priority: e.Rand.IntN(3),
	}
	for _, i := range e.Rand.Perm(firewallPolicies)[:1+e.Rand.IntN(3)] {
		s.Spec.Policies = append(s.Spec.Policies, api.Ref{Name: fmt.Sprintf("red:shop:p%d", i)})
	}
	if e.Rand.IntN(4) == 0 {
		s.Spec.Application = api.Ref{Name: "red:shop:" + tagName(api.TagApplication, pick(e.Rand, tagValues[api.TagApplication]...))}
	}
}
