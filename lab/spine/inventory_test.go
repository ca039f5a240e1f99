// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/lab/namespace"
)

// inventory is what a run could leave behind in the machine's own namespaces.
type inventory struct {
	links  []string
	mounts []string
}

func takeInventory(t *testing.T) inventory {
	t.Helper()
	links, err := namespace.Links("")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(links)
	return inventory{links: links, mounts: mountsBelow(t, "/")}
}

// mountsBelow returns the mount points at and below a directory, but for named
// network namespaces, which other tests on the machine have as well and which
// are looked at by name.
func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		point := strings.Fields(line)[1]
		if strings.HasPrefix(point, dir) && !strings.HasPrefix(point, "/run/netns") {
			found = append(found, point)
		}
	}
	slices.Sort(found)
	return found
}

// traces say what belonged to a system while it ran, so that its end can be
// checked although other tests run programs and load eBPF at the same time.
type traces struct {
	run      string
	dir      string
	pids     []int
	programs []ebpf.ProgramID
	maps     []ebpf.MapID
}

var idLine = regexp.MustCompile(`(?m)^(prog_id|map_id):\s+(\d+)$`)

// traceSystem collects the processes of a system and the eBPF objects they hold.
func traceSystem(t *testing.T, s *system) traces {
	t.Helper()
	tr := traces{run: s.lab.Run, dir: s.lab.Dir}
	processes, err := s.lab.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		tr.pids = append(tr.pids, p.PID)
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", p.PID))
		for _, f := range files {
			data, _ := os.ReadFile(f) // a file closed meanwhile holds nothing
			for _, m := range idLine.FindAllStringSubmatch(string(data), -1) {
				id, err := strconv.ParseUint(m[2], 10, 32)
				if err != nil {
					t.Fatal(err)
				}
				if m[1] == "prog_id" {
					tr.programs = append(tr.programs, ebpf.ProgramID(id))
				} else {
					tr.maps = append(tr.maps, ebpf.MapID(id))
				}
			}
		}
	}
	if len(tr.maps) == 0 && !t.Failed() {
		t.Error("no eBPF map found in the agents: the check for what they leave would see nothing")
	}
	return tr
}

func compareInventory(t *testing.T, before inventory, during traces) {
	t.Helper()
	if during.run == "" {
		return // the system did not come up, which has been said
	}
	after := takeInventory(t)
	if !slices.Equal(before.links, after.links) {
		t.Errorf("interfaces of the root namespace were %v and are %v", before.links, after.links)
	}
	for _, m := range after.mounts {
		if !slices.Contains(before.mounts, m) && strings.HasPrefix(m, during.dir) {
			t.Errorf("%s is left mounted", m)
		}
	}
	if names, err := namespace.List("weft-" + during.run + "-"); err != nil || len(names) > 0 {
		t.Errorf("namespaces left: %v, %v", names, err)
	}
	if _, err := os.Stat(during.dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", during.dir, err)
	}
	for _, pid := range during.pids {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && strings.HasPrefix(exe, binaries) {
			t.Errorf("process %d (%s) is left", pid, exe)
		}
	}
	for _, id := range during.programs {
		eventually(t, fmt.Sprintf("eBPF program %d is gone", id), func() (bool, string) {
			p, err := ebpf.NewProgramFromID(id)
			p.Close()
			return errors.Is(err, os.ErrNotExist), "still loaded"
		})
	}
	for _, id := range during.maps {
		eventually(t, fmt.Sprintf("eBPF map %d is gone", id), func() (bool, string) {
			m, err := ebpf.NewMapFromID(id)
			m.Close()
			return errors.Is(err, os.ErrNotExist), "still there"
		})
	}
}
