// SPDX-License-Identifier: Apache-2.0

package lossless

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes a table of runs for people: every run on a line, and below what
// each action cost in all beside the runs without one at the same rate.
func Print(w io.Writer, runs []Run) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ACTION\tRATE\tTIME\tSECONDS\tSENT\tLOST\tFULL SOCKET\tTWICE\tOUT OF ORDER\tLONGEST PAUSE\tTCP RETRANSMITS\tBACKLOG\tVROUTER DROPPED")
	for _, r := range runs {
		s := r.Sum()
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%d\t%d\t%d\t%d\t%d\t%v\t%d\t%d\t%s\n", r.Action, r.Rate, r.Time, r.Took.Seconds(), s.Sent, s.Lost(),
			s.Overflowed, s.Duplicated, s.Reordered, s.Pause.Round(time.Millisecond), r.retransmits(), r.Backlog, r.droppedText())
	}
	t.Flush()
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ACTION\tRATE\tRUNS\tSENT\tLOST\tOF A MILLION\tVROUTER DROPPED")
	for _, total := range totals(runs) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%.1f\t%d\n", total.action, total.rate, total.runs, total.sent, total.lost,
			1e6*float64(total.lost)/float64(max(total.sent, 1)), total.dropped)
	}
	t.Flush()
}

func (r Run) retransmits() (sum uint32) {
	for _, m := range r.Transfers {
		sum += m.Retransmits
	}
	return sum
}

func (r Run) droppedText() string {
	if len(r.Dropped) == 0 {
		return "0"
	}
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(r.Dropped)) {
		words = append(words, fmt.Sprintf("%s %d", reason, r.Dropped[reason]))
	}
	return strings.Join(words, ", ")
}

type total struct {
	action              string
	rate, runs          int
	sent, lost, dropped uint64
}

// totals sums runs up by action and rate, in order of appearance.
func totals(runs []Run) (all []*total) {
	for _, r := range runs {
		at := slices.IndexFunc(all, func(t *total) bool { return t.action == r.Action && t.rate == r.Rate })
		if at < 0 {
			at = len(all)
			all = append(all, &total{action: r.Action, rate: r.Rate})
		}
		s := r.Sum()
		all[at].runs++
		all[at].sent += s.Sent
		all[at].lost += s.Lost()
		all[at].dropped += r.DroppedFrames()
	}
	return all
}
