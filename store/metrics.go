// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/api"
)

// Outcomes of a commit that are not the code of an error.
const (
	outcomeCommitted = "committed"
	outcomeDryRun    = "dry-run"
)

// metrics is what the store counts. doc/metrics.md lists all metrics.
type metrics struct {
	commits   *prometheus.CounterVec
	seconds   prometheus.Histogram
	conflicts prometheus.Counter
	etcd      atomic.Int64 // revision etcd last told of
}

func newMetrics() *metrics {
	return &metrics{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_store_commits_total", Help: "Transactions by outcome: committed, dry-run, or the code of the error."}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "weft_store_commit_seconds", Help: "Time from the request of a transaction to its commit, of those that committed.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15)}), // 0.5 ms to 8 s
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weft_store_commit_conflicts_total", Help: "How often a transaction was worked out anew because others changed what it rests on."}),
	}
}

// Commit writes all the operations in one etcd transaction, or nothing.
func (s *Store) Commit(ctx context.Context, by api.Identity, ops []api.Operation, options CommitOptions) (Result, error) {
	begun := time.Now()
	result, err := s.commitAll(ctx, by, ops, options)
	outcome := outcomeCommitted
	var e *api.Error
	switch {
	case errors.As(err, &e):
		outcome = string(e.Code)
	case err != nil:
		outcome = string(api.CodeInternal)
	case options.DryRun:
		outcome = outcomeDryRun
	default:
		s.metrics.seconds.Observe(time.Since(begun).Seconds())
	}
	s.metrics.commits.WithLabelValues(outcome).Inc()
	return result, err
}

// Metrics are what a process that has a store exports of it.
func (s *Store) Metrics() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		s.metrics.commits, s.metrics.seconds, s.metrics.conflicts,
		gauge("weft_store_revision", "Revision of the store that this controller has.", func() float64 { return float64(s.latest().revision) }),
		gauge("weft_store_lag_revisions", "How many revisions this controller is behind what etcd last told of.", func() float64 {
			return float64(max(0, s.metrics.etcd.Load()-s.latest().revision))
		}),
		gauge("weft_store_epoch", "Rises when the store is restored from a backup.", func() float64 { return float64(s.Epoch()) }),
		objectCounter{s, prometheus.NewDesc("weft_store_objects", "Objects by kind.", []string{"kind"}, nil)},
	}
}

// objectCounter counts objects when it is asked.
type objectCounter struct {
	store *Store
	desc  *prometheus.Desc
}

// Describe names the metric.
func (c objectCounter) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect counts.
func (c objectCounter) Collect(to chan<- prometheus.Metric) {
	snapshot := c.store.latest()
	for _, info := range api.Kinds() {
		n := 0
		snapshot.eachOfKind(info.Kind, func(*record) bool {
			n++
			return true
		})
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), string(info.Kind))
	}
}
