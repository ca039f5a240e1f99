// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
)

// Print writes the report for people.
func (r PlugReport) Print(w io.Writer) {
	fmt.Fprintf(w, "%d ports on one host, interfaces present: from asking for a plug to the first answer to its workload\n", r.Ports)
	for _, line := range []struct {
		name   string
		millis []float64
	}{{"from the same host", r.Near}, {"from another host", r.Far}} {
		q := quantilesOf(line.millis)
		fmt.Fprintf(w, "  %-20s p50 %.1f ms, p99 %.1f ms, longest %.1f ms (%d ports)\n", line.name, q.P50, q.P99, q.Max, len(line.millis))
	}
	fmt.Fprintf(w, "agent with %d ports: %.1f MB resident\n", r.Ports+2, float64(r.RSS)/1e6)
	fmt.Fprintf(w, "kernel tables beside it: %v\n", r.Memory)
	c := r.Churn
	fmt.Fprintf(w, "\n%d changes of ports at %.0f a second (wanted %d) beside one TCP stream across hosts, IPv4, %d pairs of %d s; median and range\n",
		c.Changes, c.Rate, changeRate, r.Settings.Rounds, r.Settings.Seconds)
	fmt.Fprintf(w, "  stream without changes %.2f Gbit/s (%.2f to %.2f), with %.2f (%.2f to %.2f), ratio %.3f (%.3f to %.3f)\n",
		c.Quiet.Median, c.Quiet.Min, c.Quiet.Max, c.Changing.Median, c.Changing.Min, c.Changing.Max, c.Ratio.Median, c.Ratio.Min, c.Ratio.Max)
	fmt.Fprintf(w, "  program of the ports, ns a frame: without %.0f (%.0f to %.0f), with %.0f (%.0f to %.0f)\n",
		c.NsQuiet.Median, c.NsQuiet.Min, c.NsQuiet.Max, c.NsChanging.Median, c.NsChanging.Min, c.NsChanging.Max)
	fmt.Fprintf(w, "  plug p50 %.1f ms, p99 %.1f ms, longest %.1f ms; unplug p50 %.1f ms, p99 %.1f ms, longest %.1f ms\n",
		c.Plug.P50, c.Plug.P99, c.Plug.Max, c.Unplug.P50, c.Unplug.P99, c.Unplug.Max)
	fmt.Fprintf(w, "settings: Linux %s, %d CPUs; load before the start %s\n", r.Settings.Kernel, r.Settings.CPUs, r.Settings.LoadBefore)
}
