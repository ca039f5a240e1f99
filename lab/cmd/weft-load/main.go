// SPDX-License-Identifier: Apache-2.0

// Command weft-load measures the API of a controller: creations at a fixed
// rate, long lists, memory.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weft-network/weft/lab/apiload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "weft-load: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o := apiload.Options{Progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) }}
	seconds := flag.Int("seconds", 30, "how long ports are created")
	memory := flag.String("memory", "1000,10000,50000,100000", "numbers of ports at which memory is read; empty: none")
	output := flag.String("o", "table", "table or json")
	flag.IntVar(&o.Rate, "rate", 100, "ports created a second")
	flag.IntVar(&o.List, "list", 10_000, "ports of the list that is read; 0: none")
	flag.IntVar(&o.Lists, "lists", 15, "how often it is read")
	flag.StringVar(&o.Below, "below", "/var/lib", "folder for the data directory; its disk is measured")
	flag.StringVar(&o.Controller, "controller", "", "binary (default: weft-controller in the folder of this program)")
	flag.Parse()
	if flag.NArg() > 0 || *seconds < 1 || o.Rate < 1 || o.Lists < 1 || (*output != "table" && *output != "json") {
		return fmt.Errorf("usage: weft-load [--seconds N] [--rate N] [--list N] [--lists N] [--memory N,N] [-o table|json]; see --help")
	}
	o.Duration = time.Duration(*seconds) * time.Second
	for _, text := range strings.Split(*memory, ",") {
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("read --memory: %q is not a number of ports", text)
		}
		o.Memory = append(o.Memory, n)
	}
	if o.Controller == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own folder: %w", err)
		}
		o.Controller = filepath.Join(filepath.Dir(self), "weft-controller")
	}
	report, err := apiload.Measure(ctx, o)
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
