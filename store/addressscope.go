// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"

	"github.com/weft-network/weft/api"
)

// familyOf is the family of an address.
func familyOf(a netip.Addr) api.Family {
	if a.Is4() {
		return api.IPv4
	}
	return api.IPv6
}

// scopedPool checks a subnet-pool against the other pools of its address-scope.
// The guard "address-scope/<scope>" keeps two pools that overlap from
// committing at the same time; which scope a pool is in changes only while no
// subnet is from it.
func (p *plan) scopedPool(o *api.SubnetPool, old *record, fail failure) error {
	if old != nil && old.object.(*api.SubnetPool).Spec.AddressScope.UUID != o.Spec.AddressScope.UUID {
		if err := p.unused(old.id, []api.Kind{api.KindSubnet}, "spec.addressScope", fail); err != nil {
			return err
		}
	}
	if o.Spec.AddressScope.IsZero() {
		return nil
	}
	scope := referent[*api.AddressScope](p, api.KindAddressScope, o.Spec.AddressScope)
	if have := familyOf(o.Spec.Prefixes[0].Addr()); have != scope.Spec.Family {
		return fail.invalid("spec.addressScope", "address-scope %s is of %s, the prefixes are of %s", scope.Meta.FQName, scope.Spec.Family, have)
	}
	for _, other := range p.referring(api.KindSubnetPool, idOf(api.KindAddressScope, scope.Meta.UUID)) {
		pool := other.(*api.SubnetPool)
		if pool.Meta.UUID == o.Meta.UUID {
			continue
		}
		for _, mine := range o.Spec.Prefixes {
			for _, theirs := range pool.Spec.Prefixes {
				if mine.Overlaps(theirs) {
					return fail.conflict("spec.prefixes", "%v overlaps with %v of %s in the same address-scope %s", mine, theirs, p.user(p.recordOf(pool)), scope.Meta.FQName)
				}
			}
		}
	}
	return nil
}

// sameScope refuses a subnet whose addresses would mean another thing than
// those of the network's other subnets of the family: all are of one
// address-scope, or none is of any. The guard "subnets/<network>" keeps two
// such from committing at the same time, and that the pool is as it was keeps
// it in its scope.
func (p *plan) sameScope(o *api.Subnet, old *record, fail failure) error {
	if old != nil { // neither its pool nor its family change
		return nil
	}
	mine := p.scopeOfSubnet(o)
	if r := p.base.record(idOf(api.KindSubnetPool, o.Spec.SubnetPool.UUID)); r != nil {
		p.compare[r.id.objectKey()] = unchanged(r.id.objectKey(), r.modRevision)
	}
	for _, other := range p.children(api.KindSubnet, o.Meta.Parent.UUID) {
		s := other.(*api.Subnet)
		if s.Meta.UUID == o.Meta.UUID || s.Spec.CIDR.Addr().Is4() != o.Spec.CIDR.Addr().Is4() {
			continue
		}
		if theirs := p.scopeOfSubnet(s); theirs.UUID != mine.UUID {
			return fail.conflict("spec.subnetPool", "the range is of %s, and subnet %s of the network is of %s: a network's subnets of one family are all of one", scopeWords(mine), s.Meta.FQName, scopeWords(theirs))
		}
	}
	return nil
}

func scopeWords(scope api.Ref) string {
	if scope.IsZero() {
		return "no address-scope"
	}
	return "address-scope " + scope.String()
}

// scopeOfSubnet returns the address-scope that a subnet's pool is in, if any.
func (p *plan) scopeOfSubnet(s *api.Subnet) api.Ref {
	if s.Spec.SubnetPool.IsZero() {
		return api.Ref{}
	}
	return referent[*api.SubnetPool](p, api.KindSubnetPool, s.Spec.SubnetPool).Spec.AddressScope
}
