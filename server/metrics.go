// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/api"
)

// mediaMetrics is Prometheus' text form.
const mediaMetrics = "text/plain"

// codeDone is the code of a request that succeeded.
const codeDone = "done"

// metrics is what the server counts. doc/metrics.md lists all metrics.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	// unaudited counts writes that are missing in the audit.
	unaudited prometheus.Counter
	// cut counts readers that were given up.
	cut prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_api_requests_total", Help: "Requests by operation (as in the OpenAPI description) and outcome: done, or the code of the error."}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weft_api_request_seconds", Help: "Time to answer a request, by operation; of a watch, how long it was open.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, []string{"operation"}), // 1 ms to 16 s
		unaudited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weft_api_unaudited_total", Help: "Attempts to write that could not be noted in the audit."}),
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weft_api_cut_total", Help: "Replies and watches that were broken off because their readers did not take them."}),
	}
}

// Metrics are what a process that has a server exports of it.
func (s *Server) Metrics() []prometheus.Collector {
	return []prometheus.Collector{
		s.metrics.requests, s.metrics.seconds, s.metrics.unaudited, s.metrics.cut,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_api_watches", Help: "Open watches."}, func() float64 { return float64(s.limits.watches.taken()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_api_connections", Help: "Open connections."}, func() float64 { return float64(s.limits.connections.taken()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_api_held_mebibytes", Help: "Room that is taken for bodies and lists of requests in work, MiB."}, func() float64 { return float64(s.limits.memory.taken()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_api_listings", Help: "Lists that are being read page by page."}, func() float64 { return float64(s.listings.count()) }),
	}
}

// observe counts a request that has ended.
func (m metrics) observe(operation, code string, begun time.Time) {
	m.requests.WithLabelValues(operation, code).Inc()
	m.seconds.WithLabelValues(operation).Observe(time.Since(begun).Seconds())
}

func (l *listings) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// registerMetrics serves the metrics of the whole process to Weft's own,
// where the process has set them.
func (s *Server) registerMetrics(handler http.Handler) {
	s.add(operation{
		id: "metrics", method: http.MethodGet, path: "/metrics", tag: "about", roles: readers,
		summary: "Metrics of this controller in Prometheus' text form", reply: &schemaT{Type: "string"}, sends: mediaMetrics,
		stream: func(w http.ResponseWriter, r *request) error {
			if err := onlyWeft(r.who, "metrics"); err != nil {
				return err
			}
			if handler == nil {
				return api.Errorf(api.CodeNotFound, "metrics: this process has none")
			}
			handler.ServeHTTP(w, r.Request)
			return nil
		},
	})
}
