// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-network/weft/agent/host"
)

var (
	portTraffic = desc("weft_port_packets_total", "Frames of a port; received is from its workload.", "port", "name", "direction")
	portOctets  = desc("weft_port_bytes_total", "Bytes of these frames with their Ethernet headers.", "port", "name", "direction")
	portEnds    = desc("weft_port_ended_packets_total", "Frames from a port's workload that ended in the vRouter, by verdict and reason. A port for whose counts the host has no room lacks some; they are in weft_vrouter_ended_packets_total.", "port", "name", "verdict", "reason")
	portsShown  = desc("weft_agent_port_metrics", "1 when the metrics weft_port_… are exported; 0 when there are more plugged ports than --port-metrics, or that is 0.")

	tableEntries = desc("weft_vrouter_table_entries", "Entries of the packet path's tables that are in use, as last counted.", "table")
	tableSize    = desc("weft_vrouter_table_entries_max", "Entries these tables have room for.", "table")
	tableBytes   = desc("weft_vrouter_table_bytes", "Kernel memory that the packet path's tables take, by table and what it is for; the agent's own is process_resident_memory_bytes.", "feature", "table")
)

type portLabels struct{ uuid, name string }

// collectPorts exports counters by port, unless there are too many: with each
// port come some ten series.
func (c *Collector) collectPorts(to chan<- prometheus.Metric) {
	labels := map[int]portLabels{}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	err := c.host.Do(ctx, func(core *host.Core) {
		bound := core.Rows().Ports
		for id, p := range core.Plugs() {
			if row, is := bound[id]; is && p.Failure == "" {
				labels[p.Ifindex] = portLabels{id, row.Name}
			}
		}
		for _, u := range core.Capacity() {
			if !u.Fixed {
				to <- gauge(tableEntries, float64(u.Used), u.Table)
				to <- gauge(tableSize, float64(u.Size), u.Table)
			}
			to <- gauge(tableBytes, float64(u.Bytes), u.Feature, u.Table)
		}
	})
	shown := 0.0
	if err == nil && len(labels) <= c.maxPorts && c.maxPorts > 0 {
		shown = 1
		err = c.collectEachPort(to, labels)
	}
	if err != nil {
		to <- prometheus.NewInvalidMetric(portsShown, err)
		return
	}
	to <- gauge(portsShown, shown)
}

// collectEachPort exports the kernel's counts, which begin anew when another
// port has the interface: with another label, so no count falls.
func (c *Collector) collectEachPort(to chan<- prometheus.Metric, labels map[int]portLabels) error {
	counts, err := c.statistics.Counters()
	if err != nil {
		return err
	}
	for _, n := range counts {
		if l, is := labels[n.Ifindex]; is {
			to <- counter(portTraffic, n.RxPackets, l.uuid, l.name, "received")
			to <- counter(portTraffic, n.TxPackets, l.uuid, l.name, "sent")
			to <- counter(portOctets, n.RxBytes, l.uuid, l.name, "received")
			to <- counter(portOctets, n.TxBytes, l.uuid, l.name, "sent")
		}
	}
	drops, err := c.statistics.Drops()
	if err != nil {
		return err
	}
	for _, d := range drops {
		if l, is := labels[d.Ifindex]; is {
			to <- counter(portEnds, d.Packets, l.uuid, l.name, d.Verdict, d.Name)
		}
	}
	return nil
}
