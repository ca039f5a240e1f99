// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// Bounds of the tests, generous because other tests share the machine.
const (
	buildTimeout = 10 * time.Minute
	upTimeout    = 5 * time.Minute
	settle       = 30 * time.Second
)

// system is the real programs and all workloads, of which members serve.
type system struct {
	lab          *topology.Lab
	servers      map[string]func() // that end them, by the workload's name
	certificates string            // directory
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
	id := fmt.Sprintf("x%d", os.Getpid())
	l, err := topology.New(topology.Options{Run: id, Dir: topology.RunDir("", id), Bin: bin, Hosts: Hosts})
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
	for n := range Hosts {
		l.UseAgent(n+1, topology.AgentBuild{Arguments: []string{"--certificates", filepath.Join(l.Dir, "certificates")}})
	}
	up, stop := context.WithTimeout(t.Context(), upTimeout)
	defer stop()
	if err := l.Up(up); err != nil {
		t.Fatal(err)
	}
	s := &system{lab: l, servers: map[string]func(){}, certificates: filepath.Join(l.Dir, "certificates")}
	s.populate(t, up)
	return s
}

// populate plugs all workloads, and makes members serve.
func (s *system) populate(t *testing.T, ctx context.Context) {
	t.Helper()
	s.apply(t, WorldYAML())
	var wait sync.WaitGroup
	failed := make([]error, len(Workloads))
	for i, w := range Workloads {
		wait.Go(func() {
			if failed[i] = s.lab.AddWorkload(w.Name); failed[i] == nil {
				failed[i] = s.lab.Plug(ctx, w.Host, w.Port(), w.Name)
			}
		})
	}
	wait.Wait()
	for i, w := range Workloads {
		if failed[i] != nil {
			t.Fatal(failed[i])
		}
		if !w.Member() {
			continue
		}
		stop, err := serve(s.namespace(w.Name), w.Name)
		if err != nil {
			t.Fatal(err)
		}
		s.servers[w.Name] = stop
		t.Cleanup(stop)
	}
}

func (s *system) namespace(name string) string { return s.lab.Namespace(name) }

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
func (s *system) run(name string, argv ...string) (string, error) {
	return namespace.Run(s.namespace(name), argv...)
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

// conditions are those of an object in red's load-balancer, in words.
func (s *system) conditions(t *testing.T, kind, name string) (string, error) {
	c, err := s.lab.Client()
	if err != nil {
		return "", err
	}
	defer c.Close()
	full := "red:shop:" + name
	o, err := c.Get(t.Context(), api.Kind(kind), api.Ref{Name: full})
	if err != nil {
		return "", err
	}
	var words []string
	for _, c := range o.StatusBody().(*api.Reported).Conditions {
		words = append(words, fmt.Sprintf("%s=%t %s %s", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(words, "; "), nil
}
