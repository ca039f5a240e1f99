// SPDX-License-Identifier: Apache-2.0

package failover

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/topology"
)

const (
	buildTimeout = 10 * time.Minute
	upTimeout    = 3 * time.Minute
	patience     = 30 * time.Second
	// between is the pause between two pings; a second without answer loses a hundred.
	between = 10 * time.Millisecond
)

// world is a system with a client on the first host and two routers, of which
// the second is on the second host.
const world = `kind: domain
meta: {name: red}
---
kind: project
meta: {name: prod, parent: red}
---
kind: route-table
meta: {name: out, parent: "red:prod"}
spec:
  routes:
  - {prefix: 192.168.9.0/24, nextHop: 10.0.0.11}
  - {prefix: 192.168.9.0/24, nextHop: 10.0.0.12}
---
kind: network
meta: {name: web, parent: "red:prod"}
spec: {routeTables: ["red:prod:out"]}
---
kind: subnet
meta: {name: v4, parent: "red:prod:web"}
spec: {cidr: 10.0.0.0/24}
---
kind: subnet
meta: {name: v6, parent: "red:prod:web"}
spec: {cidr: "fd00:b::/64", addressMode: slaac}
`

// port has an address of each family; of slaac the one that follows from its MAC.
func port(name string, host, number int, pairs string) string {
	return fmt.Sprintf(`---
kind: port
meta: {name: %[1]s, parent: "red:prod"}
spec:
  network: "red:prod:web"
  mac: "02:00:00:00:00:%02[3]x"
%[4]s---
kind: address
meta: {name: %[1]s-v4, parent: "red:prod:web"}
spec: {subnet: "red:prod:web:v4", ip: 10.0.0.%[3]d, port: "red:prod:%[1]s"}
---
kind: address
meta: {name: %[1]s-v6, parent: "red:prod:web"}
spec: {subnet: "red:prod:web:v6", ip: "fd00:b::ff:fe00:%[3]x", port: "red:prod:%[1]s"}
---
kind: binding
meta: {name: h%[2]d, parent: "red:prod:%[1]s"}
spec: {host: h%[2]d, active: true}
`, name, host, number, pairs)
}

const pairs = `  allowedAddressPairs:
  - {range: 10.0.0.100/32}
  - {range: "fd00:b::100/128"}
  - {range: 10.0.0.50/32, mode: active-active}
  - {range: "fd00:b::50/128", mode: active-active}
`

func start(t *testing.T) *topology.Lab {
	t.Helper()
	bin := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./cmd/...")
	c.Dir, c.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	id := fmt.Sprintf("f%d", os.Getpid())
	l, err := topology.New(topology.Options{Run: id, Dir: topology.RunDir("", id), Bin: bin, Hosts: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{topology.Controller, "h1", "h2", "r1", "r2"} {
				t.Log(l.Tail(name))
			}
		}
		if err := l.Down(); err != nil {
			t.Errorf("take the system down: %v", err)
		}
	})
	up, stop := context.WithTimeout(t.Context(), upTimeout)
	defer stop()
	if err := l.Up(up); err != nil {
		t.Fatal(err)
	}
	apply(t, l, world+port("client", 1, 9, "")+port("r1", 1, 11, pairs)+port("r2", 2, 12, pairs))
	for n, name := range map[string]int{"client": 1, "r1": 1, "r2": 2} {
		if err := l.AddWorkload(n); err != nil {
			t.Fatal(err)
		}
		run(t, l, n, "sysctl", "-qw", "net.ipv6.conf.default.use_tempaddr=2")
		if err := l.Plug(up, name, "red:prod:"+n, n); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func apply(t *testing.T, l *topology.Lab, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "world.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	weft(t, l, "apply", "-f", file)
}

func weft(t *testing.T, l *topology.Lab, arguments ...string) string {
	t.Helper()
	out, err := l.Weft(t.Context(), arguments...)
	if err != nil {
		t.Fatalf("weft %v: %v\n%s", arguments, err, out)
	}
	return out
}

// try runs a program in a workload.
func try(t *testing.T, l *topology.Lab, workload string, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + l.Namespace(workload), "--"}, argv...)...)
	out, err := c.CombinedOutput()
	return string(out), err
}

func run(t *testing.T, l *topology.Lab, workload string, argv ...string) string {
	t.Helper()
	out, err := try(t, l, workload, argv...)
	if err != nil {
		t.Fatalf("%v in %s: %v\n%s", argv, workload, err, out)
	}
	return out
}

// eventually polls until f returns no error.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
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

// keepalived runs on a router, which takes the addresses over if nobody of a
// higher priority has them.
func keepalived(t *testing.T, l *topology.Lab, name, own, peer string, priority int) {
	t.Helper()
	file := filepath.Join(l.Dir, name+".conf")
	instance := func(family, id, address, peer, vip string) string {
		return fmt.Sprintf(`vrrp_instance %s {
  state BACKUP
  interface eth0
  virtual_router_id %s
  priority %d
  advert_int 0.1
  unicast_src_ip %s
  unicast_peer {
    %s
  }
  virtual_ipaddress {
    %s
  }
}
`, family, id, priority, address, peer, vip)
	}
	six := func(n string) string { return "fd00:b::ff:fe00:" + map[string]string{"11": "b", "12": "c"}[n] }
	text := "global_defs {\n  vrrp_version 3\n  vrrp_garp_master_delay 1\n}\n" +
		instance("four", "7", "10.0.0."+own, "10.0.0."+peer, "10.0.0.100/32 dev eth0") +
		instance("six", "8", six(own), six(peer), "fd00:b::100/128 dev eth0")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := filepath.Join(l.Dir, name+".pid")
	if err := l.StartIn(name, name, "keepalived", "-n", "-l", "-D", "-P", "-f", file, "-p", pid, "-r", pid+".vrrp"); err != nil {
		t.Fatal(err)
	}
}

// signal reaches the child that speaks VRRP.
func signal(l *topology.Lab, name string, s syscall.Signal) error {
	text, err := os.ReadFile(filepath.Join(l.Dir, name+".pid.vrrp"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	return syscall.Kill(pid, s)
}

// pinging pings until it is told to stop.
type pinging struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

func ping(t *testing.T, l *topology.Lab, from, to string) *pinging {
	t.Helper()
	p := &pinging{cmd: exec.Command("nsenter", "--net=/run/netns/"+l.Namespace(from), "--", "ping", "-n", "-i", fmt.Sprint(between.Seconds()), to)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

var sequence = regexp.MustCompile(`icmp_seq=(\d+)`)

// gap ends the pings and returns the longest time without an answer.
func (p *pinging) gap(t *testing.T) time.Duration {
	t.Helper()
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
	last, longest, answers := 0, 0, 0
	for _, m := range sequence.FindAllStringSubmatch(p.out.String(), -1) {
		n, _ := strconv.Atoi(m[1])
		longest, last, answers = max(longest, n-last-1), n, answers+1
	}
	if answers < 50 {
		t.Fatalf("only %d answers:\n%s", answers, p.out.String())
	}
	return time.Duration(longest) * between
}

var vips = []string{"10.0.0.100", "fd00:b::100"}

// at waits until a router has the address as the controllers see it, and
// answers a client.
func at(t *testing.T, l *topology.Lab, router string) {
	t.Helper()
	for _, vip := range vips {
		eventually(t, func() error {
			out := weft(t, l, "routes", "red:prod:web")
			for line := range strings.Lines(out) {
				if strings.Contains(line, vip+"/") && strings.Contains(line, "port "+router+" on") {
					return nil
				}
			}
			return fmt.Errorf("%s is not at %s:\n%s", vip, router, out)
		})
	}
}

// An address of a pair follows keepalived from one host to another and back,
// within a second, under running pings; both families.
func TestKeepalived(t *testing.T) {
	l := start(t)
	t.Run("privacy", func(t *testing.T) { privacy(t, l) })
	t.Run("shared", func(t *testing.T) { shared(t, l) })
	keepalived(t, l, "r1", "11", "12", 150)
	at(t, l, "r1")
	keepalived(t, l, "r2", "12", "11", 100)
	for _, step := range []struct {
		what string
		do   func() error
		to   string
	}{
		{"the master hangs and keeps its addresses", func() error { return signal(l, "r1", syscall.SIGSTOP) }, "r2"},
		{"it goes on", func() error { return signal(l, "r1", syscall.SIGCONT) }, "r1"},
		{"the master ends in order", func() error { return l.Stop("r1") }, "r2"},
	} {
		var pings []*pinging
		for _, vip := range vips {
			eventually(t, func() error {
				out, err := try(t, l, "client", "ping", "-n", "-c", "1", "-W", "1", vip)
				if err != nil {
					return fmt.Errorf("%s: %w\n%s\n%s", vip, err, out, weft(t, l, "routes", "red:prod:web"))
				}
				return nil
			})
			pings = append(pings, ping(t, l, "client", vip))
		}
		wait(t, time.Second)
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		at(t, l, step.to)
		wait(t, time.Second)
		for i, p := range pings {
			gap := p.gap(t)
			t.Logf("%s: %s was away for %v", step.what, vips[i], gap)
			if gap > time.Second {
				t.Errorf("%s: %s was away for %v, at most a second is allowed", step.what, vips[i], gap)
			}
		}
	}
}

// wait lets pings run.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// A workload uses temporary addresses that it makes itself by SLAAC, to its own
// host and to another one.
func privacy(t *testing.T, l *topology.Lab) {
	var temporary string
	eventually(t, func() error {
		out := run(t, l, "client", "ip", "-6", "-o", "address", "show", "dev", "eth0", "temporary")
		f := strings.Fields(out)
		if len(f) < 4 || strings.Contains(out, "tentative") {
			return fmt.Errorf("no temporary address:\n%s", run(t, l, "client", "ip", "-6", "address"))
		}
		temporary, _, _ = strings.Cut(f[3], "/")
		return nil
	})
	for _, to := range []string{"fd00:b::ff:fe00:b", "fd00:b::ff:fe00:c"} {
		eventually(t, func() error {
			out, err := try(t, l, "client", "ping", "-n", "-c", "1", "-W", "1", "-I", temporary, to)
			if err != nil {
				return fmt.Errorf("ping from %s to %s: %w\n%s\n%s", temporary, to, err, out, weft(t, l, "routes", "red:prod:web"))
			}
			return nil
		})
	}
	if out := weft(t, l, "routes", "red:prod:web"); !strings.Contains(out, temporary) {
		t.Errorf("%s is not among the routes:\n%s", temporary, out)
	}
}
