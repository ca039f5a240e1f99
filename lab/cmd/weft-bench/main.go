// SPDX-License-Identifier: Apache-2.0

// Command weft-bench measures Weft beside what the kernel does without it: TCP
// streams across hosts and on one host (streams), small exchanges (latency), small
// datagrams (packets),
// how soon a plugged port works and what changing ports costs others (plug),
// connections under many rules and how soon changes of policy work (policy),
// and what is lost while agents and controllers change (lossless).
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

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

// options are those of all parts.
type options struct {
	bench.Options
	exchanges, ports, rules, changes int
	rates                            []int
	away                             time.Duration
	sources                          string
}

const usage = "usage: weft-bench [--seconds N] [--rounds N] [-o table|json] [--baselines] [streams|latency|packets|plug|policy|lossless]; see --help"

func run(ctx context.Context) error {
	o := options{Options: bench.Options{
		Families: []bench.Family{bench.IPv4, bench.IPv6}, Loads: []bench.Load{{Streams: 1}, {Streams: 1, Length: "1M"}, {Streams: 8}},
		Progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) },
	}}
	flag.IntVar(&o.Seconds, "seconds", 2, "length of one stream")
	flag.IntVar(&o.Rounds, "rounds", 3, "how often everything is measured")
	flag.StringVar(&o.Run, "run", "bench", "id of the run: part of the names of its namespaces")
	flag.StringVar(&o.Bin, "bin", "", "folder with weft, weft-controller and weft-agent (default: the folder of this program)")
	flag.StringVar(&o.Only, "only", "", "streams: only the tables whose heading has this in it, as \"across hosts, IPv4, one\"")
	flag.IntVar(&o.exchanges, "exchanges", 5000, "latency, policy: small exchanges a round")
	flag.BoolVar(&o.OneCore, "one-core", false, "latency, policy: client and server on one core, which leaves the waking of the other out")
	flag.IntVar(&o.rules, "rules", 10_000, "policy: rules at the receiving end, of both families together")
	flag.IntVar(&o.changes, "changes", 60, "policy: changes of which is found how soon they work")
	flag.IntVar(&o.ports, "ports", 100, "plug: ports on the host")
	flag.DurationVar(&o.away, "away", 10*time.Second, "lossless: how long the controller is away, and how long it hangs")
	flag.StringVar(&o.sources, "sources", "", "lossless: folder of the sources, to build an agent with another layout of the tables (default: without it)")
	rates := flag.String("rates", "10000,100000", "lossless: datagrams a second, of all flows together")
	output := flag.String("o", "table", "table or json")
	baselines := flag.Bool("baselines", false, "measure the baselines alone, without Weft")
	flag.Parse()
	what := cmp.Or(flag.Arg(0), "streams")
	measure, known := parts[what]
	if flag.NArg() > 1 || !known || o.Seconds < 1 || o.Rounds < 1 || o.exchanges < 1 || (*output != "table" && *output != "json") || *baselines && what != "streams" && what != "latency" && what != "packets" {
		return errors.New(usage)
	}
	var err error
	if o.rates, err = numbers(*rates); err != nil {
		return err
	}
	switch {
	case *baselines:
		o.Bin = ""
	case o.Bin == "":
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own folder: %w", err)
		}
		o.Bin = filepath.Dir(self)
	}
	o.Dir = topology.RunDir(os.Getenv("WEFT_LAB_DIR"), o.Run)
	// What an interrupted run left would stand in the way.
	if err := topology.Down(o.Run, o.Dir); err != nil {
		return err
	}
	report, err := measure(ctx, o)
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

// numbers reads a list of positive ones.
func numbers(text string) (all []int, err error) {
	for _, word := range strings.Split(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("read --rates: %q is not a number above 0", word)
		}
		all = append(all, n)
	}
	return all, nil
}
