// SPDX-License-Identifier: Apache-2.0

package apiload

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Print writes the report for people.
func (r Report) Print(w io.Writer) {
	short := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	c := r.Creations
	fmt.Fprintf(w, "Creations, a port with an address a transaction, %d/s at fixed times: %d made, %d failed; p50 %v, p90 %v, p99 %v, worst %v (goal: p99 at most 20ms)\n",
		c.Rate, c.Made, c.Failed, short(c.P50), short(c.P90), short(c.P99), short(c.Worst))
	if c.FirstError != "" {
		fmt.Fprintf(w, "first failure: %s\n", c.FirstError)
	}
	fmt.Fprintf(w, "etcd's fsync meanwhile: %d, p50 %v, p99 %v\n", r.Fsync99.Count, r.Fsync50, r.Fsync99)
	if l := r.List; l.Ports > 0 {
		fmt.Fprintf(w, "List of %d ports, %d bytes of JSON: median %v, %v to %v (goal: at most 100ms for 10000)\n", l.Ports, l.Bytes, short(l.Median), short(l.Least), short(l.Worst))
	}
	if len(r.Memory) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n  PORTS\tRESIDENT, MB\tMB FOR 1,000 PORTS\tGO HEAP IN USE, MB\n")
	for _, m := range r.Memory {
		fmt.Fprintf(t, "  %d\t%.0f\t%.2f\t%.0f\n", m.Ports, float64(m.Resident)/1e6, float64(m.ResidentPer)/1e6, float64(m.Heap)/1e6)
	}
	t.Flush()
}
