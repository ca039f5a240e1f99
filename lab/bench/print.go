// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes the report as tables for people.
func (r Report) Print(w io.Writer) {
	s := r.Settings
	fmt.Fprintf(w, "TCP streams, %d rounds of %d s, paths of a table in turn; median and range. Every path has an inner MTU of %d.\n",
		s.Rounds, s.Seconds, s.InnerMTU)
	fmt.Fprintf(w, "Hosts are namespaces on this machine: figures compare paths with each other, not with a real network.\n")
	table := ""
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.Rows {
		if h := heading(row.Group, row.Family, row.Load); h != table {
			t.Flush()
			table = h
			fmt.Fprintf(w, "\n%s\n", h)
			fmt.Fprintf(t, "  PATH\tGBIT/S\tRANGE\tOF %s\tRANGE\tRETRANSMITS\tREPEATED\n", strings.ToUpper(row.Baseline))
		}
		fmt.Fprintf(t, "  %s\t%.2f\t%.2f to %.2f\t%.2f\t%.2f to %.2f\t%d\t%d\n", row.Path,
			row.Gbit.Median, row.Gbit.Min, row.Gbit.Max, row.OfBaseline.Median, row.OfBaseline.Min, row.OfBaseline.Max, row.Retransmits, row.Disturbed)
	}
	t.Flush()
	fmt.Fprintf(w, "\nsettings: Linux %s, %d CPUs, %s; iperf3 -C %s -A %s; rps_cpus %s on every veth; underlay MTU %d, tunnels over IPv4; load before the start %s\n",
		s.Kernel, s.CPUs, s.Iperf, s.Congestion, s.Affinity, s.RPS, s.UnderlayMTU, s.LoadBefore)
	fmt.Fprintf(w, "repeated: the client and the server had each less than %d %% of their core, so others had the rest\n", busy)
	fmt.Fprintf(w, "receive offload as measured: %s\n", strings.Join(s.Offloads, ", "))
}
