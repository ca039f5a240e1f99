// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// randomTrunk makes a port a sub-port of another, or of itself, now and then.
func randomTrunk(r *rand.Rand, p *hoststream.Port) {
	if r.IntN(3) == 0 {
		p.Trunk, p.Vlan = portID(r.IntN(ports)), uint32(1+r.IntN(3))
	}
}

// guardSubPorts fails the test when a tagged frame could find a port that is
// not there.
func guardSubPorts(t *testing.T, m *datapath.MemoryKernel) {
	m.SubPorts.Check = func(s vrouter.SubPort, ifindex int, deleted bool) {
		if p, there := m.Ports.Rows[ifindex]; !deleted && (!there || p.Device != s.Device || p.VLAN != s.VLAN) {
			t.Fatalf("sub-port %v leads to interface %d, which has port %+v", s, ifindex, p)
		}
	}
}

func showSubPorts(m *datapath.MemoryKernel) (lines []string) {
	for k, v := range m.SubPorts.Rows {
		lines = append(lines, fmt.Sprintf("sub-port %v: %d", k, v))
	}
	return lines
}
