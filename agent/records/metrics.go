// SPDX-License-Identifier: Apache-2.0

package records

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/vrouter"
)

var (
	eventsTotal     = prometheus.NewDesc("weft_vrouter_records_total", "Dropped and first frames, and those for which rules log something, that were to be recorded, by outcome: told; passed-over by sampling; limited; unheard, since the agent did not keep up.", []string{"kind", "outcome"}, nil)
	exportedTotal   = prometheus.NewDesc("weft_agent_records_total", "Records for export, by where to (file, ipfix, policy-log) and outcome: taken; left-out, since too many waited or, by IPFIX, they have no IP addresses; failed, when the agent ended.", []string{"to", "outcome"}, nil)
	unfollowedTotal = prometheus.NewDesc("weft_agent_sessions_unfollowed_total", "How often an end of a conversation was not followed, since too many were.", nil, nil)
)

var kindWords = map[vrouter.EventKind]string{vrouter.EventDrop: "drop", vrouter.EventFirst: "first", vrouter.EventLogged: "logged"}

// Describe names all metrics.
func (r *Recorder) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{eventsTotal, exportedTotal, unfollowedTotal} {
		to <- d
	}
}

// Collect reads all metrics.
func (r *Recorder) Collect(to chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	counts, err := r.path.EventCounts()
	if err != nil {
		to <- prometheus.NewInvalidMetric(eventsTotal, err)
	}
	for kind, c := range counts {
		counter(eventsTotal, c.Told, kindWords[kind], "told")
		counter(eventsTotal, c.PassedOver, kindWords[kind], "passed-over")
		counter(eventsTotal, c.Limited, kindWords[kind], "limited")
		counter(eventsTotal, c.Unheard, kindWords[kind], "unheard")
	}
	counter(unfollowedTotal, r.untold.Load())
	for _, x := range []*Exporter{r.options.Export, r.options.Log} {
		for _, f := range x.all() {
			counter(exportedTotal, f.taken.Load(), f.sink.kind(), "taken")
			counter(exportedTotal, f.leftOut.Load(), f.sink.kind(), "left-out")
			counter(exportedTotal, f.failed.Load(), f.sink.kind(), "failed")
		}
	}
}

// all are the feeds of an exporter that is there.
func (x *Exporter) all() []*feed {
	if x == nil {
		return nil
	}
	return x.feeds
}
