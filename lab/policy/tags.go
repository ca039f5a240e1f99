// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// tagged is a tag of a workload, and the kind of what it is bound to.
type tagged struct {
	tag   *api.Tag
	level api.Kind
}

// single tells of a type of tags that the nearest of each project's counts.
func single(word string) bool { return word != "label" && !strings.Contains(word, "/") }

// tags are those of a workload.
func (m *Model) tags(p *api.Port) (tags []tagged) {
	levels := []struct {
		kind api.Kind
		uuid string
	}{
		{api.KindPort, p.Meta.UUID},
		{api.KindVirtualMachine, p.Spec.VirtualMachine.UUID},
		{api.KindNetwork, p.Spec.Network.UUID},
		{api.KindProject, project(p).UUID},
		{api.KindHost, m.host(p)},
	}
	var have []string
	for _, l := range levels {
		for _, b := range all[*api.TagBinding](m, api.KindTagBinding) {
			tag, is := get[*api.Tag](m, b.Spec.Tag)
			if !is || l.uuid == "" || b.Spec.TargetKind != l.kind || b.Spec.Target.UUID != l.uuid {
				continue
			}
			if single(tag.Spec.Type) {
				of := tag.Meta.Parent.UUID + " " + tag.Spec.Type
				if slices.Contains(have, of) {
					continue
				}
				have = append(have, of)
			}
			tags = append(tags, tagged{tag, l.kind})
		}
	}
	return tags
}

// host is the UUID of the host of a port's active binding.
func (m *Model) host(p *api.Port) string {
	for _, b := range all[*api.Binding](m, api.KindBinding) {
		if b.Meta.Parent.UUID == p.Meta.UUID && b.Spec.Active {
			return b.Spec.Host.UUID
		}
	}
	return ""
}

// in tells whether an endpoint that an object of a project says selects a workload,
// but for its addresses.
func (m *Model) in(said api.Ref, x api.Endpoint, p *api.Port) bool {
	tags := m.tags(p)
	for _, r := range x.Tags {
		if !slices.ContainsFunc(tags, func(t tagged) bool { return t.tag.Meta.UUID == r.UUID }) {
			return false
		}
	}
	for _, c := range x.Expressions {
		of := said
		if !c.Project.IsZero() {
			of = c.Project
		}
		theirs := slices.DeleteFunc(slices.Clone(tags), func(t tagged) bool { return t.tag.Meta.Parent.UUID != of.UUID })
		if !satisfied(c, theirs) {
			return false
		}
	}
	return (x.Project.IsZero() || x.Project.UUID == project(p).UUID) && (x.Network.IsZero() || x.Network.UUID == p.Spec.Network.UUID)
}

// satisfied: an expression knows no tags but those of its project.
func satisfied(x api.TagExpression, tags []tagged) bool {
	has := slices.ContainsFunc(tags, func(t tagged) bool {
		return t.tag.Spec.Type == x.Type && (x.Level == "" || t.level == x.Level) && (len(x.Values) == 0 || slices.Contains(x.Values, t.tag.Spec.Value))
	})
	if x.Operator == "not-in" || x.Operator == "not-exists" {
		return !has
	}
	return has
}

// addressed tells whether an endpoint's addresses, if it has some, hold one.
func (m *Model) addressed(x api.Endpoint, a netip.Addr) bool {
	if x.Range.IsValid() && (!x.Range.Masked().Contains(a) || slices.ContainsFunc(x.Except, func(p netip.Prefix) bool { return p.Masked().Contains(a) })) {
		return false
	}
	return x.AddressGroup.IsZero() || m.inAddressGroup(x.AddressGroup, a)
}

// alike tells whether two workloads have a tag of each type in common.
func (m *Model) alike(types []string, a, b *api.Port) bool {
	for _, kind := range types {
		common := slices.ContainsFunc(m.tags(a), func(t tagged) bool {
			return t.tag.Spec.Type == kind && slices.ContainsFunc(m.tags(b), func(u tagged) bool { return u.tag.Meta.UUID == t.tag.Meta.UUID })
		})
		if !common {
			return false
		}
	}
	return true
}
