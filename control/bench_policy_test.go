// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// policed is networks of four ports each, spread over 100 hosts; all of a
// network are of one security-group.
func policed(networks int) *world.World {
	var b strings.Builder
	for h := range 100 {
		fmt.Fprintf(&b, "host h%d 192.0.2.%d\n", h, h+1)
	}
	for n := range networks {
		fmt.Fprintf(&b, "network n%d %d\nsubnet n%d 10.0.0.0/24\nsecurity-group g%d\nallow g%d in ingress IPv4 tcp/80 group=g%d\n", n, n+1, n, n, n, n)
		for p := range 4 {
			fmt.Fprintf(&b, "port n%d p%d-%d\naddress n%d 10.0.0.%d p%d-%d\nsecured p%d-%d g%d\nbind p%d-%d h%d\n", n, n, p, n, p+5, n, p, n, p, n, n, p, (n*7+p*13)%100)
		}
	}
	return world.New(b.String())
}

// BenchmarkPolicyChange is one rule more at one of many groups, from the events to
// what every host must have. What it takes follows from what it touches: it is to
// be about the same however many networks there are.
func BenchmarkPolicyChange(b *testing.B) {
	for _, networks := range []int{100, 2000} {
		w := policed(networks)
		before := w.Snapshot()
		plan := placement.New(1, routing.Derive(before), nil)
		w.Do("allow g5 more ingress IPv4 tcp/8080 group=g5")
		after := w.Snapshot()
		events := world.Changes(before, after)
		var routes *routing.Derived
		var asked *policy.Derived
		b.Run(fmt.Sprintf("%d-networks/routing", networks), func(b *testing.B) {
			for b.Loop() {
				routes = routing.Update(plan.Derived, after, events)
			}
		})
		b.Run(fmt.Sprintf("%d-networks/policy", networks), func(b *testing.B) {
			for b.Loop() {
				asked = policy.Update(plan.Policy, routes, events)
			}
		})
		b.Run(fmt.Sprintf("%d-networks/placement", networks), func(b *testing.B) {
			for b.Loop() {
				placement.Of(1, asked, plan)
			}
		})
	}
}
