// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/control/placement"
)

// metrics is what the stream counts. doc/metrics.md lists all metrics.
type metrics struct {
	deltas, rows, acks prometheus.Counter
}

func newMetrics() metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return metrics{
		deltas: counter("weft_stream_deltas_total", "Deltas sent to hosts."),
		rows:   counter("weft_stream_rows_total", "Rows put and deleted in deltas sent to hosts."),
		acks:   counter("weft_stream_acks_total", "Acknowledgements taken from hosts."),
	}
}

// Metrics are what a process that serves hosts exports of it.
func (s *Server) Metrics() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		s.metrics.deltas, s.metrics.rows, s.metrics.acks,
		gauge("weft_stream_sessions", "Hosts that are connected to this controller.", func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(len(s.sessions))
		}),
		gauge("weft_stream_standbys", "Hosts that hold a stream in reserve to this controller.", func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(len(s.standbys))
		}),
		gauge("weft_stream_hosts_behind", "Connected hosts that have not acknowledged everything of the newest plan.", func() float64 {
			return s.eachSession(func(p *progress, plan *placement.Plan) float64 {
				if plan != nil && p.reached(plan).Before(plan.Version) {
					return 1
				}
				return 0
			})
		}),
		gauge("weft_stream_row_errors", "Rows that connected hosts could not bring into their kernels.", func() float64 {
			return s.eachSession(func(p *progress, _ *placement.Plan) float64 { return float64(len(p.errors)) })
		}),
		gauge("weft_control_revision", "Revision from which this controller last derived what hosts must have.", func() float64 {
			if plan := s.Plan(); plan != nil {
				return float64(plan.Version.Revision)
			}
			return 0
		}),
	}
}

// eachSession sums a value over the sessions.
func (s *Server) eachSession(value func(*progress, *placement.Plan) float64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0.0
	for _, n := range s.sessions {
		n.mu.Lock()
		if n.progress != nil {
			sum += value(n.progress, s.plan)
		}
		n.mu.Unlock()
	}
	return sum
}
