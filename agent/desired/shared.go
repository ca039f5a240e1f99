// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/api/hoststream"
)

// Shared is a shared address: the workloads of Inside go out with it, and each
// block of its ports is a host's.
type Shared struct {
	Inside, External uint32 // VRFs; 0: it is no shared address
	Blocks           []Block
}

// Block is ports of a shared address, whole blocks of BlockPorts.
type Block struct {
	First, Last uint16
	Host        string // UUID
	Releasing   bool   // the host begins nothing there
}

const (
	// BlockPorts is how many ports of a shared address are one host's at least.
	BlockPorts = 64
	// firstBlockPort is the first that is anybody's.
	firstBlockPort = 1024
)

// shared reads where a shared address leads. No port may be of two hosts: an
// answer must come to one.
func shared(to netip.Prefix, m *hoststream.Shared) (Shared, error) {
	s := Shared{Inside: m.Inside, External: m.External}
	if m.Inside == 0 || m.External == 0 || !to.IsSingleIP() {
		return s, fmt.Errorf("route %v: shared address of VRF %d for VRF %d", to, m.External, m.Inside)
	}
	next := uint32(firstBlockPort)
	for _, b := range m.Blocks {
		if b.First < next || b.Last < b.First || b.Last > 65535 || b.First%BlockPorts != 0 || (b.Last+1)%BlockPorts != 0 || b.Host == "" {
			return s, fmt.Errorf("route %v: ports %d to %d of host %q are not whole blocks of %d from %d on", to, b.First, b.Last, b.Host, BlockPorts, next)
		}
		next = b.Last + 1
		s.Blocks = append(s.Blocks, Block{uint16(b.First), uint16(b.Last), b.Host, b.Releasing})
	}
	return s, nil
}
