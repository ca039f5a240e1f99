// SPDX-License-Identifier: Apache-2.0

// Command weft-bench measures TCP streams across hosts and on one host, over
// Weft and beside it over what the kernel does without it.
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

	"github.com/weft-network/weft/lab/bench"
	"github.com/weft-network/weft/lab/topology"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "weft-bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		seconds   = flag.Int("seconds", 2, "length of one stream")
		rounds    = flag.Int("rounds", 3, "how often every path is measured")
		output    = flag.String("o", "table", "table or json")
		baselines = flag.Bool("baselines", false, "measure the baselines alone, without Weft")
		id        = flag.String("run", "bench", "id of the run: part of the names of its namespaces")
		bin       = flag.String("bin", "", "folder with weft, weft-controller and weft-agent (default: the folder of this program)")
	)
	flag.Parse()
	if flag.NArg() > 0 || *seconds < 1 || *rounds < 1 || (*output != "table" && *output != "json") {
		return fmt.Errorf("usage: weft-bench [--seconds N] [--rounds N] [-o table|json] [--baselines]; see --help")
	}
	switch {
	case *baselines:
		*bin = ""
	case *bin == "":
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own folder: %w", err)
		}
		*bin = filepath.Dir(self)
	}
	dir := topology.RunDir(os.Getenv("WEFT_LAB_DIR"), *id)
	// What an interrupted run left would stand in the way.
	if err := topology.Down(*id, dir); err != nil {
		return err
	}
	report, err := bench.Measure(ctx, bench.Options{
		Run: *id, Dir: dir, Bin: *bin, Seconds: *seconds, Rounds: *rounds,
		Families: []bench.Family{bench.IPv4, bench.IPv6}, Lengths: []bench.Length{"", "1M"},
		Progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) },
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
