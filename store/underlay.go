// SPDX-License-Identifier: Apache-2.0

package store

import "github.com/weft-network/weft/api"

// underlay refuses tenants what brings addresses into the hosts' own routing:
// what a network in the underlay has as its range, hosts route to its
// workloads, whoever had these addresses before.
func (p *plan) underlay(r, old *record, fail failure) error {
	if p.by.Scope == nil {
		return nil
	}
	field := ""
	switch o := r.object.(type) {
	case *api.Network:
		if o.AsksForUnderlay() && (old == nil || !old.object.(*api.Network).AsksForUnderlay()) {
			field = "spec.encapsulation"
			if o.Spec.HostVisible {
				field = "spec.hostVisible"
			}
		}
	case *api.Subnet:
		if old == nil && referent[*api.Network](p, api.KindNetwork, o.Meta.Parent).AsksForUnderlay() {
			field = "meta.parent"
		}
	}
	if field == "" {
		return nil
	}
	return fail.forbidden(field, "a network without encapsulation, or visible to hosts, brings its subnets into the hosts' own routing: ask for it with credentials of %s that are not narrowed to a part of it", p.by.Orchestrator)
}
