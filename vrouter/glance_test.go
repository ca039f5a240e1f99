// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"testing"

	"github.com/cilium/ebpf"
)

// A glance is the short form of the tests that see most of what is wrong with the
// programs: some worlds of conversations, and some conversations of few ends.
// lab/mutation has many builds glanced at by one process, which loads what they have
// in common once: the kernel takes seconds to verify it.

// glancesVariable makes TestGlances read directories of objects from its input.
const glancesVariable = "WEFT_GLANCES"

// glanced is what a glance looks at.
type glanced struct {
	d      *Datapath
	r      *Tracer
	tables map[string]*ebpf.Map
}

func newGlanced(t *testing.T) glanced {
	t.Helper()
	d := tablesForTest(t, conversationSizes())
	g := glanced{d: d, r: newRehearsal(t, d), tables: maps.Clone(d.maps)}
	for name, m := range map[string]*ebpf.Map{"trace_in": g.r.in, "trace_out": g.r.out, "trace_copies": g.r.copies, stageProgramsName: g.r.slots} {
		g.tables[name] = m
	}
	return g
}

func (g glanced) glance(t *testing.T) {
	t.Helper()
	converseInWorlds(t, g.d, g.r, glanceWorlds, func(*distribution, map[string]int) bool { return false })
	check(t, g.d.SetRecording(Recording{}))
	floodEnds(t, g.d, g.r, stateGenerator(t, g.d), glanceConversations, func() bool { return false })
}

// take puts programs in the place of others for one test.
func (g glanced) take(t *testing.T, file string, object []byte) {
	t.Helper()
	embedded, known := objects[file]
	if !known {
		t.Fatalf("object %s is none of ours", file)
	}
	former := *embedded
	*embedded = object
	defer func() { *embedded = former }() // programs stay, objects do not
	one := func(program **ebpf.Program, name string, read func() (*ebpf.CollectionSpec, error)) {
		spec, err := read()
		check(t, err)
		taken, err := loadProgram(spec, name, g.tables)
		check(t, err)
		before := *program
		*program = taken
		t.Cleanup(func() { *program = before; taken.Close() })
	}
	several := func(named map[layoutStageSlot]string, read func() (*ebpf.CollectionSpec, error)) {
		taken := map[layoutStageSlot]*ebpf.Program{}
		check(t, loadStagesOf(read, named, g.tables, taken))
		for slot, program := range taken {
			before := g.r.stages[slot]
			g.r.stages[slot] = program
			check(t, g.r.slots.Put(slot, program))
			t.Cleanup(func() {
				g.r.stages[slot] = before
				check(t, g.r.slots.Put(slot, before))
				program.Close()
			})
		}
	}
	switch file {
	case "rehearseport_bpfel.o":
		one(&g.r.port, "from_port", loadRehearsePort)
	case "rehearsetunnel_bpfel.o":
		one(&g.r.tunnel, "from_tunnel", loadRehearseTunnel)
	case "rehearsehost_bpfel.o":
		one(&g.r.host, "from_host", loadRehearseHost)
	case "rehearsefabric_bpfel.o":
		one(&g.r.fabric, "from_fabric", loadRehearseFabric)
	case "rehearsebridge_bpfel.o":
		several(bridgeStages, loadRehearseBridge)
	case "rehearseanswer_bpfel.o":
		several(answerStages, loadRehearseAnswer)
	case "tracetounderlay_bpfel.o":
		one(&g.r.toUnderlay, "to_underlay", loadTraceToUnderlay)
	case "tracefromunderlay_bpfel.o":
		one(&g.r.fromUnderlay, "from_underlay", loadTraceFromUnderlay)
	default:
		t.Fatalf("object %s is not glanced at", file)
	}
}

// TestGlances glances at each directory that it reads, and says what came of it; by
// itself at the programs as they are.
func TestGlances(t *testing.T) {
	g := newGlanced(t)
	if os.Getenv(glancesVariable) == "" {
		g.glance(t)
		return
	}
	said := os.Stdout
	for dirs := bufio.NewScanner(os.Stdin); dirs.Scan(); {
		passed := t.Run("glance", func(t *testing.T) {
			entries, err := os.ReadDir(dirs.Text())
			check(t, err)
			for _, e := range entries {
				if e.IsDir() {
					continue
				}
				object, err := os.ReadFile(dirs.Text() + "/" + e.Name())
				check(t, err)
				g.take(t, e.Name(), object)
			}
			g.glance(t)
		})
		fmt.Fprintf(said, "\nglanced %t\n", passed)
	}
}
