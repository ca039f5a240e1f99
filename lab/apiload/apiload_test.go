// SPDX-License-Identifier: Apache-2.0

package apiload

import (
	"errors"
	"testing"
	"time"
)

func TestHistogramOfTheTimeBetween(t *testing.T) {
	const text = `# HELP x y
a_seconds_bucket{op="w",le="+Inf"} 0
a_seconds_bucket{op="r",le="0.001"} 5
a_seconds_bucket{op="r",le="0.002"} 105
a_seconds_bucket{op="r",le="+Inf"} 106
b_seconds_bucket{le="0.001"} 1000
`
	after, err := readHistogram(text, "a_seconds")
	if err != nil {
		t.Fatal(err)
	}
	during := after.since(histogram{0.001: 5, 0.002: 5})
	if got := during.quantile(0.9); got != (Bound{time.Millisecond, 2 * time.Millisecond, 106}) {
		t.Errorf("p90 is %v of %d", got, got.Count)
	}
	if _, err := readHistogram(text, "c_seconds"); err == nil {
		t.Error("a metric that is not there was read")
	}
}

// Requests that failed are counted, and their time too.
func TestSummary(t *testing.T) {
	took, errs := make([]time.Duration, 100), make([]error, 100)
	for n := range took {
		took[n] = time.Duration(100-n) * time.Millisecond
	}
	errs[3] = errors.New("no")
	c := summary(10, took, errs)
	want := Creations{Rate: 10, Made: 99, Failed: 1, P50: 50 * time.Millisecond, P90: 90 * time.Millisecond, P99: 99 * time.Millisecond, Worst: 100 * time.Millisecond, FirstError: "no"}
	if c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
}
