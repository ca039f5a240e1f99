// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"slices"
	"text/tabwriter"

	"github.com/weft-network/weft/lab/topology"
)

// PolicyOptions say how much of policy is measured.
type PolicyOptions struct {
	Rules     int // of both families together
	Exchanges int // a round
	Changes   int // of which is found how soon they work
}

// PolicyRow is a path with rules on it; one value a round.
type PolicyRow struct {
	Path     string `json:"path"`
	Family   Family `json:"family"`
	Micros   Spread `json:"p50Micros"`
	P99      Spread `json:"p99Micros"`
	OfPlain  Spread `json:"ofPlain"`  // p50 against plain forwarding in the same round
	OfNoRule Spread `json:"ofNoRule"` // p50 against the same system without rules in the same round

	p50, p99 []float64
}

// PolicyReport is all of a run.
type PolicyReport struct {
	Settings  Settings    `json:"settings"`
	Rules     int         `json:"rules"`
	Count     int         `json:"count"`
	ServerCPU int         `json:"serverCPU"`
	Rows      []PolicyRow `json:"rows"`
	Effect    Effect      `json:"effect"`
}

// ruledPath is a way from a client to a server, and what makes its rules be
// there if not all are at once.
type ruledPath struct {
	name, client, server string
	v4, v6               netip.Addr
	without              string // the path of the same system without rules
	prepare              func() error
}

// MeasurePolicy times connections under many rules, in Weft and in nftables
// with the same rules, and how soon changes of policy work.
func MeasurePolicy(ctx context.Context, o Options, p PolicyOptions) (report PolicyReport, err error) {
	if _, err := exec.LookPath("nft"); err != nil {
		return report, errors.New("measure policy: nft is not installed; on Debian: apt-get install nftables")
	}
	l, err := topology.New(topology.Options{Run: o.Run, Dir: o.Dir, Bin: o.Bin, Hosts: policyHosts, UnderlayMTU: underlayMTU})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	o.Progress("build the underlay, three hosts of Weft, two of plain Linux, and %d rules for both\n", p.Rules)
	paths, err := wirePolicy(ctx, l, p.Rules)
	if err != nil {
		return report, err
	}
	report = PolicyReport{Rules: p.Rules, Count: p.Exchanges, ServerCPU: receiverCPU}
	if report.Settings, err = settings(l, o); err != nil {
		return report, err
	}
	if o.OneCore {
		report.ServerCPU = senderCPU
	}
	if err := report.exchange(ctx, l, o, paths); err != nil {
		return report, err
	}
	report.Effect, err = measureEffect(ctx, l, o, p.Changes)
	return report, err
}

func (r *PolicyReport) exchange(ctx context.Context, l *topology.Lab, o Options, paths []ruledPath) (err error) {
	servers := make([]Path, len(paths))
	for i, p := range paths {
		servers[i] = Path{server: p.server}
		for _, f := range o.Families {
			r.Rows = append(r.Rows, PolicyRow{Path: p.name, Family: f})
		}
	}
	stop, err := startEchoers(l, servers, r.ServerCPU)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for round := 1; round <= o.Rounds; round++ {
		for i, p := range paths {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := p.prepare(); err != nil {
				return err
			}
			for j := range o.Families {
				row := &r.Rows[i*len(o.Families)+j]
				if err := row.measure(l, p, r.Count); err != nil {
					return err
				}
				o.Progress("round %d of %d: %-36s %s p50 %7.1f us, p99 %7.1f us\n", round, o.Rounds, row.Path, row.Family, row.p50[round-1], row.p99[round-1])
			}
		}
	}
	comparePolicy(r.Rows, paths)
	return nil
}

func (r *PolicyRow) measure(l *topology.Lab, p ruledPath, count int) error {
	to := p.v4
	if r.Family == IPv6 {
		to = p.v6
	}
	all, err := connections(l.Namespace(p.client), to, count)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", r.Path, r.Family, err)
	}
	slices.Sort(all)
	r.p50, r.p99 = append(r.p50, micros(quantile(all, 0.5))), append(r.p99, micros(quantile(all, 0.99)))
	return nil
}

func comparePolicy(rows []PolicyRow, paths []ruledPath) {
	of := func(r *PolicyRow, path string) Spread {
		base := rows[slices.IndexFunc(rows, func(b PolicyRow) bool { return b.Path == path && b.Family == r.Family })]
		var ratio []float64
		for n := range r.p50 {
			ratio = append(ratio, r.p50[n]/base.p50[n])
		}
		return spreadOf(ratio)
	}
	for i := range rows {
		r := &rows[i]
		p := paths[slices.IndexFunc(paths, func(p ruledPath) bool { return p.name == r.Path })]
		r.Micros, r.P99, r.OfPlain, r.OfNoRule = spreadOf(r.p50), spreadOf(r.p99), of(r, paths[0].name), of(r, p.without)
	}
}

// Print writes the report as a table for people.
func (r PolicyReport) Print(w io.Writer) {
	fmt.Fprintf(w, "Connect, 1 byte and back, close across two hosts, %d a round, %d rounds, paths in turn; medians of the rounds and range, microseconds.\n", r.Count, r.Settings.Rounds)
	fmt.Fprintf(w, "The receiving host has %d rules, half of each family, each an address and a port, of which the last passes; the sending one passes all.\n", r.Rules)
	fmt.Fprintf(w, "Plain Linux forwards without encapsulation, Weft in VXLAN.\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n  PATH\tFAMILY\tP50\tRANGE\tP99\tOF PLAIN\tRANGE\tOF ITS OWN WITHOUT RULES\tRANGE\n")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "  %s\t%s\t%.1f\t%.1f to %.1f\t%.1f\t%.2f\t%.2f to %.2f\t%.2f\t%.2f to %.2f\n", row.Path, row.Family, row.Micros.Median, row.Micros.Min, row.Micros.Max,
			row.P99.Median, row.OfPlain.Median, row.OfPlain.Min, row.OfPlain.Max, row.OfNoRule.Median, row.OfNoRule.Min, row.OfNoRule.Max)
	}
	t.Flush()
	r.Effect.print(w)
	fmt.Fprintf(w, "\nsettings: Linux %s, %d CPUs; client on CPU %d, server on CPU %d; load before the start %s\n",
		r.Settings.Kernel, r.Settings.CPUs, senderCPU, r.ServerCPU, r.Settings.LoadBefore)
}
