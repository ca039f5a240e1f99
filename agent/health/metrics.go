// SPDX-License-Identifier: Apache-2.0

package health

import "github.com/prometheus/client_golang/prometheus"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	members = desc("weft_agent_members", "Members of pools and health-checks of ports that this host tries by state: up, down, untried (it cannot), unknown (too few tries yet).", "state")
	made    = desc("weft_agent_member_tries_total", "Tries of members and ports by outcome: good, failed, unmade (the host could not).", "outcome")
	lateAre = desc("weft_agent_member_tries_late_total", "Tries that began late by more than a quarter of their interval, because too many were on their way.")
)

// Describe implements prometheus.Collector.
func (k *Keeper) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{members, made, lateAre} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(to chan<- prometheus.Metric) {
	k.mu.Lock()
	states, good, failed, unmade, late := k.states(), k.good, k.failed, k.unmade, k.late
	k.mu.Unlock()
	for state, n := range states {
		to <- prometheus.MustNewConstMetric(members, prometheus.GaugeValue, float64(n), state)
	}
	to <- prometheus.MustNewConstMetric(made, prometheus.CounterValue, float64(good), "good")
	to <- prometheus.MustNewConstMetric(made, prometheus.CounterValue, float64(failed), "failed")
	to <- prometheus.MustNewConstMetric(made, prometheus.CounterValue, float64(unmade), "unmade")
	to <- prometheus.MustNewConstMetric(lateAre, prometheus.CounterValue, float64(late))
}
