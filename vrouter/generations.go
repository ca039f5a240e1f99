// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
)

// generations tell the programs which connections were resolved by tables that
// are no more. Each VRF and each interface has a slot, perhaps with others;
// its number is renewed after each change of what their frames meet. A number
// is never given twice (until 2^32 changes), so that no entry is ever valid by
// accident, not even for another slot.
type generations struct {
	mu    sync.Mutex
	slots *ebpf.Map
	last  uint32
}

const generationSlots = uint32(layoutGenerationBoundGENERATION_SLOTS)

// newGenerations renews all numbers: an earlier run may have ended between a
// change and its renewal.
func newGenerations(slots *ebpf.Map) (*generations, error) {
	g := &generations{slots: slots}
	keys, values := make([]uint32, slots.MaxEntries()), make([]uint32, slots.MaxEntries())
	for i := range keys {
		keys[i] = uint32(i)
		if err := slots.Lookup(uint32(i), &values[i]); err != nil {
			return nil, fmt.Errorf("read generation %d: %w", i, err)
		}
		g.last = max(g.last, values[i])
	}
	for i := range values {
		values[i] = g.next()
	}
	if _, err := slots.BatchUpdate(keys, values, nil); err != nil {
		return nil, fmt.Errorf("renew generations: %w", err)
	}
	return g, nil
}

// next never returns 0, which is the number of an entry without a way.
func (g *generations) next() uint32 {
	if g.last++; g.last == 0 {
		g.last++
	}
	return g.last
}

func (g *generations) renew(slot uint32) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.slots.Put(slot, g.next()); err != nil {
		return fmt.Errorf("renew generation %d: %w", slot, err)
	}
	return nil
}

func (g *generations) renewVRF(vrf uint32) error { return g.renew(vrf % generationSlots) }

func (g *generations) renewPort(ifindex int) error {
	return g.renew(generationSlots + uint32(ifindex)%generationSlots)
}
