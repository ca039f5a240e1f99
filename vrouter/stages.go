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

// answerStages are those of an object with the answer stage.
var answerStages = map[layoutStageSlot]string{
	layoutStageSlotSTAGE_SLOT_ANSWER_PORT: "answer_port", layoutStageSlotSTAGE_SLOT_ANSWER_TUNNEL: "answer_tunnel",
	layoutStageSlotSTAGE_SLOT_ANSWER_FABRIC: "answer_fabric", layoutStageSlotSTAGE_SLOT_ANSWER_CLOSED: "answer_closed",
	layoutStageSlotSTAGE_SLOT_ANSWER_MAPPED: "answer_mapped",
}

// mapStages are those of an object with the stages balance and map.
var mapStages = map[layoutStageSlot]string{
	layoutStageSlotSTAGE_SLOT_BALANCE_PORT: "balance_port", layoutStageSlotSTAGE_SLOT_MAP_PORT: "map_port",
	layoutStageSlotSTAGE_SLOT_BALANCE_HOST: "balance_host", layoutStageSlotSTAGE_SLOT_BALANCE_FABRIC: "balance_fabric",
	layoutStageSlotSTAGE_SLOT_MAPPED_HOST: "mapped_host", layoutStageSlotSTAGE_SLOT_MAPPED_FABRIC: "mapped_fabric",
	layoutStageSlotSTAGE_SLOT_MAP_TUNNEL: "map_tunnel", layoutStageSlotSTAGE_SLOT_MAPPED_PORT: "mapped_port", layoutStageSlotSTAGE_SLOT_MAPPED_TUNNEL: "mapped_tunnel",
	layoutStageSlotSTAGE_SLOT_FLOAT_PORT: "float_port", layoutStageSlotSTAGE_SLOT_FLOAT_TUNNEL: "float_tunnel",
}

// limitStages are those of an object with the limit stage.
var limitStages = map[layoutStageSlot]string{
	layoutStageSlotSTAGE_SLOT_LIMIT_OUT: "limit_out", layoutStageSlotSTAGE_SLOT_LIMIT_IN: "limit_in",
}

// mirrorStages are those of an object with the mirror stage.
var mirrorStages = map[layoutStageSlot]string{
	layoutStageSlotSTAGE_SLOT_MIRROR_OUT: "mirror_out", layoutStageSlotSTAGE_SLOT_MIRROR_IN: "mirror_in",
	layoutStageSlotSTAGE_SLOT_MIRROR_WRAP: "mirror_wrap", layoutStageSlotSTAGE_SLOT_MIRROR_SEND: "mirror_send",
}

func (d *Datapath) loadStages() error {
	if err := loadStagesOf(loadMirror, mirrorStages, d.maps, d.stages); err != nil {
		return err
	}
	if err := loadStagesOf(loadLimit, limitStages, d.maps, d.stages); err != nil {
		return err
	}
	if err := loadStagesOf(loadBridge, bridgeStages, d.maps, d.stages); err != nil {
		return err
	}
	// This one goes on with another stage by itself.
	if err := loadStagesOf(loadMapping, mapStages, d.mapsAnd(map[string]*ebpf.Map{stageProgramsName: d.stageSlots}), d.stages); err != nil {
		return err
	}
	return loadStagesOf(loadAnswer, answerStages, d.maps, d.stages)
}

// loadStagesOf loads the programs of an object by their slots.
func loadStagesOf(read func() (*ebpf.CollectionSpec, error), named map[layoutStageSlot]string, tables map[string]*ebpf.Map, into map[layoutStageSlot]*ebpf.Program) error {
	spec, err := read()
	if err != nil {
		return fmt.Errorf("read object of stages: %w", err)
	}
	programs, err := loadPrograms(spec, tables, slices.Collect(maps.Values(named))...)
	if err != nil {
		return err
	}
	for slot, name := range named {
		into[slot] = programs[name]
	}
	return nil
}
