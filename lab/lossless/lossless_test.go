// SPDX-License-Identifier: Apache-2.0

package lossless

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// In CI everything is done once; make test-long does it ten times each.
var (
	times = flag.Int("times", 1, "how often agents are restarted, killed and replaced")
	away  = flag.Duration("away", 2*time.Second, "how long the controller is away, and how long it hangs")
)

const (
	buildTimeout = 15 * time.Minute
	upTimeout    = 2 * time.Minute
	// rate of all flows together; at this one nothing may be lost.
	rate = 10_000
)

// binaries is the folder with the programs under test, other the agent of
// another layout.
var binaries, other string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "lab/lossless: network namespaces and eBPF need root; run the tests as root")
		return 1
	}
	dir, err := os.MkdirTemp("", "weft-lossless-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "./cmd/...")
	c.Dir, c.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	made := filepath.Join(dir, "other")
	if err := os.Mkdir(made, 0o700); err != nil {
		return err
	}
	binaries = dir
	other, err = BuildOtherLayout(ctx, root, made)
	return err
}

// start brings a system up, and takes it down with the test.
func start(t *testing.T, suffix string) *World {
	t.Helper()
	id := fmt.Sprintf("t%d%s", os.Getpid(), suffix)
	l, err := topology.New(topology.Options{Run: id, Dir: topology.RunDir("", id), Bin: binaries, Hosts: tenants.Hosts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{topology.Controller, topology.HostName(1), topology.HostName(2)} {
				t.Log(l.Tail(name))
			}
		}
		if err := l.Down(); err != nil {
			t.Errorf("take the system down: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), upTimeout)
	defer cancel()
	if err := l.Up(ctx); err != nil {
		t.Fatal(err)
	}
	w, err := Prepare(ctx, l, other)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// nothingLost fails the test if the network lost a datagram. What the kernel's
// own queues threw away because the machine was busy is not ours, and is told.
func nothingLost(t *testing.T, r Run) {
	t.Helper()
	sum := r.Sum()
	t.Logf("%-30s %6.1f s: %d sent, %d lost (%d by a full socket), %d twice, %d out of order, longest pause %v, backlog %d, vRouter %v",
		r.Action, r.Took.Seconds(), sum.Sent, sum.Lost(), sum.Overflowed, sum.Duplicated, sum.Reordered, sum.Pause.Round(time.Millisecond), r.Backlog, r.Dropped)
	for _, f := range r.Flows {
		if f.Sent == 0 {
			t.Errorf("%s: %s: nothing was sent", r.Action, f.Name)
		}
		if f.LostOnTheWay() > r.Backlog {
			t.Errorf("%s: %s: %d of %d datagrams were lost on the way", r.Action, f.Name, f.LostOnTheWay(), f.Sent)
		}
	}
	if sum.Duplicated > 0 {
		t.Errorf("%s: %d datagrams came twice", r.Action, sum.Duplicated)
	}
	if r.DroppedFrames() > 0 {
		t.Errorf("%s: the vRouter dropped %v", r.Action, r.Dropped)
	}
}

// Agents that are restarted, killed, upgraded and downgraded, with another
// layout too, and controllers that go or hang, cost no datagram and no
// connection, on one host and across, in both families.
func TestLossless(t *testing.T) {
	w := start(t, "l")
	before := layouts(t, w)
	seen := map[string]bool{}
	err := w.Measure(t.Context(), Options{Rates: []int{rate}, Times: *times, Away: *away}, func(r Run) {
		nothingLost(t, r)
		for _, name := range layouts(t, w) {
			seen[name] = true
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// Both kinds of another layout were really in use, and nothing of them is left.
	if len(seen) != 3 {
		t.Errorf("%d layouts were in use, want the first, that of other sizes and that of the other build: %v", len(seen), seen)
	}
	if after := layouts(t, w); len(after) != 1 || after[0] != before[0] {
		t.Errorf("layouts at the end %v, at the start %v", after, before)
	}
}

// layouts lists the tables that are pinned on the first host, by layout.
func layouts(t *testing.T, w *World) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(w.Lab.BPFDir(1), "maps-*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no tables are pinned: %v", err)
	}
	return found
}
