// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/reconcile"
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

func (p *Programmer) addSubPorts(k Kernel) {
	p.tags = &tags{plain[vrouter.SubPort, int]{k.SubPorts}, map[int]vrouter.SubPort{}}
	p.subPorts = reconcile.New(p.tags, reconcile.Options[vrouter.SubPort, int]{
		Name: "sub-port", Compare: compareSubPorts, Equal: same[int],
		Ready: func(_ vrouter.SubPort, ifindex int) error {
			st, wanted := p.ports.Status(ifindex)
			return when(!wanted || st.State != reconcile.Done, "port on interface %d is not programmed yet", ifindex)
		},
	})
}

func compareSubPorts(a, b vrouter.SubPort) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.VLAN, b.VLAN))
}

// notCarried lets a port go when no tag leads to it any more.
func (p *Programmer) notCarried(ifindex int) error {
	tag, leads := p.tags.to[ifindex]
	return when(leads, "VLAN %d of interface %d still leads to interface %d", tag.VLAN, tag.Device, ifindex)
}

// tags is the table of sub-ports, and knows which tags may lead to an interface.
type tags struct {
	plain[vrouter.SubPort, int]
	to map[int]vrouter.SubPort
}

func (t *tags) Owned(ctx context.Context) (map[vrouter.SubPort]int, error) {
	rows, err := t.plain.Owned(ctx)
	t.to = map[int]vrouter.SubPort{}
	for tag, ifindex := range rows {
		t.to[ifindex] = tag
	}
	return rows, err
}

func (t *tags) Update(ctx context.Context, tag vrouter.SubPort, ifindex int) error {
	t.to[ifindex] = tag
	return t.plain.Update(ctx, tag, ifindex)
}

func (t *tags) Delete(ctx context.Context, tag vrouter.SubPort) error {
	err := t.plain.Delete(ctx, tag)
	if err == nil {
		maps.DeleteFunc(t.to, func(_ int, other vrouter.SubPort) bool { return other == tag })
	}
	return err
}
