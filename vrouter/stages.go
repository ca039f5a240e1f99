// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
)

// mapsAnd are the tables and others.
func (d *Datapath) mapsAnd(others map[string]*ebpf.Map) map[string]*ebpf.Map {
	all := maps.Clone(d.maps)
	maps.Copy(all, others)
	return all
}

// bridgeStages are the programs of an object with the bridge stage.
var bridgeStages = map[layoutStageSlot]string{
	layoutStageSlotSTAGE_SLOT_BRIDGE_PORT: "bridge_port", layoutStageSlotSTAGE_SLOT_BRIDGE_TUNNEL: "bridge_tunnel",
}

func (d *Datapath) loadStages() error {
	spec, err := loadBridge()
	if err != nil {
		return fmt.Errorf("read object of the bridge stage: %w", err)
	}
	programs, err := loadPrograms(spec, d.maps, slices.Collect(maps.Values(bridgeStages))...)
	for slot, name := range bridgeStages {
		d.stages[slot] = programs[name]
	}
	return err
}
