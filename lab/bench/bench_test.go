// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"math"
	"strings"
	"testing"
)

func TestStreamIsReadFromTheReport(t *testing.T) {
	s, err := parseStream([]byte(`{"start":{"tcp_mss_default":1448},"end":{"sum_sent":{"bits_per_second":9e9,"retransmits":7},"sum_received":{"bits_per_second":8.5e9},"cpu_utilization_percent":{"host_total":60,"remote_total":40.5}}}`))
	if err != nil || s != (Stream{GbitPerSecond: 8.5, Retransmits: 7, MSS: 1448, ClientCPU: 60, ServerCPU: 40.5}) || !s.disturbed() {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := parseStream([]byte(`{"error":"unable to connect"}`)); err == nil || !strings.Contains(err.Error(), "unable to connect") {
		t.Errorf("error is %v, want iperf3's own words", err)
	}
	if _, err := parseStream([]byte("not json")); err == nil {
		t.Error("a report that is not JSON was accepted")
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Spread
	}{
		{nil, Spread{}},
		{[]float64{2}, Spread{2, 2, 2}},
		{[]float64{9, 1, 4}, Spread{4, 1, 9}},
		{[]float64{4, 1, 2, 3}, Spread{2.5, 1, 4}},
	} {
		if got := spreadOf(c.in); got != c.want {
			t.Errorf("spread of %v is %v, want %v", c.in, got, c.want)
		}
	}
}

// A path is compared with the baseline of its own round: when the machine
// slows down in the second round, the ratio does not move.
func TestCompareIsWithinARound(t *testing.T) {
	rows := []Row{
		{Group: Across, Path: "host to host", Baseline: "host to host", Streams: []Stream{{GbitPerSecond: 40}, {GbitPerSecond: 20}}},
		{Group: Across, Path: "Weft", Baseline: "host to host", Streams: []Stream{{GbitPerSecond: 36, Retransmits: 1}, {GbitPerSecond: 18, Retransmits: 2}}},
	}
	compare(rows)
	if got := rows[1].OfBaseline; math.Abs(got.Min-0.9) > 1e-9 || math.Abs(got.Max-0.9) > 1e-9 {
		t.Errorf("ratio is %+v, want 0.9 in both rounds", got)
	}
	if rows[1].Retransmits != 3 || rows[0].OfBaseline.Median != 1 {
		t.Errorf("rows are %+v", rows)
	}
}

func TestRowsOfOneComparisonFollowEachOther(t *testing.T) {
	paths := []Path{{Group: Across, Name: "a"}, {Group: Across, Name: "b"}, {Group: Local, Name: "c"}}
	rows := rowsFor(paths, Options{Families: []Family{IPv4, IPv6}, Loads: []Load{{1, ""}, {1, "1M"}}})
	if len(rows) != 12 {
		t.Fatalf("%d rows, want 12", len(rows))
	}
	if rows[0].Path != "a" || rows[1].Path != "b" || rows[1].Baseline != "a" || rows[8].Baseline != "c" {
		t.Errorf("rows are %+v", rows)
	}
	rows = rowsFor(paths, Options{Families: []Family{IPv4, IPv6}, Loads: []Load{{1, ""}, {8, ""}}, Only: "across hosts, IPv6, 8 streams"})
	if len(rows) != 2 || rows[0].Family != IPv6 || rows[1].Load.Streams != 8 {
		t.Errorf("only one table was asked for, got %+v", rows)
	}
}
