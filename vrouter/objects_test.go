// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// objects are the embedded ones, by file, all but the one without programs.
var objects = map[string]*[]byte{
	"port_bpfel.o": &_PortBytes, "tunnel_bpfel.o": &_TunnelBytes, "stub_bpfel.o": &_StubBytes,
	"traceport_bpfel.o": &_TracePortBytes, "tracetunnel_bpfel.o": &_TraceTunnelBytes,
	"host_bpfel.o": &_HostBytes, "tracehost_bpfel.o": &_TraceHostBytes,
	"fabric_bpfel.o": &_FabricBytes, "tracefabric_bpfel.o": &_TraceFabricBytes,
	"rehearsehost_bpfel.o": &_RehearseHostBytes, "rehearsefabric_bpfel.o": &_RehearseFabricBytes,
	"bridge_bpfel.o": &_BridgeBytes, "tracebridge_bpfel.o": &_TraceBridgeBytes, "rehearsebridge_bpfel.o": &_RehearseBridgeBytes,
	"capture_bpfel.o": &_CaptureBytes, "limit_bpfel.o": &_LimitBytes, "mirror_bpfel.o": &_MirrorBytes,
	"mapping_bpfel.o": &_MappingBytes, "tracemapping_bpfel.o": &_TraceMappingBytes, "rehearsemapping_bpfel.o": &_RehearseMappingBytes,
	"answer_bpfel.o": &_AnswerBytes, "traceanswer_bpfel.o": &_TraceAnswerBytes, "rehearseanswer_bpfel.o": &_RehearseAnswerBytes,
	"rehearseport_bpfel.o": &_RehearsePortBytes, "rehearsetunnel_bpfel.o": &_RehearseTunnelBytes,
	"tounderlay_bpfel.o": &_ToUnderlayBytes, "fromunderlay_bpfel.o": &_FromUnderlayBytes,
	"tracetounderlay_bpfel.o": &_TraceToUnderlayBytes, "tracefromunderlay_bpfel.o": &_TraceFromUnderlayBytes,
}

// replaceObjects takes objects from the directory WEFT_OBJECTS instead of the
// embedded ones, those that are there. lab/mutation runs the tests so.
func replaceObjects() error {
	dir := os.Getenv("WEFT_OBJECTS")
	if dir == "" {
		return nil
	}
	replaced := 0
	for file, embedded := range objects {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("replace object: %w", err)
		}
		*embedded = text
		replaced++
	}
	if replaced == 0 {
		return fmt.Errorf("WEFT_OBJECTS=%s has none of our objects", dir)
	}
	return nil
}

// TestEveryObjectCanBeReplaced: an object that lab/mutation cannot replace
// would be tested unchanged, and all its mutants survive.
func TestEveryObjectCanBeReplaced(t *testing.T) {
	files, err := filepath.Glob("*_bpfel.o")
	check(t, err)
	files = slices.DeleteFunc(files, func(f string) bool { return f == "layout_bpfel.o" })
	if known := slices.Sorted(maps.Keys(objects)); !slices.Equal(known, files) {
		t.Errorf("objects are %v, known are %v", files, known)
	}
}
