// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/services"
	"github.com/weft-network/weft/vrouter"
)

type counts struct {
	drops    []vrouter.Drop
	counters []vrouter.Counter
	err      error
}

func (c *counts) Drops() ([]vrouter.Drop, error)       { return c.drops, c.err }
func (c *counts) Counters() ([]vrouter.Counter, error) { return c.counters, c.err }

type stopped struct{}

func (stopped) Do(context.Context, func(*host.Core)) error { return host.ErrStopped }

// counted is the part of a collector that the packet path counts.
type counted struct{ *Collector }

func (c counted) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collectTraffic(to)
	c.collectEnded(to)
}

func expect(t *testing.T, c *Collector, want string) {
	t.Helper()
	if err := testutil.CollectAndCompare(counted{c}, strings.NewReader(want), "weft_vrouter_packets_total", "weft_vrouter_ended_packets_total", "weft_vrouter_untracked_packets_total"); err != nil {
		t.Error(err)
	}
}

const traffic = `
# HELP weft_vrouter_packets_total Frames on all ports and the tunnel device; received is from a workload or the tunnel.
# TYPE weft_vrouter_packets_total counter
`

const untracked = `
# HELP weft_vrouter_untracked_packets_total Frames whose connection found no room in its table. They went on, but where ports ask policy their answers may be refused (doc/dropped.md, Tables).
# TYPE weft_vrouter_untracked_packets_total counter
`

const dropped = `
# HELP weft_vrouter_ended_packets_total Frames that ended in the vRouter by verdict (dropped, consumed), stage and reason (doc/packet-path.md).
# TYPE weft_vrouter_ended_packets_total counter
`

// TestSumsNeverFall: a port goes and takes its counts with it; another comes on
// an interface of the same number and starts from zero.
func TestSumsNeverFall(t *testing.T) {
	spoofed := vrouter.Reason{Name: "spoofed-mac", Stage: "spoof", Verdict: "dropped"}
	s := &counts{
		counters: []vrouter.Counter{{Ifindex: 3, RxPackets: 10, TxPackets: 4, Untracked: 2}, {Ifindex: 5, RxPackets: 100, Untracked: 7}},
		drops:    []vrouter.Drop{{Ifindex: 3, Reason: spoofed, Packets: 2}},
	}
	c := New(s, stopped{}, quiet{}, 0)
	expect(t, c, traffic+`
weft_vrouter_packets_total{direction="received"} 110
weft_vrouter_packets_total{direction="sent"} 4
`+untracked+`
weft_vrouter_untracked_packets_total 9
`+dropped+`
weft_vrouter_ended_packets_total{reason="spoofed-mac",stage="spoof",verdict="dropped"} 2
`)
	s.counters, s.drops = s.counters[:1], nil // 5 is gone
	s.counters[0].RxPackets = 11
	expect(t, c, traffic+`
weft_vrouter_packets_total{direction="received"} 111
weft_vrouter_packets_total{direction="sent"} 4
`+untracked+`
weft_vrouter_untracked_packets_total 9
`+dropped+`
weft_vrouter_ended_packets_total{reason="spoofed-mac",stage="spoof",verdict="dropped"} 2
`)
	s.counters = []vrouter.Counter{{Ifindex: 3, RxPackets: 2, Untracked: 1}, {Ifindex: 5, RxPackets: 1}} // both are new ports
	s.drops = []vrouter.Drop{{Ifindex: 3, Reason: spoofed, Packets: 1}}
	expect(t, c, traffic+`
weft_vrouter_packets_total{direction="received"} 114
weft_vrouter_packets_total{direction="sent"} 4
`+untracked+`
weft_vrouter_untracked_packets_total 10
`+dropped+`
weft_vrouter_ended_packets_total{reason="spoofed-mac",stage="spoof",verdict="dropped"} 3
`)
}

// TestUnreadable: what cannot be read is an error, not a zero.
func TestUnreadable(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(New(&counts{err: errors.New("read counters: no such map")}, stopped{}, quiet{}, 0))
	families, err := registry.Gather()
	if err == nil || !strings.Contains(err.Error(), "no such map") || !strings.Contains(err.Error(), host.ErrStopped.Error()) {
		t.Errorf("gathered %v with error %v; want both errors", families, err)
	}
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool {
		return strings.Contains(f.GetHelp(), "workloads") || strings.Contains(f.GetHelp(), "advertisements")
	})
	if len(families) != 0 {
		t.Errorf("%v have a value", families)
	}
}

// quiet is a host that answered a few.
type quiet struct{}

func (quiet) Counts() services.Counts { return services.Counts{Answered: 3, Forwarded: 2} }

// What workloads asked is counted by outcome.
func TestAnswersAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(New(&counts{}, stopped{}, quiet{}, 0))
	families, _ := registry.Gather() // the stopped host's metrics fail
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if len(m.Label) == 1 {
				got[f.GetName()+" "+m.Label[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if got["weft_agent_requests_total answered"] != 3 || got["weft_agent_dns_queries_total forwarded"] != 2 || got["weft_agent_dns_queries_total refused"] != 0 {
		t.Errorf("counted %v", got)
	}
}
