// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"slices"

	"github.com/weft-network/weft/api"
)

// maxFormers is how many hosts may have had a port lately.
const maxFormers = 4

// Formers are the UUIDs of other hosts with a binding of a port, or of the port
// that carries it: where it may have been, the one whose binding changed last first.
func (d *Derived) Formers(p *Port) (hosts []string) {
	of := p.Ref.UUID
	if !p.Trunk.IsZero() {
		of = p.Trunk.UUID
	}
	bindings := slices.Clone(objectsOf(d.Snapshot).bindings(of))
	slices.SortStableFunc(bindings, func(a, b *api.Binding) int { return cmp.Compare(b.Meta.Revision, a.Meta.Revision) })
	for _, b := range bindings {
		if b.Spec.Host.UUID != p.Host.UUID && d.Host(b.Spec.Host.UUID) != nil && len(hosts) < maxFormers {
			hosts = append(hosts, b.Spec.Host.UUID)
		}
	}
	return hosts
}

// Carried are the sub-ports that a port carries.
func (d *Derived) Carried(p *Port) (all []*Port) {
	for _, q := range d.Host(p.Host.UUID).Ports {
		if q.Trunk.UUID == p.Ref.UUID {
			all = append(all, q)
		}
	}
	return all
}

// Reaching are the networks with routes to a port's addresses: its own and those
// that import from it.
func (d *Derived) Reaching(p *Port) (all []*Network) {
	for _, uuid := range append([]string{p.Network.Ref.UUID}, d.importers[p.Network.Ref.UUID]...) {
		if n := d.Network(uuid); n != nil {
			all = append(all, n)
		}
	}
	return all
}
