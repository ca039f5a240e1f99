// SPDX-License-Identifier: Apache-2.0

package frames

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// Bounds of the tests, generous because other tests share the machine.
const (
	buildTimeout = 10 * time.Minute
	upTimeout    = 2 * time.Minute
	settle       = time.Minute
)

// binaries is the folder with the programs under test.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "lab/frames: network namespaces and eBPF need root; run the tests as root")
		return 1
	}
	dir, err := os.MkdirTemp("", "weft-frames-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator), "../../cmd/...")
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
	t   *testing.T
	lab *topology.Lab
}

const hosts = 3

func start(t *testing.T, suffix string, family topology.Family, objects string) *system {
	t.Helper()
	id := fmt.Sprintf("f%d%s", os.Getpid(), suffix)
	lab, err := topology.New(topology.Options{Run: id, Dir: topology.RunDir("", id), Bin: binaries, Hosts: hosts, Tunnel: family})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t, lab}
	t.Cleanup(func() {
		if t.Failed() {
			for n := 1; n <= hosts; n++ {
				for _, table := range []string{"macs", "receivers", "drops", "vnis", "ports"} {
					out, _ := lab.Weft(context.Background(), "get", table, "--host", topology.HostName(n))
					t.Logf("%s of %s:\n%s", table, topology.HostName(n), out)
				}
			}
		}
		if err := lab.Down(); err != nil {
			t.Errorf("take the system down: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), upTimeout)
	defer cancel()
	if err := lab.Up(ctx); err != nil {
		t.Fatal(err)
	}
	s.apply(objects)
	return s
}

// weft runs the CLI and expects it to succeed.
func (s *system) weft(args ...string) string {
	s.t.Helper()
	out, err := s.lab.Weft(s.t.Context(), args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *system) apply(text string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.weft("apply", "-f", file)
}

// workload makes the namespace of a port's workload and plugs it in.
func (s *system) workload(port string, host int) string {
	s.t.Helper()
	if err := s.lab.AddWorkload(port); err != nil {
		s.t.Fatal(err)
	}
	if err := s.lab.Plug(s.t.Context(), host, "d:p:"+port, port); err != nil {
		s.t.Fatal(err)
	}
	return s.lab.Namespace(port)
}

// give gives an interface addresses that Weft does not know.
func (s *system) give(ns, link string, number int) {
	s.t.Helper()
	for _, a := range unknown(number) {
		if err := namespace.AddAddress(ns, link, a); err != nil {
			s.t.Fatal(err)
		}
	}
}

// unknown are addresses of a subnet that only the workloads know.
func unknown(number int) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 20, 0, byte(number)}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x99, 15: byte(number)}), 64),
	}
}

// behind makes another station behind an interface, with a MAC and addresses of
// its own, in a namespace of its own.
func (s *system) behind(ns, name string, mac net.HardwareAddr, number int) string {
	s.t.Helper()
	if err := s.lab.AddWorkload(name); err != nil {
		s.t.Fatal(err)
	}
	inner := s.lab.Namespace(name)
	far, err := netns.GetFromName(inner)
	if err != nil {
		s.t.Fatal(err)
	}
	defer far.Close()
	err = namespace.Do(ns, func() error {
		parent, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex, attrs.HardwareAddr, attrs.Namespace = "m0", parent.Attrs().Index, mac, netlink.NsFd(int(far))
		return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	})
	if err == nil {
		err = namespace.Do(inner, func() error {
			l, err := netlink.LinkByName("m0")
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.give(inner, "m0", number)
	return inner
}

// reaches tells whether all of a few pings to both addresses are answered, as
// by a neighbour.
func (s *system) reaches(from string, number int) {
	s.t.Helper()
	for _, a := range unknown(number) {
		// The first may be lost while duplicate address detection goes on.
		for began := time.Now(); ; {
			answer, err := probe.Ping{Namespace: from, To: a.Addr(), Count: 3}.Run()
			if err == nil && answer.Received == 3 && len(answer.TTLs()) == 1 && answer.TTLs()[0] == 64 {
				break
			}
			if time.Since(began) > settle {
				s.t.Fatalf("ping from %s to %v: %+v (%v)", from, a.Addr(), answer, err)
			}
		}
	}
}

func (s *system) unreachable(from string, number int) {
	s.t.Helper()
	for _, a := range unknown(number) {
		answer, err := probe.Ping{Namespace: from, To: a.Addr(), Count: 2, Limit: 2 * time.Second}.Run()
		if err != nil || answer.Received != 0 {
			s.t.Errorf("ping from %s to %v: %+v (%v), want no answer", from, a.Addr(), answer, err)
		}
	}
}

// dropped is how many packets ended on a host for a reason.
func (s *system) dropped(host int, reason string) (packets int) {
	s.t.Helper()
	for _, line := range strings.Split(s.weft("get", "drops", "--host", topology.HostName(host)), "\n") {
		if f := strings.Fields(line); len(f) > 5 && f[0] == reason {
			var n int
			fmt.Sscan(f[5], &n)
			packets += n
		}
	}
	return packets
}

// place is where a host says that a MAC is.
func (s *system) place(host int, mac net.HardwareAddr) string {
	s.t.Helper()
	for _, line := range strings.Split(s.weft("get", "macs", "--host", topology.HostName(host)), "\n") {
		if f := strings.Fields(line); len(f) > 3 && f[1] == mac.String() {
			return strings.Join(f[2:], " ")
		}
	}
	return ""
}

// eventually waits for something that follows by itself.
func (s *system) eventually(what string, is func() bool) {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !is(); <-tick.C {
		if time.Since(began) > settle {
			s.t.Fatalf("not within %v: %s", settle, what)
		}
	}
}
