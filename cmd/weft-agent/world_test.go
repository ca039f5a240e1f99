// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// patience bounds every wait of these tests but that for an agent to be ready. Nothing
// here takes a twentieth of it, and loading bounds that: on the emulated kernel of make
// test-kernel two agents that load their programs at the same time take about a minute.
const (
	patience = time.Minute
	loading  = 4 * time.Minute
)

// inside runs f on a thread of its own in a network namespace; the thread ends
// with it.
func inside(t *testing.T, ns string, f func() error) {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not be used again
		h, err := netns.GetFromName(ns)
		if err == nil {
			err = netns.Set(h)
			h.Close()
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatalf("in namespace %s: %v", ns, err)
	}
}

// namespace makes a named namespace with loopback up and removes it at the end.
func namespace(t *testing.T, name string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces and loads eBPF: run it as root")
	}
	name = fmt.Sprintf("weft-%s-%d", name, os.Getpid())
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		h, err := netns.NewNamed(name)
		if err == nil {
			h.Close()
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatalf("make namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := netns.DeleteNamed(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("remove namespace %s: %v", name, err)
		}
	})
	inside(t, name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return name
}

func nsPath(ns string) string { return filepath.Join("/run/netns", ns) }

// underlay joins two hosts' namespaces with a cable and gives them addresses.
func underlay(t *testing.T, ns [2]string, addresses [2][]netip.Prefix) {
	t.Helper()
	far, err := netns.GetFromName(ns[1])
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	inside(t, ns[0], func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "u0"
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "u0", PeerNamespace: netlink.NsFd(int(far))})
	})
	for i := range ns {
		inside(t, ns[i], func() error {
			l, err := netlink.LinkByName("u0")
			if err != nil {
				return err
			}
			for _, p := range addresses[i] {
				a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
				if p.Addr().Is6() {
					a.Flags = syscall.IFA_F_NODAD
				}
				if err := netlink.AddrAdd(l, a); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(l)
		})
	}
}

// cable makes a veth pair from a host to a workload's namespace, as somebody
// other than weft would, and configures the workload's end as number n.
func cable(t *testing.T, ns, name, far, farName string, n int) {
	t.Helper()
	h, err := netns.GetFromName(far)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	inside(t, ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: farName, PeerNamespace: netlink.NsFd(int(h)), PeerHardwareAddr: macOf(n)})
	})
	inside(t, far, func() error {
		l, err := netlink.LinkByName(farName)
		if err != nil {
			return err
		}
		for i, ip := range ips(n) {
			a := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask([]int{24, 64}[i], ip.BitLen())}}
			if ip.Is6() {
				a.Flags = syscall.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(l)
	})
}

// command starts a process in a namespace.
func command(t *testing.T, ns string, c *exec.Cmd) {
	t.Helper()
	inside(t, ns, c.Start)
}

// ping sends echo requests from a namespace and returns what ping says.
func ping(t *testing.T, ns string, to string, arguments ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	c := exec.CommandContext(ctx, "ping", append(arguments, to)...)
	c.Stdout, c.Stderr = &out, &out
	command(t, ns, c)
	err := c.Wait()
	return out.String(), err
}

// reaches fails the test unless every one of a few pings is answered with this TTL.
func reaches(t *testing.T, ns, to string) {
	t.Helper()
	out, err := ping(t, ns, to, "-c", "3", "-i", "0.05", "-W", "2")
	if err != nil || strings.Count(out, "ttl=64") != 3 {
		t.Fatalf("ping from %s to %s: %v\n%s", ns, to, err, out)
	}
}

// unreachable fails the test if a ping is answered.
func unreachable(t *testing.T, ns, to string) {
	t.Helper()
	if out, err := ping(t, ns, to, "-c", "2", "-i", "0.05", "-W", "1"); err == nil {
		t.Fatalf("ping from %s to %s is answered:\n%s", ns, to, out)
	}
}

// stream of pings that runs while something happens.
type running struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	name string
}

// pinging starts pings every two milliseconds.
func pinging(t *testing.T, ns, to string) *running {
	t.Helper()
	r := &running{name: ns + " to " + to}
	r.cmd = exec.Command("ping", "-i", "0.002", "-q", to)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	command(t, ns, r.cmd)
	t.Cleanup(func() { _ = r.cmd.Process.Kill() }) // has ended if all went well
	return r
}

// unread returns how many answers arrived and found the ping's own socket
// full, because it did not come to run for long. The network has lost none of
// these.
func (r *running) unread(t *testing.T) (dropped int) {
	t.Helper()
	process := fmt.Sprintf("/proc/%d/", r.cmd.Process.Pid)
	open, err := filepath.Glob(process + "fd/*")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, fd := range open {
		if target, err := os.Readlink(fd); err == nil {
			own[target] = true
		}
	}
	for _, table := range []string{"raw", "icmp", "raw6", "icmp6"} {
		text, err := os.ReadFile(process + "net/" + table)
		if err != nil {
			t.Fatalf("read what sockets of ping %s dropped: %v", r.name, err)
		}
		const inode, drops = 9, 12 // columns
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > drops && own["socket:["+fields[inode]+"]"] {
				n, err := strconv.Atoi(fields[drops])
				if err != nil {
					t.Fatalf("read what sockets of ping %s dropped: %v", r.name, err)
				}
				dropped += n
			}
		}
	}
	return dropped
}

// lossless ends the pings and fails the test if one was lost.
func (r *running) lossless(t *testing.T) {
	t.Helper()
	unread := r.unread(t)
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatalf("stop ping %s: %v", r.name, err)
	}
	_ = r.cmd.Wait() // the text says what matters
	out := r.out.String()
	if strings.Contains(out, " 0% packet loss") {
		return
	}
	var sent, received int
	_, rest, _ := strings.Cut(out, "statistics ---\n")
	_, _ = fmt.Sscanf(rest, "%d packets transmitted, %d received", &sent, &received)
	// The last one may be on its way when ping is told to end.
	lost := sent - received - unread
	t.Logf("ping %s: %d of %d answered; %d more came and it did not read them in time", r.name, received, sent, unread)
	if sent == 0 || lost > 1 {
		t.Fatalf("ping %s lost %d packets:\n%s", r.name, lost, out)
	}
}

// process is a running agent.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{}
	ended chan struct{}
	mu    sync.Mutex
	log   bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func start(t *testing.T, ns, binary string, arguments ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, arguments...), ready: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command(t, ns, p.cmd)
	go func() {
		defer close(p.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			if s.Text() == "ready" {
				close(p.ready)
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // has ended if all went well
		<-p.ended
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("agent in %s said:\n%s", ns, p.log.String())
		}
	})
	return p
}

func (p *process) waitReady(t *testing.T) {
	t.Helper()
	select {
	case <-p.ready:
	case <-p.ended:
		t.Fatal("the agent ended before it was ready")
	case <-time.After(loading):
		t.Fatal("the agent is not ready in time")
	}
}

func (p *process) stop(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("the agent does not end after %v", s)
	}
}

// eventually polls until f returns no error.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}
