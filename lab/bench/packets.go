// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/weft-network/weft/lab/topology"
)

// PacketsRow is a path and family; one value a round.
type PacketsRow struct {
	Group    Group  `json:"group"`
	Path     string `json:"path"`
	Family   Family `json:"family"`
	Baseline string `json:"baseline"`
	// Rate is packets that arrived a second, while one core did all but receive.
	Rate       Spread `json:"packetsPerSecond"`
	OfBaseline Spread `json:"ofBaseline"`
	Lost       Spread `json:"lost"` // parts of one

	rates, lost []float64
	disturbed   int
}

// PacketsReport is all of a run.
type PacketsReport struct {
	Settings Settings     `json:"settings"`
	Rows     []PacketsRow `json:"rows"`
}

// MeasurePackets counts the smallest datagrams a second that a core carries over
// the same paths as Measure: one core sends and does all that interfaces, packet
// path and IP do, on both hosts; another only receives from the socket.
func MeasurePackets(ctx context.Context, o Options) (report PacketsReport, err error) {
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
	report.Rows = packetsRows(paths, o.Families)
	for round := 1; round <= o.Rounds; round++ {
		for i := range report.Rows {
			if ctx.Err() != nil {
				return report, context.Cause(ctx)
			}
			r := &report.Rows[i]
			if err := r.measure(l, paths, o.Seconds); err != nil {
				return report, err
			}
			o.Progress("round %d of %d: %-12s %-22s %s %9.0f packets/s, %.2f %% lost\n", round, o.Rounds,
				r.Group, r.Path, r.Family, r.rates[round-1], 100*r.lost[round-1])
		}
	}
	comparePackets(report.Rows)
	return report, nil
}

func packetsRows(paths []Path, families []Family) (rows []PacketsRow) {
	for _, group := range groups {
		for _, family := range families {
			baseline := ""
			for _, p := range paths {
				if p.Group != group {
					continue
				}
				if baseline == "" {
					baseline = p.Name
				}
				rows = append(rows, PacketsRow{Group: group, Path: p.Name, Family: family, Baseline: baseline})
			}
		}
	}
	return rows
}

// measure floods once, and again if something else had the sender's core.
func (r *PacketsRow) measure(l *topology.Lab, paths []Path, seconds int) error {
	p := paths[slices.IndexFunc(paths, func(p Path) bool { return p.Group == r.Group && p.Name == r.Path })]
	for try := 1; ; try++ {
		rate, lost, ran, err := floodOnce(l, p, r.Family, seconds)
		if err != nil {
			return err
		}
		if ran*100 < busy && try < quietTries {
			r.disturbed++
			continue
		}
		r.rates, r.lost = append(r.rates, rate), append(r.lost, lost)
		return nil
	}
}

// settle is enough for the last datagrams of a flood to arrive.
const settle = 50 * time.Millisecond

func floodOnce(l *topology.Lab, p Path, family Family, seconds int) (rate, lost, ran float64, err error) {
	s, err := newSink(l.Namespace(p.server))
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	sent, took, used, err := flood(l.Namespace(p.client), p.address(family), seconds)
	if err != nil {
		return 0, 0, 0, err
	}
	time.Sleep(settle)
	arrived := s.count.Load()
	if sent == 0 || arrived == 0 {
		return 0, 0, 0, fmt.Errorf("count packets, %s, %s, %s: %d sent and %d arrived", p.Group, p.Name, family, sent, arrived)
	}
	return float64(arrived) / took.Seconds(), 1 - float64(arrived)/float64(sent), used.Seconds() / took.Seconds(), nil
}

func comparePackets(rows []PacketsRow) {
	for i := range rows {
		r := &rows[i]
		base := &rows[slices.IndexFunc(rows, func(b PacketsRow) bool {
			return b.Group == r.Group && b.Family == r.Family && b.Path == r.Baseline
		})]
		var ratio []float64
		for n := range r.rates {
			ratio = append(ratio, r.rates[n]/base.rates[n])
		}
		r.Rate, r.OfBaseline, r.Lost = spreadOf(r.rates), spreadOf(ratio), spreadOf(r.lost)
	}
}

// Print writes the report as a table for people.
func (r PacketsReport) Print(w io.Writer) {
	fmt.Fprintf(w, "UDP of %d bytes, in IPv4 frames of 64, the smallest; %d rounds of %d s, paths of a table in turn; packets a second that one core sends and carries, median and range.\n",
		datagramSize, r.Settings.Rounds, r.Settings.Seconds)
	heading := ""
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.Rows {
		if h := fmt.Sprintf("%s, %s", row.Group, row.Family); h != heading {
			t.Flush()
			heading = h
			fmt.Fprintf(w, "\n%s\n", h)
			fmt.Fprintf(t, "  PATH\tPACKETS/S\tRANGE\tOF THE FIRST\tRANGE\tLOST\tREPEATED\n")
		}
		fmt.Fprintf(t, "  %s\t%.0f\t%.0f to %.0f\t%.2f\t%.2f to %.2f\t%.2f %%\t%d\n", row.Path, row.Rate.Median, row.Rate.Min, row.Rate.Max,
			row.OfBaseline.Median, row.OfBaseline.Min, row.OfBaseline.Max, 100*row.Lost.Median, row.disturbed)
	}
	t.Flush()
	fmt.Fprintf(w, "\nsettings: Linux %s, %d CPUs; sender on CPU %d, rps_cpus %s on every veth, receiver on CPU %d; load before the start %s\n",
		r.Settings.Kernel, r.Settings.CPUs, senderCPU, r.Settings.RPS, receiverCPU, r.Settings.LoadBefore)
}
