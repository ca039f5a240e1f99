// SPDX-License-Identifier: Apache-2.0

// Command weft-agents-bench runs a controller and many simulated agents, real
// but for the kernel's maps, and measures how both do.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weft-network/weft/lab/agents"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "weft-agents-bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		hosts    = flag.Int("agents", 1000, "how many agents")
		networks = flag.Int("networks", 1000, "how many networks")
		ports    = flag.Int("ports", 100, "ports of each network")
		rate     = flag.Int("rate", 100, "port changes a second")
		policies = flag.Int("policies", 0, "how many security-groups, as many for each network; 0: none, and no changes of policy")
		changes  = flag.Int("policy-rate", 20, "changes of policy a second")
		seconds  = flag.Int("seconds", 20, "how long ports change")
		limit    = flag.Duration("limit", 20*time.Minute, "give up after")
		output   = flag.String("o", "table", "table or json")
		bin      = flag.String("bin", "", "folder with weft-controller (default: the folder of this program)")
		dir      = flag.String("dir", "", "folder for the controller's data, on a real disk (default: a temporary one)")
	)
	flag.Parse()
	if flag.NArg() > 0 || *hosts < 1 || *networks < 1 || *ports < 1 || *rate < 1 || *policies < 0 || *changes < 1 || *seconds < 1 || (*output != "table" && *output != "json") {
		return fmt.Errorf("usage: weft-agents-bench [--agents N] [--networks N] [--ports N] [--policies N] [-o table|json]; see --help")
	}
	if *bin == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own folder: %w", err)
		}
		*bin = filepath.Dir(self)
	}
	if *dir == "" {
		made, err := os.MkdirTemp("", "weft-agents-")
		if err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
		defer os.RemoveAll(made)
		*dir = made
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	report, err := agents.Measure(ctx, agents.Options{
		Program: filepath.Join(*bin, "weft-controller"), Dir: *dir, Rate: *rate, Seconds: *seconds, PolicyRate: *changes, PolicySeconds: *seconds,
		World: agents.World{Hosts: *hosts, Networks: *networks, Ports: *ports, Policies: *policies},
		Say:   func(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) },
	})
	if err != nil {
		return err
	}
	if *output == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	report.Print(os.Stdout)
	return nil
}
