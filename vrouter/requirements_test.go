// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"slices"
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
