// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// port says who a port is, without what is asked at it; nil for one that is
// nowhere.
func (u *update) port(uuid string) *Port {
	at := u.routed(uuid)
	p, ok := u.portOf(uuid)
	if at == nil || !ok {
		return nil
	}
	w := &Workload{Project: at.Project, Network: at.Network.Ref.UUID, Groups: u.groupsOf(p, at), Tags: u.tagsOf(at), Named: namedOf(p)}
	u.hasher.identify(w)
	return &Port{Ref: at.Ref, Host: at.Host.UUID, Workload: w, Limit: p.Spec.ConnectionLimit}
}

// groupsOf are a port's security-groups: its own, or its project's default one.
func (u *update) groupsOf(p *api.Port, at *routing.Port) (groups []string) {
	if at.Unchecked { // portSecurity is off
		return nil
	}
	for _, g := range p.Spec.SecurityGroups {
		groups = append(groups, g.UUID)
	}
	if len(groups) == 0 {
		if g := u.objects.defaultGroup(at.Project); g != "" {
			groups = []string{g}
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// tagsOf are the tags of a port that count: those bound to it and to what it is
// inside of, from near to far. What one project says of a workload hides nothing
// that another says.
func (u *update) tagsOf(at *routing.Port) (tags []Tag) {
	for _, on := range []struct {
		kind api.Kind
		uuid string
	}{
		{api.KindPort, at.Ref.UUID}, {api.KindVirtualMachine, at.Machine}, {api.KindNetwork, at.Network.Ref.UUID},
		{api.KindProject, at.Project}, {api.KindHost, at.Host.UUID},
	} {
		for _, t := range u.objects.tagsOn(on.kind, on.uuid) {
			if !api.TagsAddUp(t.Spec.Type) && slices.ContainsFunc(tags, func(had Tag) bool { return had.Type == t.Spec.Type && had.Project == t.Meta.Parent.UUID }) {
				continue
			}
			tags = append(tags, Tag{UUID: t.Meta.UUID, Type: t.Spec.Type, Value: t.Spec.Value, Level: on.kind, Project: t.Meta.Parent.UUID})
		}
	}
	slices.SortFunc(tags, compareTags)
	return slices.Compact(tags)
}

func namedOf(p *api.Port) (named []Named) {
	for _, n := range p.Spec.NamedPorts {
		if protocol, ok := n.Protocol.Number(); ok {
			named = append(named, Named{n.Name, uint8(protocol), uint16(n.Port)})
		}
	}
	slices.SortFunc(named, compareNamed)
	return named
}
