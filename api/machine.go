// SPDX-License-Identifier: Apache-2.0

package api

import "strings"

// The kinds of workloads and of what marks them.
const (
	KindVirtualMachine Kind = "virtual-machine"
	KindTag            Kind = "tag"
	KindTagBinding     Kind = "tag-binding"
)

var machineKinds = []Info{
	{KindTag, "tags", "tag", KindProject, "A word of a type (tier=web) by which rules select workloads.", func() Object { return &Tag{} }},
	{KindVirtualMachine, "virtual-machines", "vm", KindProject, "A workload that owns ports: a virtual machine, a pod, a machine.", func() Object { return &VirtualMachine{} }},
}

var tagBindingKinds = []Info{
	{KindTagBinding, "tag-bindings", "tagb", KindProject, "Puts a tag on a project, network, host, virtual-machine or port, and on all inside.", func() Object { return &TagBinding{} }},
}

// VirtualMachine is what owns ports: a virtual machine, a pod, a machine.
type VirtualMachine struct {
	Header
	Spec   VirtualMachineSpec `json:"spec"`
	Status Reported           `json:"status,omitzero"`
}

// VirtualMachineSpec says what kind of workload it is and where it runs.
type VirtualMachineSpec struct {
	Type     string `json:"type,omitempty" enum:"virtual-machine,pod,machine" default:"virtual-machine" doc:"What it is: a virtual machine, a pod (containers that share a network namespace), or a machine of its own."`
	HostName string `json:"hostName,omitempty" doc:"Name it calls itself: given out by DHCP and DNS where a port has no dnsName."`
	// Within is fixed, so that nothing is ever inside itself.
	Within Ref `json:"within,omitzero" effect:"none" doc:"The virtual machine inside which this one runs (nested); fixed. That one's tags are not this one's."`
}

func (v *VirtualMachine) Refs() []FieldRef {
	return []FieldRef{{"spec.within", KindVirtualMachine, &v.Spec.Within, VerbAttach}}
}

func (v *VirtualMachine) Validate() Problems { return checkFields(v.Spec) }

func (v *VirtualMachine) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.within", old.(*VirtualMachine).Spec.Within, v.Spec.Within)
	return p
}

func (v *VirtualMachine) StatusBody() any { return &v.Status }

// Types of tags that other systems have, too.
const (
	TagApplication = "application"
	TagTier        = "tier"
	TagDeployment  = "deployment"
	TagSite        = "site"
	TagLabel       = "label"
)

// TagsAddUp tells whether a workload has all the tags of a type that are bound to
// it and to what it is inside of: labels, and types with a slash, which are the
// words of another system (label/app, category/floor). Of any other type it has
// one of each project's, the nearest.
func TagsAddUp(word string) bool { return word == TagLabel || strings.Contains(word, "/") }

// Tag is a word of a type: tier=web.
type Tag struct {
	Header
	Spec   TagSpec  `json:"spec"`
	Status Reported `json:"status,omitzero"`
}

// TagSpec is fixed at creation.
type TagSpec struct {
	Type  string `json:"type" doc:"application, tier, deployment, site, label, or any word of one's own; fixed. Of labels, and of types with a slash in it, a workload has all that it and what it is inside of have; of each other type one of a project's tags, the nearest."`
	Value string `json:"value,omitempty" doc:"The word itself; fixed."`
}

// Claims holds type and value within the project.
func (t *Tag) Claims() []Claim {
	return []Claim{{
		Key:   "tag/" + t.Meta.Parent.UUID + "/" + t.Spec.Type + "=" + t.Spec.Value,
		Field: "spec.value", What: "tag " + t.Spec.Type + "=" + t.Spec.Value + " of " + t.Meta.Parent.String(),
	}}
}

func (t *Tag) Validate() Problems {
	p := checkFields(t.Spec)
	if strings.Contains(t.Spec.Type, "=") {
		p.Addf("spec.type", "%q has a =, which stands between type and value", t.Spec.Type)
	}
	return p
}

func (t *Tag) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*Tag).Spec
	immutable(&p, "spec.type", was.Type, t.Spec.Type)
	immutable(&p, "spec.value", was.Value, t.Spec.Value)
	return p
}

func (t *Tag) StatusBody() any { return &t.Status }

// TagBinding puts a tag on an object. It belongs to whoever makes it.
type TagBinding struct {
	Header
	Spec   TagBindingSpec `json:"spec"`
	Status Reported       `json:"status,omitzero"`
}

// TagBindingSpec is fixed at creation.
type TagBindingSpec struct {
	Tag        Ref  `json:"tag" doc:"The tag; fixed."`
	TargetKind Kind `json:"targetKind" enum:"project,network,host,virtual-machine,port" doc:"Kind of what gets the tag; fixed."`
	Target     Ref  `json:"target" doc:"What gets the tag, and with it all inside; fixed."`
	// TagType and TagProject are filled in by the store, which claims one binding
	// per target and project of the types that a workload has one of.
	TagType    string `json:"tagType,omitempty" doc:"Type of the tag. Read-only." readOnly:"true"`
	TagProject string `json:"tagProject,omitempty" doc:"UUID of the project of the tag. Read-only." readOnly:"true"`
}

func (t *TagBinding) Refs() []FieldRef {
	return []FieldRef{
		{"spec.tag", KindTag, &t.Spec.Tag, VerbAttach},
		{"spec.target", t.Spec.TargetKind, &t.Spec.Target, VerbAttach},
	}
}

// Claims holds the pair, and for types of which there is one, the type.
func (t *TagBinding) Claims() []Claim {
	target := string(t.Spec.TargetKind) + "/" + t.Spec.Target.UUID
	claims := []Claim{{"tag-binding/" + target + "/" + t.Spec.Tag.UUID, "spec.tag", "tag " + t.Spec.Tag.String() + " on " + t.Spec.Target.String()}}
	if t.Spec.TagType != "" && !TagsAddUp(t.Spec.TagType) {
		claims = append(claims, Claim{"tag-type/" + target + "/" + t.Spec.TagType + "/" + t.Spec.TagProject, "spec.tag", "the " + t.Spec.TagType + " tag of " + t.Spec.Target.String()})
	}
	return claims
}

func (t *TagBinding) Validate() Problems { return checkFields(t.Spec) }

func (t *TagBinding) ValidateUpdate(old Object) Problems {
	var p Problems
	was := old.(*TagBinding).Spec
	immutable(&p, "spec.tag", was.Tag, t.Spec.Tag)
	immutable(&p, "spec.targetKind", was.TargetKind, t.Spec.TargetKind)
	immutable(&p, "spec.target", was.Target, t.Spec.Target)
	return p
}

func (t *TagBinding) StatusBody() any { return &t.Status }
