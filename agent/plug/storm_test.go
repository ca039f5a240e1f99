// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/bpffs"
	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/erase"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

var stormPorts = flag.Int("storm-ports", 100, "ports of TestPlugStorm")

const (
	stormNetworks   = 6
	stormNamespaces = 10 // of workloads, which share them
	stormWorkers    = 6
	stormRounds     = 4
	stormTries      = 200 // until something must have worked once
)

// storm is a host in a namespace of its own, with real interfaces, programs
// and tables, and an agent that may be replaced.
type storm struct {
	t      *testing.T
	random *rand.Rand
	faults *faults
	dirs   erase.Directories
	host   netns.NsHandle
	spaces []string // of workloads
	tunnel int
	agent  *stormAgent

	version int               // of the rows
	told    rowSet            // what the present agent has
	path    *vrouter.Datapath // nil: a new process is to load it
}

type stormAgent struct {
	*plug.Plugger
	loop  *host.Loop
	links *link.Driver
	end   func()
}

var (
	stormUnderlay = datapath.Underlay{
		IPv4: netip.MustParseAddr("192.0.2.1"), IPv6: netip.MustParseAddr("2001:db8::1"), MTU: 1500, Encapsulations: []string{api.EncapsulationVXLAN, api.EncapsulationMPLSUDP},
	}
	stormLocal = datapath.Local{
		Balances: true, DNS: 5301, Metadata: 8001, Fabric: map[datapath.Fabric]uint16{{Name: "time", UDP: true}: 1231, {Name: "files"}: 2049},
		Ways: []datapath.Way{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("192.0.2.0/24"), Device: 1, MTU: 1500, OnLink: true}},
		Own:  []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	}
)

// TestPlugStorm plugs and unplugs many ports in random order, several at a
// time, while every call of netlink, of the tables and of the hooks fails one
// time in ten, before or after it did its work, while the rows of all kinds
// change, and while the agent dies and starts again. In the end the kernel holds
// exactly what the rows say, in every table, and after uninstall nothing.
func TestPlugStorm(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces and loads eBPF: run it as root")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d ports", seed, *stormPorts)
	dir := t.TempDir()
	s := &storm{
		t: t, random: rand.New(rand.NewPCG(seed, 1)),
		faults: &faults{random: rand.New(rand.NewPCG(seed, 2)), calls: map[string]int{}, injected: map[string]int{}},
		dirs:   erase.Directories{State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run"), BPF: filepath.Join(dir, "bpf")},
	}
	s.onThread(func() error { return s.prepare() })
	defer s.host.Close()
	s.boot()
	s.faults.set(true)
	for i := range stormRounds {
		if i > 0 { // not after the last: what a new agent would repair must be right without
			s.agent.end() // as a crash: nothing is cleaned up
			s.path.Close()
			s.path, s.version = nil, s.version+1
			s.boot()
		}
		s.round(func(int) bool { return s.pick(2) == 0 })
	}
	s.faults.set(false)
	plugged := map[int]bool{}
	for n := range *stormPorts {
		plugged[n] = n == 0 || s.pick(2) == 0 // the first has what few have: a sub-port, a mapping
	}
	s.round(func(n int) bool { return plugged[n] })
	s.sweep()
	s.rest()
	s.check(plugged)
	for name, n := range s.faults.calls {
		if n > 300 && s.faults.injected[name] == 0 { // chance leaves out so many once in 10^13 runs
			t.Errorf("%q was called %d times and never failed", name, n)
		}
	}
	t.Logf("calls %v\nfailed %v", s.faults.calls, s.faults.injected)
	s.agent.end()
	s.path.Close()
	s.uninstall()
}

// onThread runs f on a thread in the host's namespace, which ends with it.
func (s *storm) onThread(f func() error) {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.inHost(f) }()
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

// inHost runs f in the host's namespace. The goroutine must end with it.
func (s *storm) inHost(f func() error) error {
	runtime.LockOSThread() // never unlocked: the thread must not be used again
	if s.host != 0 {
		if err := netns.Set(s.host); err != nil {
			return err
		}
	}
	return f()
}

// prepare makes the namespaces.
func (s *storm) prepare() (err error) {
	for n := range stormNamespaces {
		name := fmt.Sprintf("weft-storm%d-%d", n, os.Getpid())
		h, err := netns.NewNamed(name)
		if err != nil {
			return err
		}
		h.Close()
		s.t.Cleanup(func() { _ = netns.DeleteNamed(name) }) // the thread that made it has ended
		s.spaces = append(s.spaces, "/run/netns/"+name)
	}
	s.host, err = netns.New()
	s.t.Cleanup(func() { _ = unix.Unmount(s.dirs.BPF, unix.MNT_DETACH) }) // only still there after a failure
	return errors.Join(err, os.MkdirAll(s.dirs.State, 0o700), bpffs.Ensure(s.dirs.BPF))
}

// pick draws a number; the storm's own goroutine alone does.
func (s *storm) pick(n int) int { return s.random.IntN(n) }

// boot starts an agent over what is there. A failing kernel may keep it from
// starting; it tries again, as its supervisor does, but loads the programs once,
// which takes long and does not fail here.
func (s *storm) boot() {
	s.t.Helper()
	var err error
	for range stormTries {
		if err = s.tryBoot(); err == nil {
			return
		}
	}
	s.t.Fatalf("the agent does not start: %v", err)
}

func (s *storm) tryBoot() error {
	result := make(chan error, 1)
	s.onThread(func() error { result <- s.start(); return nil })
	return <-result
}

func (s *storm) start() (err error) {
	a := &stormAgent{end: func() {}}
	defer func() {
		if err != nil {
			a.end()
		}
	}()
	if s.path == nil {
		if s.path, err = vrouter.Load(vrouter.Options{PinDir: s.dirs.BPF}); err != nil {
			return err
		}
	}
	hooks := brittleHooks{s.path, s.faults}
	a.links, err = link.OpenOver(func(k link.Kernel) link.Kernel { return brittle{k, s.faults} }, hooks.Attach, hooks.Detach)
	if err != nil {
		return err
	}
	a.end = a.links.Close
	if s.tunnel, err = a.links.EnsureTunnel(4789); err != nil {
		return err
	}
	programmer := datapath.NewProgrammer(brittleKernel(datapath.KernelOf(s.path), s.faults))
	if err := programmer.Load(s.t.Context()); err != nil {
		return err
	}
	records, err := plug.OpenRecords(filepath.Join(s.dirs.State, "plugs"))
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	a.loop = host.NewLoop(host.NewCore(desired.New(), stormUnderlay, stormLocal, programmer), func([]byte) error { return nil }, log)
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.inHost(func() error { a.loop.Run(ctx); return nil }) // limits are attached to interfaces
	}()
	a.end = func() { cancel(); <-ended; a.links.Close() }
	a.Plugger = plug.New(a.loop, a.links, hooks, records, []int{s.tunnel}, log)
	s.agent, s.told = a, nil
	_ = a.Restore(ctx, time.Now()) // what is not well is looked at again
	if err := a.loop.Do(ctx, (*host.Core).Start); err != nil {
		return err
	}
	if err := s.tell(ctx); err != nil {
		return err
	}
	return errors.Join(s.path.Activate(), s.path.AttachTunnel(s.tunnel), a.links.StartTunnel(s.tunnel))
}

// tell brings the agent what differs of the rows of this version.
func (s *storm) tell(ctx context.Context) error {
	d := s.difference(s.told)
	s.told = stormRows(s.version)
	_, err := s.agent.loop.Apply(ctx, d)
	return err
}

// difference makes the rows of this version of others.
func (s *storm) difference(told rowSet) *hoststream.Delta {
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: int64(s.version) + 1}, Sequence: 1, InSync: true}
	rows := stormRows(s.version)
	for key, row := range rows {
		if !proto.Equal(told[key], row) {
			body, _ := proto.Marshal(row)
			d.Put = append(d.Put, &hoststream.EncodedRow{Key: key, Body: body})
		}
	}
	for key := range told {
		if rows[key] == nil {
			d.Delete = append(d.Delete, key)
		}
	}
	return d
}

// rest waits until nothing of the tables is left to be tried. It is known of all
// ports who talks to them.
func (s *storm) rest() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.agent.loop.Do(ctx, func(c *host.Core) {
		for id := range c.Rows().Ports {
			c.Heard(id)
		}
	}); err != nil {
		s.t.Fatal(err)
	}
	var problems map[string]string
	if err := s.agent.loop.Wait(ctx, func(c *host.Core) bool {
		_, again := c.NextAttempt()
		problems = c.Problems()
		return c.Tried() && !again
	}); err != nil {
		s.t.Fatalf("the tables do not come to rest: %v; problems %v", err, problems)
	}
	told := false
	for key, why := range problems {
		if key == desired.VRFRow(plainVRF) && strings.Contains(why, "has no service no such by tcp") {
			told = true
			continue // it is asked for one that no host has
		}
		s.t.Errorf("row %s: %s", key, why)
	}
	if !told {
		s.t.Error("nobody says that the host lacks a service that a network asks for")
	}
}

// round plugs or unplugs every port in random order. Whoever asks tries again
// until it worked.
func (s *storm) round(plugged func(n int) bool) {
	s.t.Helper()
	type job struct {
		n  int
		in bool
	}
	jobs := make(chan job)
	var work sync.WaitGroup
	for range stormWorkers {
		work.Go(func() {
			s.onThread(func() error {
				for j := range jobs {
					if err := s.do(j.n, j.in); err != nil {
						s.t.Errorf("port %d, in %t: %v", j.n, j.in, err)
					}
				}
				return nil
			})
		})
	}
	for i, n := range s.random.Perm(*stormPorts) {
		jobs <- job{n, plugged(n)}
		if i == *stormPorts/2 { // as its upkeep does whenever an interface went
			s.onThread(func() error { _ = s.agent.Refresh(s.t.Context(), time.Now()); return nil })
			s.version++
			if err := s.tell(s.t.Context()); err != nil {
				s.t.Errorf("rows of version %d: %v", s.version, err)
			}
		}
	}
	close(jobs)
	work.Wait()
	if s.t.Failed() {
		s.t.FailNow()
	}
}

func (s *storm) place(n int) link.Place {
	return link.Place{Netns: s.spaces[n%len(s.spaces)], Ifname: fmt.Sprintf("e%d", n)}
}

func (s *storm) do(n int, in bool) (err error) {
	for range stormTries {
		if in {
			_, err = s.agent.Plug(s.t.Context(), plug.Request{Port: portID(n), Place: s.place(n), TimeoutSeconds: 20})
		} else {
			err = s.agent.Unplug(s.t.Context(), portID(n))
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// sweep does what the agent does after its first full sync.
func (s *storm) sweep() {
	s.t.Helper()
	s.onThread(func() error {
		if err := s.agent.Refresh(s.t.Context(), time.Now()); err != nil {
			return err
		}
		done, err := s.agent.Sweep(s.t.Context())
		if err == nil && !done {
			err = errors.New("the sweep did not get through")
		}
		return err
	})
}
