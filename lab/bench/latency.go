// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/weft-network/weft/lab/topology"
)

// Exchange is what is timed.
type Exchange string

// The exchanges.
const (
	RequestResponse Exchange = "1 byte and back"
	ConnectClose    Exchange = "connect, 1 byte and back, close"
)

// LatencyRow is a path, family and exchange; one value a round.
type LatencyRow struct {
	Group    Group    `json:"group"`
	Path     string   `json:"path"`
	Family   Family   `json:"family"`
	Exchange Exchange `json:"exchange"`
	Baseline string   `json:"baseline"`
	// Micros are the middle durations of the rounds; P99 the 99th of a hundred.
	Micros     Spread `json:"p50Micros"`
	P99        Spread `json:"p99Micros"`
	OfBaseline Spread `json:"ofBaseline"` // p50 against that of the same round

	p50, p99 []float64
}

// LatencyReport is all of a run.
type LatencyReport struct {
	Settings Settings `json:"settings"`
	Count    int      `json:"count"` // of exchanges a round
	// ServerCPU is where the server runs; the client runs on senderCPU.
	ServerCPU int          `json:"serverCPU"`
	Rows      []LatencyRow `json:"rows"`
}

// MeasureLatency times small exchanges over the same paths as Measure.
func MeasureLatency(ctx context.Context, o Options, count int) (report LatencyReport, err error) {
	l, err := topology.New(topology.Options{Run: o.Run, Dir: o.Dir, Bin: o.Bin, Hosts: 2, UnderlayMTU: underlayMTU})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	paths, err := wire(ctx, l, o)
	if err != nil {
		return report, err
	}
	if report.Settings, err = settings(l, o); err != nil {
		return report, err
	}
	report.Count = count
	report.ServerCPU = receiverCPU
	if o.OneCore {
		report.ServerCPU = senderCPU
	}
	stop, err := startEchoers(l, paths, report.ServerCPU)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	report.Rows = latencyRows(paths, o.Families)
	for round := 1; round <= o.Rounds; round++ {
		for i := range report.Rows {
			if ctx.Err() != nil {
				return report, context.Cause(ctx)
			}
			r := &report.Rows[i]
			if err := r.measure(l, paths, count); err != nil {
				return report, err
			}
			o.Progress("round %d of %d: %-12s %-22s %s %-32s p50 %7.1f us, p99 %7.1f us\n", round, o.Rounds,
				r.Group, r.Path, r.Family, r.Exchange, r.p50[round-1], r.p99[round-1])
		}
	}
	compareLatency(report.Rows)
	return report, nil
}

// startEchoers starts one in every namespace that is a path's server.
func startEchoers(l *topology.Lab, paths []Path, cpu int) (stop func() error, err error) {
	started := map[string]*echoer{}
	stop = func() (all error) {
		for _, e := range started {
			all = errors.Join(all, e.close())
		}
		return all
	}
	for _, p := range paths {
		if started[p.server] != nil {
			continue
		}
		e, err := newEchoer(l.Namespace(p.server), cpu)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		started[p.server] = e
	}
	return stop, nil
}

func latencyRows(paths []Path, families []Family) (rows []LatencyRow) {
	for _, group := range groups {
		for _, family := range families {
			for _, e := range []Exchange{RequestResponse, ConnectClose} {
				baseline := ""
				for _, p := range paths {
					if p.Group != group {
						continue
					}
					if baseline == "" {
						baseline = p.Name
					}
					rows = append(rows, LatencyRow{Group: group, Path: p.Name, Family: family, Exchange: e, Baseline: baseline})
				}
			}
		}
	}
	return rows
}

func (r *LatencyRow) measure(l *topology.Lab, paths []Path, count int) error {
	at := slices.IndexFunc(paths, func(p Path) bool { return p.Group == r.Group && p.Name == r.Path })
	p := paths[at]
	do := map[Exchange]func(string, netip.Addr, int) ([]time.Duration, error){RequestResponse: exchanges, ConnectClose: connections}[r.Exchange]
	all, err := do(l.Namespace(p.client), p.address(r.Family), count)
	if err != nil {
		return fmt.Errorf("%s, %s, %s: %w", r.Group, r.Path, r.Family, err)
	}
	slices.Sort(all)
	r.p50 = append(r.p50, micros(quantile(all, 0.5)))
	r.p99 = append(r.p99, micros(quantile(all, 0.99)))
	return nil
}

// quantile of sorted values; zero of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func compareLatency(rows []LatencyRow) {
	for i := range rows {
		r := &rows[i]
		base := &rows[slices.IndexFunc(rows, func(b LatencyRow) bool {
			return b.Group == r.Group && b.Family == r.Family && b.Exchange == r.Exchange && b.Path == r.Baseline
		})]
		var ratio []float64
		for n := range r.p50 {
			if base.p50[n] > 0 {
				ratio = append(ratio, r.p50[n]/base.p50[n])
			}
		}
		r.Micros, r.P99, r.OfBaseline = spreadOf(r.p50), spreadOf(r.p99), spreadOf(ratio)
	}
}

// Print writes the report as a table for people.
func (r LatencyReport) Print(w io.Writer) {
	fmt.Fprintf(w, "Small exchanges over TCP, %d a round, %d rounds, paths of a table in turn; medians of the rounds and range, microseconds.\n",
		r.Count, r.Settings.Rounds)
	heading := ""
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.Rows {
		if h := fmt.Sprintf("%s, %s, %s", row.Group, row.Family, row.Exchange); h != heading {
			t.Flush()
			heading = h
			fmt.Fprintf(w, "\n%s\n", h)
			fmt.Fprintf(t, "  PATH\tP50\tRANGE\tP99\tP50 OF THE FIRST\tRANGE\n")
		}
		fmt.Fprintf(t, "  %s\t%.1f\t%.1f to %.1f\t%.1f\t%.2f\t%.2f to %.2f\n", row.Path, row.Micros.Median, row.Micros.Min, row.Micros.Max,
			row.P99.Median, row.OfBaseline.Median, row.OfBaseline.Min, row.OfBaseline.Max)
	}
	t.Flush()
	fmt.Fprintf(w, "\nsettings: Linux %s, %d CPUs; client on CPU %d, server on CPU %d; rps_cpus %s on every veth; load before the start %s\n",
		r.Settings.Kernel, r.Settings.CPUs, senderCPU, r.ServerCPU, r.Settings.RPS, r.Settings.LoadBefore)
}
