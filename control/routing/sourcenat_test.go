// SPDX-License-Identifier: Apache-2.0

package routing_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// Of many addresses that a network goes out with those work that are first, by
// source-nat and as these name them, also where they are of several networks.
func TestSharedAddressesOfANetworkAreBounded(t *testing.T) {
	w := world.New("host h1 192.0.2.1\nnetwork n 1\nnetwork e 2\nnetwork f 3\nport n p\nbind p h1")
	for i := range routing.MaxSharedAddresses + 2 {
		e := string("ef"[i%2])
		w.Do(fmt.Sprintf("address %s 10.9.0.%d\nsnat s%02d n %s:10.9.0.%d", e, i+1, i, e, i+1))
	}
	routes := func(d *routing.Derived) (prefixes []string) {
		for _, name := range []string{"e", "f"} {
			for _, r := range d.Network(world.UUID(api.KindNetwork, name)).Routes {
				prefixes = append(prefixes, r.Prefix.String())
			}
		}
		return prefixes
	}
	before := w.Snapshot()
	d := routing.Derive(before)
	if got := routes(d); len(got) != routing.MaxSharedAddresses || slices.Contains(got, "10.9.0.17/32") {
		t.Fatalf("a network goes out with %v", got)
	}
	w.Do("remove source-nat s01") // of network f; who comes in is of e
	after := w.Snapshot()
	if got := routes(routing.Update(d, after, world.Changes(before, after))); len(got) != routing.MaxSharedAddresses || !slices.Contains(got, "10.9.0.17/32") || slices.Contains(got, "10.9.0.18/32") {
		t.Fatalf("after one is gone it goes out with %v", got)
	}
}
