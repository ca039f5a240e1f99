// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of vrouter load eBPF programs and make network namespaces: run them as root")
		os.Exit(1)
	}
	if err := replaceObjects(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// mountBPFFS returns a directory on a bpf file system of the test's own.
func mountBPFFS(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatalf("mount bpf file system at %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// smallSizes keeps the kernel from clearing megabytes for every test.
var smallSizes = Sizes{Ports: 64, PortAddresses: 512, Routes4: 4096, Routes6: 4096, NextHops: 8192, VNIs: 64, TunnelSources: 256, LearnedMACs: learnedRoom,
	PolicySizes: PolicySizes{Rulesets: 256, RemoteClasses: 8192, RemoteRanges: 8192, ServiceClasses: 16384, Verdicts: 16384, Managed: 64, RuleHits: 1024}}

func loadForTest(t testing.TB, sizes Sizes) *Datapath {
	t.Helper()
	d, err := Load(Options{PinDir: filepath.Join(mountBPFFS(t), "weft"), Sizes: sizes})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(d.Close)
	return d
}

// tablesForTest is loadForTest without the programs that carry traffic: those that
// record need the tables only, and the kernel takes seconds to verify the others.
func tablesForTest(t testing.TB, sizes Sizes) *Datapath {
	t.Helper()
	options := Options{PinDir: filepath.Join(mountBPFFS(t), "weft")}
	check(t, preparePinDir(options.PinDir))
	d := newDatapath(options)
	t.Cleanup(d.Close)
	check(t, d.openTables(sizes.withDefaults()))
	check(t, d.prepareTables())
	return d
}

// seeded returns a source of randomness that WEFT_SEED repeats.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("WEFT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("read WEFT_SEED: %v", err)
		}
	}
	t.Logf("WEFT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// install makes the tables of a Datapath equal to those of an oracle.
func install(t testing.TB, d *Datapath, o *Oracle) {
	t.Helper()
	check(t, replace(d.Ports, o.Ports))
	check(t, replace(d.SubPorts, o.SubPorts))
	check(t, replace(d.PortAddresses, o.PortAddresses))
	installPrefixes(t, d, o.PortPrefixes)
	check(t, replace(d.NextHops, o.NextHops))
	check(t, replace(d.Groups, o.Groups))
	check(t, replace(d.VNIs, o.VNIs))
	check(t, replace(d.TunnelSources, o.TunnelSources))
	check(t, replace(d.TunnelAddresses, o.TunnelAddresses))
	installRoutes(t, d, o)
	check(t, d.SetConfig(o.Config))
	check(t, replace(d.Services, o.Services))
	check(t, replace(d.Aliases, o.Aliases))
	check(t, replace(d.hostFlows, o.HostFlows))
	check(t, replace(d.MACs, o.MACs))
	check(t, replace(d.Floods, o.Floods))
	check(t, replace(d.Receivers, o.Receivers))
	check(t, replace(d.learned, o.Learned))
	check(t, replace(d.macCounts, o.MACCounts))
	installBalance(t, d, o)
	installPolicy(t, d, o)
	installPlaces(t, d, o)
	for used, by := range o.shares(d) {
		times := map[int]uint64{}
		for ifindex := range *by {
			times[ifindex] = never
		}
		check(t, replace(used, times))
	}
}

func installRoutes(t testing.TB, d *Datapath, o *Oracle) {
	t.Helper()
	have, err := d.Routes.All()
	check(t, err)
	for k := range have {
		check(t, d.Routes.Delete(k))
	}
	gaps, err := d.Gaps.All()
	check(t, err)
	for k := range gaps {
		check(t, d.Gaps.Delete(k))
	}
	for k, v := range o.Routes {
		check(t, d.Routes.Put(k, v))
	}
	for k, v := range o.Gaps {
		check(t, d.Gaps.Put(k, v))
	}
}

// shares are the tables of what ports have used up, and which ports that are.
func (o *Oracle) shares(d *Datapath) map[*Table[int, uint64]]*map[int]bool {
	return map[*Table[int, uint64]]*map[int]bool{d.errorTimes: &o.Exhausted, d.answerTimes: &o.Muted, d.requestTimes: &o.Silenced, d.floodTimes: &o.Stilled, d.serviceTimes: &o.Served}
}

func installPrefixes(t testing.TB, d *Datapath, want map[PortPrefix]Permission) {
	t.Helper()
	have, err := d.PortPrefixes.All()
	check(t, err)
	for k := range have {
		check(t, d.PortPrefixes.Delete(k))
	}
	for k, v := range want {
		check(t, d.PortPrefixes.Put(k, v))
	}
}

// never is the time of a port that may send no more errors.
const never = math.MaxUint64

func replace[K comparable, V any](table *Table[K, V], want map[K]V) error {
	have, err := table.All()
	if err != nil {
		return err
	}
	for k := range have {
		if err := table.Delete(k); err != nil {
			return err
		}
	}
	for k, v := range want {
		if err := table.Put(k, v); err != nil {
			return err
		}
	}
	return nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%+v", err)
	}
}
