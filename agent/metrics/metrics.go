// SPDX-License-Identifier: Apache-2.0

// Package metrics tells Prometheus how a host is: its ports, how close the
// kernel is to what is wanted, and what the packet path counted.
package metrics

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/services"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// readTimeout bounds how long one reading waits for the host's state.
const readTimeout = 5 * time.Second

// Statistics are the counts of the packet path.
type Statistics interface {
	Drops() ([]vrouter.Drop, error)
	Counters() ([]vrouter.Counter, error)
}

// Answers counts what the host answered its workloads.
type Answers interface{ Counts() services.Counts }

// Host runs a function over the state of the host; host.Loop does.
type Host interface {
	Do(ctx context.Context, call func(*host.Core)) error
}

// Collector reads the host at the moment it is asked.
type Collector struct {
	statistics Statistics
	host       Host
	answers    Answers
	maxPorts   int // with more than these, none is told by itself

	mu      sync.Mutex // guards what follows
	traffic *totals[trafficKey]
	ended   *totals[endedKey]
}

type trafficKey struct{ direction, unit string }

type endedKey struct{ verdict, stage, reason, unit string }

// New returns a collector. Ports are told one by one while there are at most maxPorts.
func New(statistics Statistics, host Host, answers Answers, maxPorts int) *Collector {
	return &Collector{statistics: statistics, host: host, answers: answers, maxPorts: maxPorts, traffic: newTotals[trafficKey](), ended: newTotals[endedKey]()}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	inSync   = desc("weft_agent_in_sync", "1 when a controller has delivered everything since the agent started.")
	version  = desc("weft_agent_revision", "Revision of the store that the desired rows are of.")
	epoch    = desc("weft_agent_epoch", "Epoch that the desired rows are of; rises when the store is restored from a backup.")
	ports    = desc("weft_agent_ports", "Ports bound to this host by state.", "state")
	rows     = desc("weft_agent_rows", "Desired rows by table.", "table")
	missing  = desc("weft_agent_row_errors", "Desired rows that are not in the kernel; `weft describe host` says why.")
	packets  = desc("weft_vrouter_packets_total", "Frames on all ports and the tunnel device; received is from a workload or the tunnel.", "direction")
	octets   = desc("weft_vrouter_bytes_total", "Bytes of these frames with their Ethernet headers.", "direction")
	strays   = desc("weft_vrouter_untracked_packets_total", "Frames whose connection found no room in its table. They went on, but where ports ask policy their answers may be refused (doc/dropped.md, Tables).")
	ends     = desc("weft_vrouter_ended_packets_total", "Frames that ended in the vRouter by verdict (dropped, consumed), stage and reason (doc/packet-path.md).", "verdict", "stage", "reason")
	asked    = desc("weft_agent_requests_total", "DHCP, DHCPv6 and router solicitations of workloads by outcome: answered; silent, where nothing is to be said; failed, see the log.", "outcome")
	adverts  = desc("weft_agent_router_advertisements_total", "Router advertisements sent without being asked.")
	messages = desc("weft_agent_address_messages_total", "Messages by which workloads ask for addresses, by way (dhcp, dhcpv6, ra), kind and answer (none: no answer is due).", "way", "asked", "answered")
	crowded  = desc("weft_agent_services_crowded_total", "Connections, conversations and queries of workloads that were refused because the workload or the host had as many as it may.")
	queries  = desc("weft_agent_dns_queries_total", "DNS queries of workloads by outcome: answered from the names of a project, forwarded to a server of the host's, unanswered by all of these, or refused.", "outcome")
	endsLen  = desc("weft_vrouter_ended_bytes_total", "Bytes of these frames.", "verdict", "stage", "reason")
)

// Describe names all metrics.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inSync, version, epoch, ports, rows, missing, packets, octets, strays, ends, endsLen, asked, adverts, queries, messages, crowded, portTraffic, portOctets, portEnds, portsShown, tableEntries, tableSize, tableBytes} {
		to <- d
	}
}

// Collect reads all metrics. What cannot be read is told as an error of its
// own metric; the others have their values.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collectHost(to)
	c.collectTraffic(to)
	c.collectEnded(to)
	c.collectAnswers(to)
	c.collectPorts(to)
}

func (c *Collector) collectAnswers(to chan<- prometheus.Metric) {
	n := c.answers.Counts()
	to <- counter(asked, n.Answered, "answered")
	to <- counter(asked, n.Silent, "silent")
	to <- counter(asked, n.Failed, "failed")
	to <- counter(adverts, n.Advertised)
	to <- counter(queries, n.Named, "answered")
	to <- counter(queries, n.Forwarded, "forwarded")
	to <- counter(queries, n.Unanswered, "unanswered")
	to <- counter(queries, n.Refused, "refused")
	to <- counter(crowded, n.Crowded)
	for m, count := range n.Messages {
		to <- counter(messages, count, m.Way, m.Asked, m.Answered)
	}
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func counter(d *prometheus.Desc, value uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (c *Collector) collectHost(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	err := c.host.Do(ctx, func(core *host.Core) {
		synced := 0.0
		if core.InSync() {
			synced = 1
		}
		v := core.Version()
		to <- gauge(inSync, synced)
		to <- gauge(version, float64(v.Revision))
		to <- gauge(epoch, float64(v.Epoch))
		to <- gauge(missing, float64(len(core.Problems())))
		states := map[api.PortState]int{api.PortWaiting: 0, api.PortUp: 0, api.PortDisabled: 0, api.PortFailed: 0}
		for id := range core.Rows().Ports {
			state, _ := core.PortState(id)
			states[state]++
		}
		for state, n := range states {
			to <- gauge(ports, float64(n), string(state))
		}
		tables := map[string]int{"port": 0}
		for _, key := range core.Keys() {
			table, _, _ := strings.Cut(key, "/")
			tables[table]++
		}
		for table, n := range tables {
			to <- gauge(rows, float64(n), table)
		}
	})
	if err != nil {
		to <- prometheus.NewInvalidMetric(inSync, err)
	}
}

func (c *Collector) collectTraffic(to chan<- prometheus.Metric) {
	counts, err := c.statistics.Counters()
	if err != nil {
		to <- prometheus.NewInvalidMetric(packets, err)
		return
	}
	c.traffic.begin()
	for _, n := range counts {
		for key, value := range map[trafficKey]uint64{
			{"received", "packets"}: n.RxPackets, {"received", "bytes"}: n.RxBytes,
			{"sent", "packets"}: n.TxPackets, {"sent", "bytes"}: n.TxBytes, {"received", "untracked"}: n.Untracked,
		} {
			c.traffic.count(n.Ifindex, key, value)
		}
	}
	c.traffic.end()
	for _, direction := range []string{"received", "sent"} {
		to <- counter(packets, c.traffic.sums[trafficKey{direction, "packets"}], direction)
		to <- counter(octets, c.traffic.sums[trafficKey{direction, "bytes"}], direction)
	}
	to <- counter(strays, c.traffic.sums[trafficKey{"received", "untracked"}])
}

func (c *Collector) collectEnded(to chan<- prometheus.Metric) {
	drops, err := c.statistics.Drops()
	if err != nil {
		to <- prometheus.NewInvalidMetric(ends, err)
		return
	}
	c.ended.begin()
	for _, d := range drops {
		c.ended.count(d.Ifindex, endedKey{d.Verdict, d.Stage, d.Name, "packets"}, d.Packets)
		c.ended.count(d.Ifindex, endedKey{d.Verdict, d.Stage, d.Name, "bytes"}, d.Bytes)
	}
	c.ended.end()
	for key, n := range c.ended.sums {
		metric := ends
		if key.unit == "bytes" {
			metric = endsLen
		}
		to <- counter(metric, n, key.verdict, key.stage, key.reason)
	}
}
