// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// Domain is the root of fully qualified names.
type Domain struct {
	Header
	Spec   DomainSpec   `json:"spec"`
	Status DomainStatus `json:"status,omitzero"`
}

// DomainSpec has no fields of its own.
type DomainSpec struct{}

// DomainStatus reports nothing yet but conditions.
type DomainStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (d *Domain) Refs() []FieldRef               { return nil }
func (d *Domain) Claims() []Claim                { return nil }
func (d *Domain) Guards() []string               { return nil }
func (d *Domain) Validate() Problems             { return nil }
func (d *Domain) ValidateUpdate(Object) Problems { return nil }
func (d *Domain) StatusBody() any                { return &d.Status }

// Project is a tenant.
type Project struct {
	Header
	Spec   ProjectSpec   `json:"spec"`
	Status ProjectStatus `json:"status,omitzero"`
}

// ProjectSpec has no fields of its own.
type ProjectSpec struct{}

// ProjectStatus reports nothing yet but conditions.
type ProjectStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (p *Project) Refs() []FieldRef               { return nil }
func (p *Project) Claims() []Claim                { return nil }
func (p *Project) Guards() []string               { return nil }
func (p *Project) Validate() Problems             { return nil }
func (p *Project) ValidateUpdate(Object) Problems { return nil }
func (p *Project) StatusBody() any                { return &p.Status }

// Platform is the kind of system an orchestrator is.
type Platform string

// The platforms.
const (
	PlatformWeft       Platform = "weft" // Weft's own administrators
	PlatformKubernetes Platform = "kubernetes"
	PlatformOpenStack  Platform = "openstack"
	PlatformVCenter    Platform = "vcenter"
)

// AdministratorsName is the orchestrator that owns what administrators make.
const AdministratorsName = "weft"

// Orchestrator is one writer of intent. Its name is the owner of all it makes.
type Orchestrator struct {
	Header
	Spec   OrchestratorSpec   `json:"spec"`
	Status OrchestratorStatus `json:"status,omitzero"`
}

// OrchestratorSpec says which system the orchestrator is.
type OrchestratorSpec struct {
	Platform Platform `json:"platform" enum:"weft,kubernetes,openstack,vcenter" doc:"Kind of system."`
	// Identity is the system's own identity (kube-system namespace UID,
	// vCenter instanceUuid, configured cloud id). Fixed once set: a second
	// system that claims the same orchestrator name is refused by it.
	Identity string `json:"identity,omitempty" doc:"Identity of the system itself; fixed once set."`
	// Domain is where the orchestrator's projects live.
	Domain Ref `json:"domain,omitzero" doc:"Domain of the orchestrator's projects."`
}

// ConditionSilent of an orchestrator holds when nobody used its credentials
// for longer than the controllers are set to wait. It changes nothing else: no
// object is ever deleted because its owner is silent.
const ConditionSilent = "Silent"

// OrchestratorStatus says when the orchestrator was last heard of.
type OrchestratorStatus struct {
	LastSeen   time.Time   `json:"lastSeen,omitzero" doc:"Time of a recent request with its credentials, RFC 3339, UTC; kept to about a minute."`
	Conditions []Condition `json:"conditions,omitempty"`
}

func (o *Orchestrator) Refs() []FieldRef {
	return []FieldRef{{"spec.domain", KindDomain, &o.Spec.Domain, VerbAttach}}
}

func (o *Orchestrator) Claims() []Claim {
	if o.Spec.Identity == "" {
		return nil
	}
	return []Claim{{
		Key:   "orchestrator-identity/" + string(o.Spec.Platform) + "/" + o.Spec.Identity,
		Field: "spec.identity",
		What:  "identity " + o.Spec.Identity + " of platform " + string(o.Spec.Platform),
	}}
}

func (o *Orchestrator) Guards() []string { return nil }

func (o *Orchestrator) Validate() Problems {
	var p Problems
	switch o.Spec.Platform {
	case PlatformWeft, PlatformKubernetes, PlatformOpenStack, PlatformVCenter:
	default:
		p.Addf("spec.platform", "%q is not one of weft, kubernetes, openstack, vcenter", o.Spec.Platform)
	}
	if len(o.Spec.Identity) > MaxNameBytes {
		p.Addf("spec.identity", "may be %d bytes long", MaxNameBytes)
	}
	return p
}

func (o *Orchestrator) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*Orchestrator)
	immutable(&p, "spec.platform", was.Spec.Platform, o.Spec.Platform)
	if was.Spec.Identity != "" {
		immutable(&p, "spec.identity", was.Spec.Identity, o.Spec.Identity)
	}
	return p
}

func (o *Orchestrator) StatusBody() any { return &o.Status }

// Verb is what a share allows.
type Verb string

// The verbs of shares. Each later one says more than VerbSee and includes it.
const (
	VerbSee    Verb = "see"    // read it, and refer to it in a rule
	VerbAttach Verb = "attach" // put ports, addresses and children on it
	VerbJoin   Verb = "join"   // put it under a network-policy
	VerbRoute  Verb = "route"  // give it a router interface, import its route targets
	VerbEdit   Verb = "edit"   // write its spec
)

// GranteeAll in a share means everybody.
const GranteeAll Kind = "all"

// Share lets another owner refer to an object.
type Share struct {
	Header
	Spec   ShareSpec   `json:"spec"`
	Status ShareStatus `json:"status,omitzero"`
}

// ShareSpec says what is shared with whom for what.
type ShareSpec struct {
	TargetKind  Kind   `json:"targetKind" doc:"Kind of the shared object."`
	Target      Ref    `json:"target" doc:"The shared object; the share's owner must own it."`
	GranteeKind Kind   `json:"granteeKind" enum:"orchestrator,domain,project,all" doc:"Who is granted: orchestrator, domain, project or all."`
	Grantee     Ref    `json:"grantee,omitzero" doc:"The grantee; empty for all."`
	Verbs       []Verb `json:"verbs" doc:"What is allowed: see, attach, join, route, edit. Each includes see."`
}

// ShareStatus reports nothing yet but conditions.
type ShareStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

// Allows tells whether the share grants a verb.
func (s *Share) Allows(v Verb) bool {
	for _, have := range s.Spec.Verbs {
		if have == v || v == VerbSee {
			return true
		}
	}
	return false
}

func (s *Share) Refs() []FieldRef {
	refs := []FieldRef{{"spec.target", s.Spec.TargetKind, &s.Spec.Target, VerbEdit}}
	if s.Spec.GranteeKind != GranteeAll {
		refs = append(refs, FieldRef{"spec.grantee", s.Spec.GranteeKind, &s.Spec.Grantee, ""})
	}
	return refs
}

func (s *Share) Claims() []Claim  { return nil }
func (s *Share) Guards() []string { return nil }

func (s *Share) Validate() Problems {
	var p Problems
	if _, ok := KindInfo(s.Spec.TargetKind); !ok {
		p.Addf("spec.targetKind", "%q is not a kind of object", s.Spec.TargetKind)
	}
	required(&p, "spec.target", s.Spec.Target)
	switch s.Spec.GranteeKind {
	case KindOrchestrator, KindDomain, KindProject:
		required(&p, "spec.grantee", s.Spec.Grantee)
	case GranteeAll:
		if !s.Spec.Grantee.IsZero() {
			p.Addf("spec.grantee", "must be empty when granteeKind is all")
		}
	default:
		p.Addf("spec.granteeKind", "%q is not one of orchestrator, domain, project, all", s.Spec.GranteeKind)
	}
	if len(s.Spec.Verbs) == 0 {
		p.Addf("spec.verbs", "at least one verb is required")
	}
	for _, v := range s.Spec.Verbs {
		switch v {
		case VerbSee, VerbAttach, VerbJoin, VerbRoute, VerbEdit:
		default:
			p.Addf("spec.verbs", "%q is not one of see, attach, join, route, edit", v)
		}
	}
	return p
}

func (s *Share) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*Share)
	immutable(&p, "spec.targetKind", was.Spec.TargetKind, s.Spec.TargetKind)
	immutable(&p, "spec.target", was.Spec.Target, s.Spec.Target)
	immutable(&p, "spec.granteeKind", was.Spec.GranteeKind, s.Spec.GranteeKind)
	immutable(&p, "spec.grantee", was.Spec.Grantee, s.Spec.Grantee)
	return p
}

func (s *Share) StatusBody() any { return &s.Status }
