// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A seed gives the same worlds and frames each time: what a test printed once
// can be tried again.
func TestSeedRepeatsItself(t *testing.T) {
	seed := seeded(t).Uint64()
	said := func() (all []string) {
		r := rand.New(rand.NewPCG(seed, 1))
		for range 8 {
			g := newGenerator(r)
			for range 40 {
				ifindex := 1 + g.IntN(testPorts)
				kind, frame := g.frame(ifindex)
				rare, bridged := g.rare(), g.bridgedFrom(ifindex)
				all = append(all, fmt.Sprintf("%s %x, %d %x, %d %x", kind, frame, rare.ifindex, rare.frame, bridged.ifindex, bridged.frame),
					fmt.Sprintf("%x %x %x %x", g.fromHost(), g.fromFabric(), g.labelled(), g.fromUnderlay()))
			}
		}
		return all
	}
	first, second := said(), said()
	for i := range first {
		if first[i] != second[i] {
			t.Fatalf("step %d was\n %s\nand then\n %s", i, first[i], second[i])
		}
	}
}
