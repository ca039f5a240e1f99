// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"cmp"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
)

// addLimits says what a port may send and get, if that is not everything.
func (t *Tables) addLimits(p desired.Port, a Attachment) {
	l := vrouter.Limits{Device: a.Ifindex, Out: vrouter.Limit(p.Egress), In: vrouter.Limit(p.Ingress)}
	if l.Out == (vrouter.Limit{}) && l.In == (vrouter.Limit{}) {
		return
	}
	if a.VLAN != 0 {
		l.Device = a.Device
	}
	t.Limits[a.Ifindex] = l
}

// straight tells whether what a port gets may go into its namespace directly,
// where nothing limits or marks it.
func straight(p desired.Port, a Attachment) bool {
	return a.RedirectPeer && p.Ingress == desired.Limit{}
}

func (p *Programmer) addLimits(k Kernel) {
	p.limits = reconcile.New(plain[int, vrouter.Limits]{k.Limits}, reconcile.Options[int, vrouter.Limits]{
		Name: "limits of interface", Compare: cmp.Compare[int], Equal: same[vrouter.Limits],
	})
}
