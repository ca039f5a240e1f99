// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// Bounds of the tests, generous because other tests share the machine.
const (
	buildTimeout = 10 * time.Minute
	upTimeout    = 5 * time.Minute
	patience     = 10 * time.Second
	settle       = 30 * time.Second
)

// system is the real programs and all workloads, of which members serve.
type system struct {
	lab     *topology.Lab
	servers map[string]*server // by the workload's short name
	after   func(func())       // has something done when all is over
}

func start(t *testing.T) *system {
	t.Helper()
	bin := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), buildTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./cmd/...")
	c.Dir, c.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	id := fmt.Sprintf("b%d", os.Getpid())
	l, err := topology.New(topology.Options{Run: id, Dir: topology.RunDir("", id), Bin: bin, Hosts: Hosts, Tunnel: topology.Both})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{topology.Controller, "h1", "h2", "h3"} {
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
	s := &system{lab: l, servers: map[string]*server{}, after: t.Cleanup}
	s.populate(t, up)
	return s
}

// populate plugs all workloads and makes members serve.
func (s *system) populate(t *testing.T, ctx context.Context) {
	t.Helper()
	s.apply(t, WorldYAML())
	var wait sync.WaitGroup
	failed := make([]error, len(Workloads))
	for i, w := range Workloads {
		wait.Go(func() {
			if failed[i] = s.lab.AddWorkload(w.Short()); failed[i] == nil {
				failed[i] = s.lab.Plug(ctx, w.Host, w.Port(), w.Short())
			}
		})
	}
	wait.Wait()
	for i, w := range Workloads {
		if failed[i] != nil {
			t.Fatal(failed[i])
		}
		if w.Network != "services" {
			s.serve(t, w)
		}
	}
	if err := s.lab.WaitPortsUp(ctx); err != nil {
		t.Fatal(err)
	}
}

// balance has load-balancers made.
func (s *system) balance(t *testing.T) {
	t.Helper()
	for tenant, members := range map[string][]string{"red": {"m1", "m2", "m3"}, "blue": {"m1", "m2"}} {
		argv := []string{"create", "load-balancer", "web", "-p", tenant + ":shop", "--network", "services",
			"--listener", "tcp/80:8080", "--listener", "tcp/8000:8080", "--listener", "udp/53:5353"}
		for _, f := range Families {
			argv = append(argv, "--ip", f.Virtual.String())
		}
		for _, m := range members {
			argv = append(argv, "--member", m)
		}
		s.weft(t, argv...)
	}
}

// serve makes a member serve, until it ends or is closed.
func (s *system) serve(t *testing.T, w Workload) {
	t.Helper()
	one, err := serve(s.namespace(w), w.Short())
	if err != nil {
		t.Fatal(err)
	}
	s.servers[w.Short()] = one
	s.after(one.close)
}

func (s *system) namespace(w Workload) string { return s.lab.Namespace(w.Short()) }

func (s *system) apply(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "world.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.weft(t, "apply", "-f", file)
}

func (s *system) weft(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := s.lab.Weft(t.Context(), arguments...)
	if err != nil {
		t.Fatalf("weft %v: %v\n%s", arguments, err, out)
	}
	return out
}

// run runs a program in a workload.
func (s *system) run(t *testing.T, w Workload, argv ...string) (string, error) {
	t.Helper()
	return namespace.Run(s.namespace(w), argv...)
}

// eventually polls until f returns no error, and says how long that took.
func eventually(t *testing.T, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	deadline := time.After(settle)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return time.Since(began)
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}
