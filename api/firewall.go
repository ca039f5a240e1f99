// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"slices"
)

// The kinds of firewall policy.
const (
	KindFirewallRule         Kind = "firewall-rule"
	KindFirewallPolicy       Kind = "firewall-policy"
	KindApplicationPolicySet Kind = "application-policy-set"
)

var firewallKinds = []Info{
	{KindFirewallRule, "firewall-rules", "fwr", KindProject, "What workloads with some tags, addresses or networks may say to others.", func() Object { return &FirewallRule{} }},
	{KindFirewallPolicy, "firewall-policies", "fwp", KindProject, "Firewall-rules in an order.", func() Object { return &FirewallPolicy{} }},
	{KindApplicationPolicySet, "application-policy-sets", "aps", KindProject, "Firewall-policies in an order, for the workloads of an application or for all.", func() Object { return &ApplicationPolicySet{} }},
}

// What a firewall-rule may do beside ActionPass.
const (
	ActionDeny   Action = "deny"   // drop
	ActionReject Action = "reject" // drop, and tell the sender
	ActionNext   Action = "next"   // leave the decision to the next tier
)

// Endpoint selects one side of a conversation, by workloads or by addresses:
// everything that is given must hold, and nothing given means anybody.
type Endpoint struct {
	Tags         []Ref           `json:"tags,omitempty" doc:"Workloads that have all these tags."`
	Expressions  []TagExpression `json:"expressions,omitempty" doc:"Workloads whose tags satisfy all of these."`
	Project      Ref             `json:"project,omitzero" doc:"Workloads whose port is in this project."`
	Network      Ref             `json:"network,omitzero" doc:"Workloads of this network."`
	AddressGroup Ref             `json:"addressGroup,omitzero" doc:"Addresses of this group, whoever has them; excludes range and what selects workloads."`
	Range        netip.Prefix    `json:"range,omitzero" doc:"Addresses of this range, whoever has them; excludes what selects workloads."`
	Except       []netip.Prefix  `json:"except,omitempty" doc:"Ranges inside range that are not meant."`
}

// TagExpression is a condition on the tags of one type.
type TagExpression struct {
	Type     string   `json:"type" doc:"Type of the tags."`
	Operator string   `json:"operator" enum:"in,not-in,exists,not-exists" doc:"in: has a tag of the type with one of the values; exists: has one with any; not-in, not-exists: the contrary."`
	Values   []string `json:"values,omitempty" doc:"Values for in and not-in."`
	Level    Kind     `json:"level,omitempty" enum:"project,network,host,virtual-machine,port" doc:"Only tags bound to an object of this kind; wherever they come from when absent."`
	// A word is nobody's: who may make tags in a project says who is meant by it there.
	Project Ref `json:"project,omitzero" doc:"Only tags that belong to this project; to that of the object which says the expression when absent. Those of others do not count, whatever their words."`
}

func (e *Endpoint) refs(field string) []FieldRef {
	refs := refList(field+".tags", KindTag, e.Tags, VerbSee)
	for i := range e.Expressions {
		refs = append(refs, FieldRef{entry(field+".expressions", i) + ".project", KindProject, &e.Expressions[i].Project, VerbSee})
	}
	return append(refs,
		FieldRef{field + ".project", KindProject, &e.Project, VerbSee},
		FieldRef{field + ".network", KindNetwork, &e.Network, VerbSee},
		FieldRef{field + ".addressGroup", KindAddressGroup, &e.AddressGroup, VerbSee})
}

// ByWorkload tells whether workloads are selected.
func (e *Endpoint) ByWorkload() bool {
	return len(e.Tags) > 0 || len(e.Expressions) > 0 || !e.Project.IsZero() || !e.Network.IsZero()
}

// ByAddress tells whether addresses are selected.
func (e *Endpoint) ByAddress() bool { return !e.AddressGroup.IsZero() || e.Range.IsValid() }

func (e *Endpoint) check(p *Problems, field string) {
	if e.ByWorkload() && e.ByAddress() {
		p.Addf(field, "selects workloads (tags, expressions, project, network) or addresses (addressGroup, range), not both: make a rule for each")
	}
	atMostOne(p, field+".addressGroup", "addressGroup and range", !e.AddressGroup.IsZero(), e.Range.IsValid())
	distinct(p, field+".tags", e.Tags)
	for i, x := range e.Expressions {
		if word := x.Operator == "in" || x.Operator == "not-in"; word != (len(x.Values) > 0) {
			p.Addf(entry(field+".expressions", i)+".values", "are for in and not-in, and required there")
		}
	}
	for i, x := range e.Except {
		if !e.Range.IsValid() || !e.Range.Contains(x.Addr()) || x.Bits() < e.Range.Bits() {
			p.Addf(entry(field+".except", i), "%v is not inside range %v", x, e.Range)
		}
	}
}

// FirewallRule says what one side may say to the other.
type FirewallRule struct {
	Header
	Spec   FirewallRuleSpec `json:"spec"`
	Status Reported         `json:"status,omitzero"`
}

// FirewallRuleSpec is the two sides, the packets, and what becomes of them.
type FirewallRuleSpec struct {
	Action       Action    `json:"action" enum:"pass,deny,reject,next" doc:"pass; deny: drop; reject: drop and tell the sender; next: leave it to the next tier of application-policy-sets."`
	Direction    Direction `json:"direction,omitempty" enum:"<>,>" default:">" doc:"> (the source begins) or <> (either side may begin)."`
	Source       Endpoint  `json:"source,omitzero" doc:"Who begins; anybody when absent."`
	Destination  Endpoint  `json:"destination,omitzero" doc:"Who is spoken to; anybody when absent."`
	MatchTags    []string  `json:"matchTags,omitempty" doc:"Types of tags of which both sides must have the same; neither can be addresses."`
	Services     []Match   `json:"services,omitempty" doc:"Packets that match one of them; all when neither services nor serviceGroup is given."`
	ServiceGroup Ref       `json:"serviceGroup,omitzero" doc:"Packets of this group; excludes services."`
	Disabled     bool      `json:"disabled,omitempty" doc:"Whether the rule is passed over."`
	Audit        bool      `json:"audit,omitempty" doc:"Count and log what the rule would do, and pass on to the next rule."`
	Log          bool      `json:"log,omitempty" doc:"Record each first packet that the rule decides."`
}

func (f *FirewallRule) Refs() []FieldRef {
	refs := append(f.Spec.Source.refs("spec.source"), f.Spec.Destination.refs("spec.destination")...)
	return append(refs, FieldRef{"spec.serviceGroup", KindServiceGroup, &f.Spec.ServiceGroup, VerbSee})
}

func (f *FirewallRule) Validate() Problems {
	p := checkFields(f.Spec)
	f.Spec.Source.check(&p, "spec.source")
	f.Spec.Destination.check(&p, "spec.destination")
	for i := range f.Spec.Services {
		f.Spec.Services[i].check(&p, entry("spec.services", i))
	}
	if len(f.Spec.MatchTags) > 0 && (f.Spec.Source.ByAddress() || f.Spec.Destination.ByAddress()) {
		p.Addf("spec.matchTags", "compares the tags of workloads: neither side can be addresses")
	}
	atMostOne(&p, "spec.services", "services and serviceGroup", len(f.Spec.Services) > 0, !f.Spec.ServiceGroup.IsZero())
	for i, t := range f.Spec.MatchTags {
		if t == "" || slices.Contains(f.Spec.MatchTags[:i], t) {
			p.Addf(entry("spec.matchTags", i), "%q is no type of tags, or named twice", t)
		}
	}
	return p
}

func (f *FirewallRule) StatusBody() any { return &f.Status }

// FirewallPolicy is rules in an order.
type FirewallPolicy struct {
	Header
	Spec   FirewallPolicySpec `json:"spec"`
	Status Reported           `json:"status,omitzero"`
}

// FirewallPolicySpec lists rules, and whom they isolate.
type FirewallPolicySpec struct {
	Rules []Ref `json:"rules,omitempty" maxItems:"1000" doc:"Firewall-rules; the first that matches decides."`
	// Isolation adds up: a workload that any policy isolates may do what any
	// policy of the set passes, and nothing else.
	Workloads Endpoint `json:"workloads,omitzero" doc:"Workloads that the policy is for, by tags, project or network; all of the set's when absent."`
	Isolates  []Side   `json:"isolates,omitempty" enum:"ingress,egress" doc:"Directions in which the policy's workloads may do only what some policy of the set passes."`
	Audit     bool     `json:"audit,omitempty" doc:"Count and log what the rules would do, and pass on."`
	Log       bool     `json:"log,omitempty" doc:"Record what is denied because the policy isolates, in the name of the first policy of a set that isolates a port and says so. Needs isolates; rules have a log of their own."`
}

func (f *FirewallPolicy) Refs() []FieldRef {
	return append(refList("spec.rules", KindFirewallRule, f.Spec.Rules, VerbSee), f.Spec.Workloads.refs("spec.workloads")...)
}

func (f *FirewallPolicy) Validate() Problems {
	p := checkFields(f.Spec)
	distinct(&p, "spec.rules", f.Spec.Rules)
	f.Spec.Workloads.check(&p, "spec.workloads")
	if f.Spec.Workloads.ByAddress() {
		p.Addf("spec.workloads", "are selected by tags, project or network, not by address")
	}
	if f.Spec.Log && len(f.Spec.Isolates) == 0 {
		p.Addf("spec.log", "is of what is denied because the policy isolates, and it isolates nobody: say isolates, or give its rules a log")
	}
	return p
}

func (f *FirewallPolicy) StatusBody() any { return &f.Status }

// ApplicationPolicySet is policies in an order, with whom they are for.
type ApplicationPolicySet struct {
	Header
	Spec   ApplicationPolicySetSpec `json:"spec"`
	Status Reported                 `json:"status,omitzero"`
}

// ApplicationPolicySetSpec lists policies and says for whom and when they are asked.
type ApplicationPolicySetSpec struct {
	Scope       string `json:"scope,omitempty" enum:"project,global" default:"project" doc:"project: for workloads of this project; global: for all, which only administrators may say, and before any project's own sets of the tier."`
	Application Ref    `json:"application,omitzero" doc:"Only for workloads with this application tag; for all of the scope when absent."`
	Policies    []Ref  `json:"policies,omitempty" doc:"Firewall-policies, in their order."`
	Tier        string `json:"tier,omitempty" enum:"admin,default,baseline" default:"default" doc:"Sets of tier admin are asked first, of baseline last."`
	Priority    int    `json:"priority,omitempty" minimum:"0" maximum:"65535" doc:"Order among sets of a tier and scope, lowest first; global ones come before all others."`
}

func (a *ApplicationPolicySet) Refs() []FieldRef {
	return append(refList("spec.policies", KindFirewallPolicy, a.Spec.Policies, VerbSee),
		FieldRef{"spec.application", KindTag, &a.Spec.Application, VerbSee})
}

func (a *ApplicationPolicySet) Validate() Problems {
	p := checkFields(a.Spec)
	distinct(&p, "spec.policies", a.Spec.Policies)
	return p
}

func (a *ApplicationPolicySet) StatusBody() any { return &a.Status }

// Global tells whether the set is for workloads of all projects.
func (a *ApplicationPolicySet) Global() bool { return a.Spec.Scope == "global" }
