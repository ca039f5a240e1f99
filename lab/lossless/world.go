// SPDX-License-Identifier: Apache-2.0

package lossless

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// hosts are those whose agents are disturbed; the third has nothing of red's web.
const hosts = 2

// World is a system with the workloads that send to each other.
type World struct {
	Lab *topology.Lab
	// OtherAgent is a build with another layout.
	OtherAgent string
	drops      []*drops // by host
}

// The workloads: two on the first host, one on the second.
var (
	near  = tenants.Find(tenants.Red, "web-1")
	local = tenants.Find(tenants.Red, "web-2")
	far   = tenants.Find(tenants.Red, "web-3")
)

// rules let near begin conversations with the others, and nobody else any. So an
// answer passes only where it is known who began: a packet path that forgets
// drops it.
var rules = `---
kind: security-group
meta: {name: speaks, parent: "` + near.Project() + `"}
---
kind: security-group
meta: {name: hears, parent: "` + near.Project() + `"}
` + rule("speaks", "egress", "IPv4") + rule("speaks", "egress", "IPv6") + rule("hears", "ingress", "IPv4") + rule("hears", "ingress", "IPv6") +
	member(near, "speaks") + member(local, "hears") + member(far, "hears")

func rule(group, direction, family string) string {
	return fmt.Sprintf("---\nkind: security-group-rule\nmeta: {name: %s-%s, parent: %q}\nspec: {direction: %s, family: %s}\n",
		direction, strings.ToLower(family), near.Project()+":"+group, direction, family)
}

func member(w tenants.Workload, group string) string {
	return fmt.Sprintf("---\nkind: port\nmeta: {name: %s, parent: %q}\nspec: {network: %q, securityGroups: [%q]}\n",
		w.Name, w.Project(), w.NetworkName(), w.Project()+":"+group)
}

// Prepare brings the tenants' network up in a system that runs.
func Prepare(ctx context.Context, l *topology.Lab, otherAgent string) (*World, error) {
	w := &World{Lab: l, OtherAgent: otherAgent}
	for name, objects := range map[string]string{"red.yaml": tenants.YAML(tenants.Red), "red-rules.yaml": rules} {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(objects), 0o600); err != nil {
			return nil, fmt.Errorf("describe the network: %w", err)
		}
	}
	for _, name := range []string{"red.yaml", "red-rules.yaml"} {
		if _, err := l.Weft(ctx, "apply", "-f", filepath.Join(l.Dir, name)); err != nil {
			return nil, err
		}
	}
	if err := tenants.Plug(ctx, l, tenants.Of(tenants.Red)); err != nil {
		return nil, err
	}
	for n := 1; n <= hosts; n++ {
		d, err := newDrops(l.BPFDir(n))
		if err != nil {
			return nil, err
		}
		w.drops = append(w.drops, d)
	}
	return w, w.hold()
}

// Close lets go of the counters; the system is the caller's.
func (w *World) Close() {
	for _, d := range w.drops {
		d.close()
	}
}

func (w *World) hold() error {
	for _, d := range w.drops {
		if err := d.hold(); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) dropped() (map[string]uint64, error) {
	sum := map[string]uint64{}
	for _, d := range w.drops {
		reasons, err := d.dropped()
		if err != nil {
			return nil, err
		}
		for reason, n := range reasons {
			sum[reason] += n
		}
	}
	return sum, nil
}

// otherSizes make the smallest change of layout that an operator can make.
var otherSizes = []string{"--table-size", "ports=512", "--table-size", "next-hops=8192"}

// replace ends both hosts' agents, one after the other, and starts them as a build.
func (w *World) replace(ctx context.Context, end func(name string) error, b topology.AgentBuild) error {
	for n := 1; n <= hosts; n++ {
		if err := end(topology.HostName(n)); err != nil {
			return err
		}
		w.Lab.UseAgent(n, b)
		if err := w.Lab.StartAgent(ctx, n); err != nil {
			return err
		}
		if err := w.drops[n-1].hold(); err != nil {
			return err
		}
	}
	return nil
}

// absence stops the controller, kills one agent, which starts from its file
// alone, and waits; then the controller comes back.
func (w *World) absence(ctx context.Context, pause func() error) error {
	if err := w.Lab.Stop(topology.Controller); err != nil {
		return err
	}
	if err := w.Lab.Kill(topology.HostName(1)); err != nil {
		return err
	}
	if err := w.Lab.LaunchAgent(1); err != nil {
		return err
	}
	if err := pause(); err != nil {
		return err
	}
	if err := w.Lab.StartController(ctx); err != nil {
		return err
	}
	return w.Lab.AgentReady(ctx, 1)
}

// hang stops the controller's process for a while without ending it: its
// streams stay open and say nothing.
func (w *World) hang(pause func() error) error {
	if err := w.Lab.Signal(topology.Controller, syscall.SIGSTOP); err != nil {
		return err
	}
	err := pause()
	if again := w.Lab.Signal(topology.Controller, syscall.SIGCONT); again != nil {
		return again
	}
	return err
}
