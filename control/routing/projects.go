// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Project is a project and its ports with an active binding, whose workloads
// find each other by name. It never changes.
type Project struct {
	UUID  string
	Ports []*Port // by UUID
}

// runProjects gives the projects their ports: those that are still in the
// table of all, as they are there.
func (u *update) runProjects() {
	if len(u.named) == 0 {
		return
	}
	u.projects = maps.Clone(u.projects)
	for uuid, came := range u.named {
		var had []*Port
		if old := u.projects[uuid]; old != nil {
			had = old.Ports
		}
		slices.SortFunc(came, byUUID)
		if ports := u.merge(had, came); len(ports) > 0 {
			u.projects[uuid] = &Project{uuid, ports}
		} else {
			delete(u.projects, uuid)
		}
	}
}

// merge returns the ports that are still there of those that were, and those
// that came, by UUID: in one pass, for a project may have as many as there are.
func (u *update) merge(had, came []*Port) []*Port {
	ports := make([]*Port, 0, len(had)+len(came))
	for _, p := range had {
		for len(came) > 0 && byUUID(came[0], p) < 0 {
			ports, came = append(ports, came[0]), came[1:]
		}
		if u.ports.get(p.Ref.UUID) == p {
			ports = append(ports, p)
		}
	}
	return append(ports, came...)
}

func byUUID(a, b *Port) int { return strings.Compare(a.Ref.UUID, b.Ref.UUID) }

// sameRange tells that two subnets make the same routes.
func sameRange(a, b Subnet) bool { return a.Ref == b.Ref && a.CIDR == b.CIDR && a.Gateway == b.Gateway }

// Equal tells that two subnets read the same.
func (s Subnet) Equal(t Subnet) bool {
	return sameRange(s, t) && (s.Services == t.Services || reflect.DeepEqual(s.Services, t.Services))
}
