// SPDX-License-Identifier: Apache-2.0

package status

import (
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/reserve"
)

// reserved says of each reserved address where its host put it.
func (c *collector) reserved() {
	for _, a := range api.ListOf[*api.Address](c.Snapshot, api.KindAddress) {
		now := a.Status
		now.Taken = nil
		if t := reserve.Taken(a, c.Hosts[a.ReservedFor().UUID]); t != nil {
			now.Taken = &api.TakenAddress{Port: bounded(t.Port), Name: bounded(t.Name), MAC: t.MAC}
		}
		c.want(a, &now)
	}
}
