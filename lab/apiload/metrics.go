// SPDX-License-Identifier: Apache-2.0

package apiload

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// histogram counts observations by upper bound, in seconds, cumulatively.
type histogram map[float64]float64

var bucketLine = regexp.MustCompile(`^(\w+)_bucket\{(?:.*,)?le="([^"]+)"\} (\S+)$`)

// readHistogram reads one of Prometheus' text form, all labels together.
func readHistogram(text, name string) (histogram, error) {
	h := histogram{}
	for line := range strings.Lines(text) {
		m := bucketLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || m[1] != name {
			continue
		}
		bound, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, fmt.Errorf("read metric %s: %w", name, err)
		}
		n, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, fmt.Errorf("read metric %s: %w", name, err)
		}
		h[bound] += n
	}
	if len(h) == 0 {
		return nil, fmt.Errorf("read metric %s: it is not exported", name)
	}
	return h, nil
}

// since is what was observed after an earlier reading.
func (h histogram) since(before histogram) histogram {
	d := histogram{}
	for bound, n := range h {
		d[bound] = n - before[bound]
	}
	return d
}

// Bound is between which times a quantile of a histogram lies, and of how many.
type Bound struct {
	Above, UpTo time.Duration
	Count       int
}

func (b Bound) String() string { return fmt.Sprintf("%v to %v", b.Above, b.UpTo) }

// quantile tells between which bounds a share of the observations ends.
func (h histogram) quantile(q float64) Bound {
	bounds := make([]float64, 0, len(h))
	for b := range h {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	all := h[math.Inf(1)]
	above := 0.0
	for _, b := range bounds {
		if h[b] >= q*all {
			return Bound{seconds(above), seconds(b), int(all)}
		}
		above = b
	}
	return Bound{Count: int(all)}
}

func seconds(s float64) time.Duration {
	if math.IsInf(s, 1) {
		return math.MaxInt64
	}
	return time.Duration(s * float64(time.Second)).Round(time.Microsecond)
}

// fsync is the metric of etcd for the fsync of its write-ahead log.
const fsync = "etcd_disk_wal_fsync_duration_seconds"

func (c *controller) fsyncs(ctx context.Context) (histogram, error) {
	text, err := c.read(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	return readHistogram(string(text), fsync)
}

// heap is what the process's Go heap holds, in bytes, as of its last collection.
func (c *controller) heap(ctx context.Context) (int64, error) {
	text, err := c.read(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "go_memstats_heap_inuse_bytes "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int64(f), err
		}
	}
	return 0, fmt.Errorf("read metric go_memstats_heap_inuse_bytes: it is not exported")
}
