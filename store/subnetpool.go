// SPDX-License-Identifier: Apache-2.0

package store

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// fromPool gives a subnet of a subnet-pool its range, or checks the one it asks
// for. The guard "subnet-pool/<pool>" keeps two that overlap from committing at
// the same time.
func (p *plan) fromPool(o *api.Subnet, old *record, fail failure) error {
	if o.Spec.SubnetPool.IsZero() || old != nil { // cidr and pool never change
		return nil
	}
	pool := p.record(idOf(api.KindSubnetPool, o.Spec.SubnetPool.UUID)).object.(*api.SubnetPool)
	used := p.rangesOf(pool.Meta.UUID)
	if !o.Spec.CIDR.IsValid() {
		c, ok := freePrefix(pool.Spec.Prefixes, used, pool.Length(o.Spec.PrefixLength))
		if !ok {
			return fail.with(api.CodeExhausted, "spec.cidr", "subnet-pool %s has no free range of prefix length %d", pool.Meta.FQName, pool.Length(o.Spec.PrefixLength))
		}
		o.Spec.CIDR = c
		o.Default()
		if problems := o.Validate(); len(problems) > 0 {
			return fail.problems(problems)
		}
	}
	if !pool.Contains(o.Spec.CIDR) {
		return fail.invalid("spec.cidr", "%v is not in subnet-pool %s", o.Spec.CIDR, pool.Meta.FQName)
	}
	if slices.ContainsFunc(used, o.Spec.CIDR.Overlaps) {
		return fail.conflict("spec.cidr", "%v overlaps with %s, given out from subnet-pool %s: ask without cidr for a range that is free", o.Spec.CIDR, p.rangeTaken(pool.Meta.UUID, o.Spec.CIDR), pool.Meta.FQName)
	}
	return nil
}

// rangeTaken names a subnet of a pool that overlaps with a range, as far as the
// writer may see it: another's range is not told.
func (p *plan) rangeTaken(pool string, wanted netip.Prefix) string {
	text := "a range that these credentials may not see"
	for _, s := range p.referring(api.KindSubnet, idOf(api.KindSubnetPool, pool)) {
		if r := p.recordOf(s); s.(*api.Subnet).Spec.CIDR.Overlaps(wanted) && p.sees(r) {
			return s.(*api.Subnet).Spec.CIDR.String() + " of " + nameOf(r)
		}
	}
	return text
}

// rangesOf lists the ranges of a pool's subnets, ascending.
func (p *plan) rangesOf(pool string) []netip.Prefix {
	var used []netip.Prefix
	p.base.eachReferrer(idOf(api.KindSubnetPool, pool), api.KindSubnet, func(r *record) bool {
		if p.record(r.id) != nil {
			used = append(used, r.object.(*api.Subnet).Spec.CIDR)
		}
		return true
	})
	for _, i := range p.order {
		d := p.deltas[i]
		if i.kind() == api.KindSubnet && d.old == nil && d.now != nil && d.now.object.(*api.Subnet).Spec.SubnetPool.UUID == pool {
			used = append(used, d.now.object.(*api.Subnet).Spec.CIDR)
		}
	}
	slices.SortFunc(used, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return used
}

// freePrefix returns the lowest range of a length in the first prefix that has
// one free. used is ascending and disjoint.
func freePrefix(prefixes, used []netip.Prefix, bits int) (netip.Prefix, bool) {
	for _, within := range prefixes {
		if bits < within.Bits() || bits > within.Addr().BitLen() {
			continue
		}
		at := netip.PrefixFrom(within.Addr(), bits)
		for _, u := range used {
			if !at.IsValid() || !at.Overlaps(u) {
				continue
			}
			// Behind the larger of the two, where both begin and end aligned.
			last := api.LastAddr(u)
			if u.Bits() > bits {
				last = api.LastAddr(at)
			}
			at = netip.PrefixFrom(last.Next(), bits)
		}
		if at.IsValid() && within.Contains(at.Addr()) {
			return at, true
		}
	}
	return netip.Prefix{}, false
}
