// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
)

// selectable are the kinds by which workloads are named.
var selectable = []api.Kind{api.KindPort, api.KindNetwork, api.KindSecurityGroup, api.KindTag, api.KindProject, api.KindVirtualMachine, api.KindHost}

// Find gives the ports that KIND/NAME names, of those that an asker sees. A name
// without a kind is a port's. Ports that have no place are left out.
func (m *Model) Find(seen api.Snapshot, text string) ([]*routing.Port, error) {
	word, name, slashed := strings.Cut(text, "/")
	if !slashed {
		word, name = string(api.KindPort), text
	}
	info, known := api.ParseKind(word)
	if !known || !slices.Contains(selectable, info.Kind) {
		return nil, api.Errorf(api.CodeInvalid, "find the workloads %q: %q is none of %v", text, word, selectable)
	}
	o := seen.Lookup(info.Kind, api.ParseRef(name))
	if o == nil {
		return nil, api.Errorf(api.CodeNotFound, "find the workloads %q: there is no %s %q", text, info.Kind, name).About(info.Kind, name, "")
	}
	uuid := o.Head().Meta.UUID
	var found []*routing.Port
	for _, p := range m.candidates(info.Kind, uuid) {
		if m.is(p, info.Kind, uuid) && seen.Get(api.KindPort, p.Ref.UUID) != nil {
			found = append(found, p)
		}
	}
	return found, nil
}

// candidates are the ports among which those of an object are.
func (m *Model) candidates(kind api.Kind, uuid string) []*routing.Port {
	switch kind {
	case api.KindPort:
		if p := m.routing.Port(uuid); p != nil {
			return []*routing.Port{p}
		}
		return nil
	case api.KindNetwork:
		if n := m.routing.Network(uuid); n != nil {
			return n.Ports()
		}
		return nil
	}
	return m.routing.Ports()
}

func (m *Model) is(p *routing.Port, kind api.Kind, uuid string) bool {
	asked := m.policy.Port(p.Ref.UUID)
	switch kind {
	case api.KindSecurityGroup:
		return asked != nil && slices.Contains(asked.Workload.Groups, uuid)
	case api.KindTag:
		return asked != nil && slices.ContainsFunc(asked.Workload.Tags, func(t policy.Tag) bool { return t.UUID == uuid })
	case api.KindProject:
		return p.Project == uuid
	case api.KindVirtualMachine:
		return p.Machine == uuid
	case api.KindHost:
		return p.Host.UUID == uuid
	}
	return true
}
