// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// Carried returns where the sub-ports of this host are, given the interfaces of
// the ports that carry them, and why some are nowhere. It depends on nothing
// that happened before: the number that stands for a sub-port follows from
// device and VLAN.
func Carried(rows map[string]desired.Port, attached map[string]Attachment) (carried map[string]Attachment, problems map[string]string) {
	carried, problems = map[string]Attachment{}, map[string]string{}
	holders := map[int]string{} // sub-ports by their number
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		p := rows[id]
		trunk, there := attached[p.Trunk]
		if p.Trunk == "" || !there {
			continue
		}
		if trunk.VLAN != 0 {
			problems[id] = fmt.Sprintf("it is carried by port %s, which is itself carried by another", p.Trunk)
			continue
		}
		at := vrouter.SubPort{Device: trunk.Ifindex, VLAN: p.VLAN}
		if other, taken := holders[at.Number()]; taken {
			problems[id] = fmt.Sprintf("VLAN %d of its trunk is sub-port %s here, or a device whose index is %d apart has that: plug one of the trunks anew", p.VLAN, rows[other].Name, vrouter.SubPortDevices)
			continue
		}
		holders[at.Number()] = id
		carried[id] = Attachment{Ifindex: at.Number(), RedirectPeer: trunk.RedirectPeer, MTU: trunk.MTU, Device: at.Device, VLAN: at.VLAN}
	}
	return carried, problems
}
