// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// TestMissingFeaturesAreNamed: on this kernel nothing is missing; on one
// without a map type and a helper these two are named; one that cannot be
// asked is not accused of anything.
func TestMissingFeaturesAreNamed(t *testing.T) {
	if missing, err := missingFeatures(features.HaveMapType, features.HaveProgramHelper); err != nil || len(missing) != 0 {
		t.Errorf("missing on this kernel: %v, %v", missing, err)
	}
	old := func(have ebpf.MapType) error {
		if have == ebpf.LPMTrie {
			return ebpf.ErrNotSupported
		}
		return nil
	}
	older := func(_ ebpf.ProgramType, f asm.BuiltinFunc) error {
		if f == asm.FnRedirectPeer {
			return ebpf.ErrNotSupported
		}
		return nil
	}
	want := []string{"map type LPMTrie", "helper FnRedirectPeer"}
	if missing, err := missingFeatures(old, older); err != nil || !slices.Equal(missing, want) {
		t.Errorf("missing on an old kernel: %v, %v; want %v", missing, err, want)
	}
	refused := errors.New("operation not permitted")
	if _, err := missingFeatures(func(ebpf.MapType) error { return refused }, older); !errors.Is(err, refused) {
		t.Errorf("a question that was refused: %v", err)
	}
	if err := explain(refused); !errors.Is(err, refused) || errors.Is(err, ErrKernelLacks) {
		t.Errorf("a failure with another reason is explained as %v", err)
	}
}

// TestFeaturesOfEveryObjectAreKnown: what is named as missing is read from every object
// that the product loads, all but the rehearsing ones; the helper with which only the
// programs of the underlay make room is among it.
func TestFeaturesOfEveryObjectAreKnown(t *testing.T) {
	var read []string
	for _, load := range loaders {
		_, name, _ := strings.Cut(runtime.FuncForPC(reflect.ValueOf(load).Pointer()).Name(), ".load")
		read = append(read, strings.ToLower(name)+"_bpfel.o")
		spec, err := load()
		check(t, err)
		for _, p := range spec.Programs {
			if p.Type != ebpf.SchedCLS {
				t.Errorf("%s of %s is of type %v: its helpers are asked for as SchedCLS", p.Name, name, p.Type)
			}
		}
	}
	slices.Sort(read)
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(objects)), func(file string) bool { return strings.HasPrefix(file, "rehearse") })
	if !slices.Equal(read, known) {
		t.Errorf("features are read from %v, the product's objects are %v", read, known)
	}
	if _, helpers, err := usedFeatures(); err != nil || !helpers[asm.FnSkbAdjustRoom] {
		t.Errorf("used are %v, %v", slices.Sorted(maps.Keys(helpers)), err)
	}
}
