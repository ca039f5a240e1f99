// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

func randomBridging(r *rand.Rand, v *hoststream.Vrf) {
	v.Forwarding, v.Flooding = []string{"", "l3", "l2", "l2-l3"}[r.IntN(4)], r.IntN(2) == 0
}

// randomMACs are of ports without addresses, somewhere.
func randomMACs(r *rand.Rand, rows map[string]*hoststream.Row) {
	for range r.IntN(8) {
		key := desired.MACKey{VRF: uint32(1 + r.IntN(vrfs)), MAC: [6]byte{2, 0, 0, 0, 1, byte(r.IntN(4))}}
		rows[desired.MACRow(key)] = &hoststream.Row{Body: &hoststream.Row_Mac{Mac: &hoststream.Mac{
			Vrf: key.VRF, Mac: key.MAC[:], Port: portID(r.IntN(2 * ports)), Host: hostID(r.IntN(hosts)),
		}}}
	}
}

// showBridging prints where MACs are and who receives floods, without places,
// which depend on history.
func showBridging(m *datapath.MemoryKernel) (lines []string) {
	for k, id := range m.MACs.Rows {
		lines = append(lines, fmt.Sprintf("MAC %v: %+v", k, m.NextHops.Rows[id]))
	}
	for vrf, f := range m.Floods.Rows {
		var hops []string
		for place := range f.Places {
			if id, taken := m.Receivers.Rows[vrouter.Receiver{VRF: vrf, Place: place}]; taken {
				hops = append(hops, fmt.Sprintf("%+v", m.NextHops.Rows[id]))
			}
		}
		slices.Sort(hops)
		lines = append(lines, fmt.Sprintf("flood %d: %d left out, to %s", vrf, f.LeftOut, strings.Join(hops, " ")))
	}
	lines = append(lines, fmt.Sprintf("%d receivers", len(m.Receivers.Rows)))
	return lines
}

// userOf is a MAC or a place that leads to a next hop; nil if there is none.
func userOf(m *datapath.MemoryKernel, id uint32) any {
	for k, hop := range m.MACs.Rows {
		if hop == id {
			return k
		}
	}
	for r, hop := range m.Receivers.Rows {
		if hop == id {
			return r
		}
	}
	return nil
}

// guardBridging fails the test when a MAC leads nowhere, or when somebody would
// get a frame twice.
func guardBridging(t *testing.T, m *datapath.MemoryKernel) {
	m.MACs.Check = func(k vrouter.MACKey, id uint32, deleted bool) {
		if _, ok := m.NextHops.Rows[id]; !ok && !deleted {
			t.Fatalf("MAC %v leads to next hop %d, which is not there", k, id)
		}
	}
	m.Receivers.Check = func(r vrouter.Receiver, id uint32, deleted bool) {
		if deleted {
			return
		}
		hop, ok := m.NextHops.Rows[id]
		if !ok {
			t.Fatalf("receiver %+v leads to next hop %d, which is not there", r, id)
		}
		for other, at := range m.Receivers.Rows {
			if other.VRF == r.VRF && other.Place != r.Place && m.NextHops.Rows[at] == hop {
				t.Fatalf("%+v is in places %d and %d", hop, other.Place, r.Place)
			}
		}
	}
}
