// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// traces follows packets without encapsulation to the host of who gets them, and
// out to where no workload is.
func (s *site) traces() {
	s.t.Helper()
	for i, to := range ips(11) {
		items := s.hosts[0].traced(api.TraceQuestion{Port: portID(100, 10), To: to})
		expectItems(s.t, items, map[string]string{api.TraceVerdict: "routed", api.TraceNextHost: "h1", api.TraceStage: "neighbour: passed; request: passed; route: passed; leave: routed"})
		size, err := strconv.Atoi(items[api.TraceFrameSize])
		if err != nil {
			s.t.Fatalf("nothing to go on with in %v", items)
		}
		items = s.hosts[1].traced(api.TraceQuestion{Uplink: true, Frame: items[api.TraceFrame], FrameSize: size})
		expectItems(s.t, items, map[string]string{api.TraceVerdict: "delivered", api.TraceReceiver: portID(100, 11), api.TraceStage: "enter: passed; deliver: to interface"})

		items = s.hosts[0].traced(api.TraceQuestion{Port: portID(100, 10), To: segment(3)[i].Addr()})
		if items[api.TraceVerdict] != "routed" || items[api.TraceNextHost] != "" {
			s.t.Errorf("a packet to a machine: %v", items)
		}
		items = s.hosts[0].traced(api.TraceQuestion{Host: true, To: to})
		expectItems(s.t, items, map[string]string{api.TraceVerdict: "routed", api.TraceNextHost: "h1", "host route": " on u0 via " + segment(2)[i].Addr().String()})
		if size, err = strconv.Atoi(items[api.TraceFrameSize]); err != nil {
			s.t.Fatalf("nothing to go on with in %v", items)
		}
		items = s.hosts[1].traced(api.TraceQuestion{Uplink: true, Frame: items[api.TraceFrame], FrameSize: size})
		expectItems(s.t, items, map[string]string{api.TraceVerdict: "delivered", api.TraceReceiver: portID(100, 11)})
	}
	s.tracesHost()
}

// tracesHost follows what a host sends to its own workload and the answer, as a
// real ping has gone before, and to an alias of nobody, whose drop is not counted.
func (s *site) tracesHost() {
	s.t.Helper()
	for i, to := range ips(10) {
		answers(s.t, s.hosts[0].ns, to.String())
		before := s.strays()
		items := s.hosts[0].traced(api.TraceQuestion{Host: true, To: to, SourcePort: 9})
		expectItems(s.t, items, map[string]string{
			api.TraceVerdict: "delivered", api.TraceReceiver: portID(100, 10), "workload": portName(100, 10), "host route": " on weft0",
			api.TraceFrom: segment(1)[i].Addr().String(), api.TraceStage: "parse: passed; enter: passed; deliver: to interface",
		})
		from, err := netip.ParseAddr(items[api.TraceFrom])
		if err != nil {
			s.t.Fatalf("nobody to answer in %v", items)
		}
		items = s.hosts[0].traced(api.TraceQuestion{Port: portID(100, 10), From: to, To: from, SourcePort: 9, Reply: true, ReplyToHost: true})
		expectItems(s.t, items, map[string]string{api.TraceVerdict: "hosted", api.TraceStage: "leave: hosted"})
		items = s.hosts[0].traced(api.TraceQuestion{Host: true, To: segment(1)[i].Addr()})
		expectItems(s.t, items, map[string]string{api.TraceVerdict: "none", api.TraceText: "an address of the host itself"})
		items = s.hosts[0].traced(api.TraceQuestion{Host: true, To: vrouter.AliasAddress(9999, to.Is6())})
		expectItems(s.t, items, map[string]string{api.TraceVerdict: "dropped", api.TraceReason: "unknown-alias"})
		if after := s.strays(); before != after {
			s.t.Errorf("a trace was counted: %s, now %s", before, after)
		}
	}
}

// strays is what the first host counted of packets to nobody's alias, which no
// kernel of a workload sends by itself.
func (s *site) strays() (counted string) {
	for _, row := range s.hosts[0].controller.table(api.HostTableDrops).Rows {
		if row.Cells[0] == "unknown-alias" {
			counted += fmt.Sprintln(row.Cells)
		}
	}
	return counted
}
