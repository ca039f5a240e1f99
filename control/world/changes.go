// SPDX-License-Identifier: Apache-2.0

package world

import "github.com/weft-network/weft/api"

// Changes lists the events that lead from one snapshot to another, deletions
// last, as the store tells them.
func Changes(before, after api.Snapshot) []api.Event {
	var puts, deletes []api.Event
	for _, info := range api.Kinds() {
		for _, o := range after.List(info.Kind) {
			was := before.Get(info.Kind, o.Head().Meta.UUID)
			if was == nil || was.Head().Meta.Revision != o.Head().Meta.Revision {
				puts = append(puts, api.Event{Type: api.EventPut, Revision: after.Revision(), Kind: info.Kind, Object: o, Was: was})
			}
		}
		for _, o := range before.List(info.Kind) {
			if after.Get(info.Kind, o.Head().Meta.UUID) == nil {
				deletes = append(deletes, api.Event{Type: api.EventDelete, Revision: after.Revision(), Kind: info.Kind, Object: o, Was: o})
			}
		}
	}
	return append(puts, deletes...)
}
