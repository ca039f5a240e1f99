// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// usage counts the addresses of every subnet.
func (c *collector) usage() {
	used := map[string]uint64{}        // by subnet
	given := map[string][]netip.Addr{} // by address space
	for _, a := range api.ListOf[*api.Address](c.Snapshot, api.KindAddress) {
		used[a.Spec.Subnet.UUID]++
		given[a.AddressSpace()] = append(given[a.AddressSpace()], a.Spec.IP)
	}
	resting := map[string][]netip.Addr{} // by address space
	// Networks that share a range mean the same by it: it is counted once.
	counted := map[string]api.SubnetStatus{}
	for _, s := range api.ListOf[*api.Subnet](c.Snapshot, api.KindSubnet) {
		space := s.AddressSpace()
		if _, ok := resting[space]; !ok {
			resting[space] = restingOf(c.Snapshot, space)
		}
		key := fmt.Sprint(space, s.Spec.CIDR, s.Spec.Pools, s.Spec.Reserved)
		if _, ok := counted[key]; !ok {
			counted[key] = count(s, given[space], resting[space])
		}
		now := counted[key]
		now.Used, now.Conditions = used[s.Meta.UUID], s.Status.Conditions
		c.want(s, &now)
	}
}

// count counts all but the addresses given out in the subnet itself, from
// those of its address space.
func count(s *api.Subnet, given, resting []netip.Addr) (now api.SubnetStatus) {
	allocatable := s.Allocatable()
	now.Assignable = api.CountAll(allocatable)
	now.Reserved = api.CountAll(s.Spec.Reserved)
	var gone uint64 // of what is assignable
	for _, ip := range given {
		if within(allocatable, ip) {
			gone++
		}
	}
	for _, ip := range resting {
		if s.Spec.CIDR.Contains(ip) {
			now.Resting++
			if within(allocatable, ip) {
				gone++
			}
		}
	}
	now.Free = now.Assignable - min(gone, now.Assignable)
	return now
}

// within tells whether an address is in one of ascending, disjoint ranges.
func within(ranges []api.AddressRange, ip netip.Addr) bool {
	_, found := slices.BinarySearchFunc(ranges, ip, func(r api.AddressRange, ip netip.Addr) int {
		switch {
		case r.Contains(ip):
			return 0
		case r.Last.Less(ip):
			return -1
		}
		return 1
	})
	return found
}

// quarantine is a snapshot that knows which addresses of a space were freed
// and are not given out yet; the store's does.
type quarantine interface {
	Resting(space string) []netip.Addr
}

func restingOf(s api.Snapshot, space string) []netip.Addr {
	q, ok := s.(quarantine)
	if !ok {
		return nil
	}
	return q.Resting(space)
}
