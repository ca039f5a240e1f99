// SPDX-License-Identifier: Apache-2.0

package underlay

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// Bounds of the tests, generous because other tests share the machine.
const (
	buildTimeout = 10 * time.Minute
	upTimeout    = 3 * time.Minute
	settle       = time.Minute
	pollEvery    = 20 * time.Millisecond
)

// binaries is the folder with the programs under test.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "lab/underlay: network namespaces and eBPF need root; run the tests as root")
		return 1
	}
	dir, err := os.MkdirTemp("", "weft-under-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "../../cmd/...", "../cmd/weft-gateway")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	binaries = dir
	return m.Run()
}

// system is a running system under test.
type system struct {
	lab *topology.Lab
}

// start brings a system of two hosts up and takes it down with the test. before
// is called when the underlay is there and nothing runs on it yet.
func start(t *testing.T, suffix string, family topology.Family, before func(*topology.Lab)) *system {
	t.Helper()
	id := fmt.Sprintf("u%d%s", os.Getpid(), suffix)
	lab, err := topology.New(topology.Options{Run: id, Dir: topology.RunDir("", id), Bin: binaries, Hosts: 2, Tunnel: family})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			processes, _ := lab.Processes()
			for _, p := range processes {
				t.Log(lab.Tail(p.Name))
			}
		}
		if err := lab.Down(); err != nil {
			t.Errorf("take the system down: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), upTimeout)
	defer cancel()
	must(t, lab.WireUnderlay())
	if before != nil {
		before(lab)
	}
	must(t, lab.StartController(ctx))
	must(t, lab.JoinToken(ctx))
	must(t, lab.StartAgents(ctx))
	return &system{lab: lab}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// weft runs the CLI as an administrator and expects it to succeed.
func (s *system) weft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.lab.Weft(t.Context(), args...)
	must(t, err)
	return out
}

// apply writes a document.
func (s *system) apply(t *testing.T, document string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "apply.yaml")
	must(t, os.WriteFile(file, []byte(document), 0o600))
	s.weft(t, "apply", "-f", file)
}

// network makes a network with a workload on each host, w1 and w2, with the
// addresses .11 and .12; spec is what else the network says, in YAML.
func (s *system) network(t *testing.T, spec string) {
	t.Helper()
	for _, args := range [][]string{
		{"create", "domain", "d"}, {"create", "project", "d:p"},
		{"create", "network", "blue", "-p", "d:p", "--vni", "4711", "--subnet", "10.0.0.0/24", "--subnet", "fd00:a::/64"},
		{"create", "port", "w1", "-p", "d:p", "--network", "blue", "--host", "h1", "--ip", "10.0.0.11", "--ip", "fd00:a::11"},
		{"create", "port", "w2", "-p", "d:p", "--network", "blue", "--host", "h2", "--ip", "10.0.0.12", "--ip", "fd00:a::12"},
	} {
		s.weft(t, args...)
	}
	s.apply(t, spec)
	for n, w := range []string{"w1", "w2"} {
		must(t, s.lab.AddWorkload(w))
		must(t, s.lab.Plug(t.Context(), n+1, "d:p:"+w, w))
	}
}

var (
	w1 = []netip.Addr{netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("fd00:a::11")}
	w2 = []netip.Addr{netip.MustParseAddr("10.0.0.12"), netip.MustParseAddr("fd00:a::12")}
)

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	last := ""
	for until := time.Now().Add(settle); time.Now().Before(until); <-time.After(pollEvery) {
		var ok bool
		if ok, last = holds(); ok {
			return
		}
	}
	t.Fatalf("%s: not within %v: %s", what, settle, last)
}

// reaches waits until a workload (or another namespace of the run) gets an answer.
func (s *system) reaches(t *testing.T, from string, to netip.Addr) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s reaches %v", from, to), func() (bool, string) {
		a, err := probe.Ping{Namespace: s.lab.Namespace(from), To: to, Count: 1}.Run()
		return err == nil && a.Received == 1, a.Output
	})
}

// link changes an interface of a namespace of the run.
func (s *system) link(t *testing.T, ns, name string, change func(*netlink.Handle, netlink.Link) error) {
	t.Helper()
	h, err := namespace.Netlink(s.lab.Namespace(ns))
	must(t, err)
	defer h.Close()
	l, err := h.LinkByName(name)
	must(t, err)
	must(t, change(h, l))
}

// table is a table of a host, as the CLI prints it.
func (s *system) table(t *testing.T, name, host string) string {
	t.Helper()
	return s.weft(t, "get", name, "--host", host)
}

// seen returns how packets in the underlay are decoded by others: the protocols
// of each, and its label.
func (s *system) seen(t *testing.T, ns, device, filter string, count int, cause func()) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "capture")
	c := exec.Command("tcpdump", "-i", device, "-U", "-w", file, "-c", fmt.Sprint(count), filter)
	pipe, err := c.StderrPipe()
	must(t, err)
	must(t, namespace.Start(s.lab.Namespace(ns), c))
	t.Cleanup(func() { _ = c.Process.Kill() }) // has ended if all went well
	said := ""
	for buffer := make([]byte, 256); !strings.Contains(said, "listening on"); {
		n, err := pipe.Read(buffer)
		must(t, err)
		said += string(buffer[:n])
	}
	cause()
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case <-ended:
	case <-time.After(settle):
		t.Fatalf("%s on %s in %s: no %d packets", filter, device, ns, count)
	}
	out, err := exec.Command("tshark", "-r", file, "-T", "fields", "-E", "separator=;", "-e", "frame.protocols", "-e", "mpls.label").Output()
	must(t, err)
	return strings.Fields(string(out))
}
