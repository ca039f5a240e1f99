// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/world"
)

// The counts of a subnet: of what allocation has, what is given out within
// and beside it, and what rests in this subnet and not in others.
func TestSubnetUsage(t *testing.T) {
	s := newSystem(t, "network n 1\nsubnet n 10.0.0.0/24\nsubnet n 2001:db8::/64\nnetwork m 2\nsubnet m 10.0.0.0/30")
	s.want("a round without counting", "")
	s.usage = true
	s.want("the first count", `subnet m:10.0.0.0/30: 1 assignable, 0 used, 0 reserved, 0 resting, 1 free
subnet n:10.0.0.0/24: 253 assignable, 0 used, 0 reserved, 0 resting, 253 free
subnet n:2001:db8::/64: 9007199254740991 assignable, 0 used, 0 reserved, 0 resting, 9007199254740991 free`)
	s.Do("address m 10.0.0.2\naddress n 10.0.0.7\naddress n 10.0.0.200\naddress n 2001:db8::7")
	s.Rest("n", "10.0.0.9")
	s.want("addresses", `subnet m:10.0.0.0/30: 1 assignable, 1 used, 0 reserved, 0 resting, 0 free
subnet n:10.0.0.0/24: 253 assignable, 2 used, 0 reserved, 1 resting, 250 free
subnet n:2001:db8::/64: 9007199254740991 assignable, 1 used, 0 reserved, 0 resting, 9007199254740990 free`)
	pools := func(list *[]api.AddressRange, text string) {
		r, err := api.ParseAddressRange(text)
		if err != nil {
			t.Fatal(err)
		}
		*list = append(*list, r)
	}
	subnet := s.Get(api.KindSubnet, world.UUID(api.KindSubnet, "n:10.0.0.0/24")).(*api.Subnet)
	pools(&subnet.Spec.Pools, "10.0.0.1-10.0.0.20")
	pools(&subnet.Spec.Reserved, "10.0.0.9-10.0.0.10")
	s.want("pools: the resting one is reserved now, and one that is given out lies outside",
		"subnet n:10.0.0.0/24: 17 assignable, 2 used, 2 reserved, 1 resting, 16 free")

	// Networks that share an address space share what is free.
	s = newSystem(t, "network a 1\nsubnet a 10.0.0.0/24\nnetwork b 2\nsubnet b 10.0.0.0/24\naddress a 10.0.0.7\naddress b 10.0.0.8\naddress b 10.0.0.9")
	s.usage = true
	for _, o := range s.List(api.KindSubnet) {
		o.(*api.Subnet).Spec.SharedSpace = "ipam"
	}
	for _, o := range s.List(api.KindAddress) {
		o.(*api.Address).Spec.SharedSpace = "ipam"
	}
	s.want("a shared space", `subnet a:10.0.0.0/24: 253 assignable, 1 used, 0 reserved, 0 resting, 250 free
subnet b:10.0.0.0/24: 253 assignable, 2 used, 0 reserved, 0 resting, 250 free`)
}
