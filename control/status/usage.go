// SPDX-License-Identifier: Apache-2.0

package status

import (
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// usage counts the addresses of every subnet.
func (c *collector) usage() {
	given := map[string][]netip.Addr{} // by subnet
	for _, a := range api.ListOf[*api.Address](c.Snapshot, api.KindAddress) {
		given[a.Spec.Subnet.UUID] = append(given[a.Spec.Subnet.UUID], a.Spec.IP)
	}
	resting := map[string][]netip.Addr{} // by address space
	for _, s := range api.ListOf[*api.Subnet](c.Snapshot, api.KindSubnet) {
		space := s.AddressSpace()
		if _, ok := resting[space]; !ok {
			resting[space] = c.Snapshot.Resting(space)
		}
		now := usageOf(s, given[s.Meta.UUID], resting[space])
		c.want(s, &now)
	}
}

func usageOf(s *api.Subnet, given, resting []netip.Addr) api.SubnetStatus {
	now := s.Status
	allocatable := s.Allocatable()
	now.Assignable = api.CountAll(allocatable)
	now.Reserved = api.CountAll(s.Spec.Reserved)
	now.Used = uint64(len(given))
	now.Resting = 0
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
