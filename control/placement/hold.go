// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// HoldKey is the key of a hold's row.
func HoldKey(draft string) string { return "hold/" + draft }

// holdRows say to every host that a change is held.
func holdRows(holds []*api.Draft) (rows []Row) {
	for _, d := range holds {
		rows = append(rows, encode(HoldKey(d.Meta.UUID), &hoststream.Row{Body: &hoststream.Row_Hold{Hold: &hoststream.Hold{
			Hold: d.Meta.UUID, Seconds: uint32(d.Spec.Hold.Seconds),
		}}}))
	}
	return rows
}

// addHolds gives all views the holds that there are.
func (p *Plan) addHolds() {
	rows := holdRows(p.Policy.Holds)
	for uuid, v := range p.views {
		if sameRows(v.holds, rows) {
			continue
		}
		now := *v
		now.holds = rows
		p.views[uuid] = &now
	}
}
