// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/safchain/ethtool"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// settings reads back what was set, and what the measured programs set themselves.
func settings(l *topology.Lab, o Options) (Settings, error) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return Settings{}, fmt.Errorf("read the kernel's release: %w", err)
	}
	version, err := exec.Command("iperf3", "--version").Output()
	if err != nil {
		return Settings{}, fmt.Errorf("read iperf3's version: %w", err)
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return Settings{}, fmt.Errorf("read the load: %w", err)
	}
	first, _, _ := strings.Cut(string(version), "\n")
	s := Settings{
		Kernel: strings.TrimSpace(string(release)), CPUs: runtime.NumCPU(), Iperf: first, LoadBefore: strings.Fields(string(load))[0],
		Congestion: congestion, Affinity: affinity, RPS: rpsCPUs,
		InnerMTU: innerMTU, UnderlayMTU: underlayMTU, Seconds: o.Seconds, Rounds: o.Rounds,
	}
	for _, ns := range []string{"h1", "k1", "w1"} {
		lines, err := offloads(l.Namespace(ns), ns)
		if err != nil {
			return s, err
		}
		s.Offloads = append(s.Offloads, lines...)
	}
	return s, nil
}

// offloads tells for each interface whether GRO is on. A namespace that does
// not exist has none.
func offloads(full, short string) ([]string, error) {
	if _, err := os.Stat(namespace.Path(full)); err != nil {
		return nil, nil
	}
	names, err := namespace.Links(full)
	if err != nil {
		return nil, err
	}
	var lines []string
	err = namespace.Do(full, func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		for _, n := range names {
			if n == "lo" {
				continue
			}
			features, err := e.Features(n)
			if err != nil {
				return fmt.Errorf("read offloads of %s: %w", n, err)
			}
			word := map[bool]string{true: "on", false: "off"}[features["rx-gro"]]
			lines = append(lines, fmt.Sprintf("%s/%s: gro %s", short, n, word))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read offloads in %s: %w", full, err)
	}
	return lines, nil
}
