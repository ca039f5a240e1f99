// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/weft-network/weft/lab/bench"
	"github.com/weft-network/weft/lab/lossless"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// printer is a report that people can read.
type printer interface{ Print(io.Writer) }

// part is something that is measured by itself.
type part func(context.Context, options) (printer, error)

// parts by the word that asks for them.
var parts = map[string]part{
	"streams": func(ctx context.Context, o options) (printer, error) { return bench.Measure(ctx, o.Options) },
	"latency": func(ctx context.Context, o options) (printer, error) {
		return bench.MeasureLatency(ctx, o.Options, o.exchanges)
	},
	"packets": func(ctx context.Context, o options) (printer, error) { return bench.MeasurePackets(ctx, o.Options) },
	"plug": func(ctx context.Context, o options) (printer, error) {
		return bench.MeasurePlug(ctx, o.Options, bench.PlugOptions{Ports: o.ports, Rounds: o.Rounds})
	},
	"policy": func(ctx context.Context, o options) (printer, error) {
		return bench.MeasurePolicy(ctx, o.Options, bench.PolicyOptions{Rules: o.rules, Exchanges: o.exchanges, Changes: o.changes})
	},
	"lossless": measureLossless,
}

// losses is the report of the part lossless.
type losses struct {
	Runs []lossless.Run `json:"runs"`
}

// Print implements printer.
func (l losses) Print(w io.Writer) { lossless.Print(w, l.Runs) }

func measureLossless(ctx context.Context, o options) (report printer, err error) {
	var other string
	if o.sources != "" {
		made, err := os.MkdirTemp("", "weft-bench-")
		if err != nil {
			return nil, fmt.Errorf("build an agent with another layout: %w", err)
		}
		defer os.RemoveAll(made)
		root, err := filepath.Abs(o.sources)
		if err != nil {
			return nil, fmt.Errorf("find the sources: %w", err)
		}
		if other, err = lossless.BuildOtherLayout(ctx, root, made); err != nil {
			return nil, err
		}
	}
	l, err := topology.New(topology.Options{Run: o.Run, Dir: o.Dir, Bin: o.Bin, Hosts: tenants.Hosts})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	if err := l.Up(ctx); err != nil {
		return nil, err
	}
	w, err := lossless.Prepare(ctx, l, other)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	var all losses
	err = w.Measure(ctx, lossless.Options{Rates: o.rates, Times: o.Rounds, Away: o.away}, func(r lossless.Run) {
		all.Runs = append(all.Runs, r)
		s := r.Sum()
		o.Progress("%-30s %6d/s, %d of %d: %d sent, %d lost\n", r.Action, r.Rate, r.Time, o.Rounds, s.Sent, s.Lost())
	})
	return all, err
}
