// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// LowestKernel is the oldest kernel that is tested.
const LowestKernel = "6.1"

// ErrKernelLacks says that the kernel cannot run the packet path.
var ErrKernelLacks = errors.New("kernel lacks what Weft needs; use Linux " + LowestKernel + " or newer with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_ACT and CONFIG_VXLAN")

// explain adds to a failure to load what the kernel lacks, if that is why.
// What is needed is read from the programs, so it is never out of date.
func explain(failure error) error {
	if failure == nil {
		return nil
	}
	missing, err := missingFeatures(features.HaveMapType, features.HaveProgramHelper)
	if err != nil || len(missing) == 0 {
		return failure // it failed for another reason
	}
	return fmt.Errorf("%w: it has no %s: %w", ErrKernelLacks, strings.Join(missing, ", no "), failure)
}

// missingFeatures names the map types and helper functions that the programs
// use and the kernel does not have, in order.
func missingFeatures(haveMap func(ebpf.MapType) error, haveHelper func(ebpf.ProgramType, asm.BuiltinFunc) error) ([]string, error) {
	types, helpers, err := usedFeatures()
	if err != nil {
		return nil, err
	}
	var missing []string
	note := func(name string, err error) error {
		if errors.Is(err, ebpf.ErrNotSupported) {
			missing = append(missing, name)
			return nil
		}
		return err // nil, or the question could not be asked
	}
	for _, t := range slices.Sorted(maps.Keys(types)) {
		if err := note("map type "+t.String(), haveMap(t)); err != nil {
			return nil, err
		}
	}
	for _, h := range slices.SortedFunc(maps.Keys(helpers), cmp.Compare[asm.BuiltinFunc]) {
		if err := note("helper "+h.String(), haveHelper(ebpf.SchedCLS, h)); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// loaders read all objects with programs that the product loads. The rehearsing ones are
// not among them: a product that named them would carry them.
var loaders = []func() (*ebpf.CollectionSpec, error){
	loadStub, loadPort, loadTunnel, loadHost, loadFabric, loadBridge, loadMapping, loadAnswer, loadLimit, loadMirror, loadToUnderlay, loadFromUnderlay, loadCapture,
	loadTracePort, loadTraceTunnel, loadTraceHost, loadTraceFabric, loadTraceBridge, loadTraceMapping, loadTraceAnswer, loadTraceToUnderlay, loadTraceFromUnderlay,
}

// usedFeatures reads what the objects use.
func usedFeatures() (map[ebpf.MapType]bool, map[asm.BuiltinFunc]bool, error) {
	types, helpers := map[ebpf.MapType]bool{}, map[asm.BuiltinFunc]bool{}
	for _, read := range loaders {
		spec, err := read()
		if err != nil {
			return nil, nil, err
		}
		for _, m := range spec.Maps {
			types[m.Type] = true
		}
		for _, p := range spec.Programs {
			for _, i := range p.Instructions {
				if i.IsBuiltinCall() {
					helpers[asm.BuiltinFunc(i.Constant)] = true
				}
			}
		}
	}
	return types, helpers, nil
}
