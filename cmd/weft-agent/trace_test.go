// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// traced asks a host what becomes of a packet, and returns the items by name.
// Of those that are there several times it joins the values.
func (m *machine) traced(q api.TraceQuestion) map[string]string {
	m.t.Helper()
	items := map[string]string{}
	for _, r := range m.controller.table(q.Table()).Rows {
		if items[r.Cells[0]] != "" {
			items[r.Cells[0]] += "; "
		}
		items[r.Cells[0]] += r.Cells[1]
	}
	return items
}

// onward is the question to the host that a traced packet is tunnelled to.
func onward(t *testing.T, items map[string]string) api.TraceQuestion {
	t.Helper()
	vni, err1 := strconv.ParseUint(items[api.TraceVNI], 10, 32)
	source, err2 := netip.ParseAddr(items[api.TraceLocal])
	size, err3 := strconv.Atoi(items[api.TraceFrameSize])
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatalf("nothing to go on with in %v", items)
	}
	if items[api.TraceLabelled] != "" {
		return api.TraceQuestion{Labelled: true, Frame: items[api.TraceFrame], FrameSize: size}
	}
	return api.TraceQuestion{VNI: uint32(vni), Source: source, Frame: items[api.TraceFrame], FrameSize: size}
}

// contents are the host's tables that a packet could change, but for what the
// workloads' own neighbour discovery does meanwhile.
func (m *machine) contents() map[string][][]string {
	m.t.Helper()
	all := map[string][][]string{}
	for _, name := range []string{api.HostTableDrops, api.HostTableConnections, api.HostTableRoutes, api.HostTableNextHops, api.HostTablePortAddresses} {
		for _, r := range m.controller.table(name).Rows {
			if !slices.Contains(r.Cells, "neighbour") {
				all[name] = append(all[name], r.Cells)
			}
		}
	}
	return all
}

// A trace says what becomes of a packet, on its way and at the host that it is
// tunnelled to, and agrees with what happens; the hosts' tables stay as they are.
func TestTrace(t *testing.T) {
	for name, tunnel := range map[string][2]netip.Prefix{"IPv4 underlay": tunnels4, "IPv6 underlay": tunnels6} {
		t.Run(name, func(t *testing.T) {
			m := twoHosts(t, tunnel)
			for i := range m {
				m[i].start(tunnel[i])
				m[i].agent.waitReady(t)
			}
			together(m, tunnel, 100)
			w := map[int]string{}
			for n, at := range placed {
				w[n] = namespace(t, "w"+strconv.Itoa(n))
				m[at].mustPlug(portID(100, n), w[n])
			}
			for i, port := range []string{portID(100, 10), portID(100, 11)} { // the kernel's check of the programs may outlast a question on a busy machine
				eventually(t, func() error {
					if e := m[i].controller.ask(api.TraceQuestion{Port: port, To: ips(12)[0]}.Table()).Error; e != "" {
						return fmt.Errorf("host %d: %s", i, e)
					}
					return nil
				})
			}
			before := [2]map[string][][]string{m[0].contents(), m[1].contents()}
			for i, to := range ips(11) {
				items := m[0].traced(api.TraceQuestion{Port: portID(100, 10), To: to, Protocol: "tcp", SourcePort: 40000, DestinationPort: 80})
				expectItems(t, items, map[string]string{
					api.TraceVerdict: "tunnelled", "neighbour": "is at 02:00:00:00:00:0b", api.TraceRemote: tunnel[1].Addr().String(), "connection": "none yet",
					api.TraceStage: "port: passed; parse: passed; spoof: passed; neighbour: passed; request: passed; route: passed; encap: VNI 100",
					"route":        "VRF 100: tunnel to " + tunnel[1].Addr().String(), "underlay route": "on u0", "tunnel device": "is up",
				})
				items = m[1].traced(onward(t, items))
				expectItems(t, items, map[string]string{api.TraceVerdict: "delivered", api.TraceReceiver: portID(100, 11), "workload": portName(100, 11), "tunnel": "d:p:net100"})

				items = m[1].traced(api.TraceQuestion{Port: portName(100, 11), To: ips(10)[i], From: to, Protocol: "tcp", SourcePort: 80, DestinationPort: 40000, Reply: true})
				items = m[0].traced(onward(t, items))
				expectItems(t, items, map[string]string{api.TraceVerdict: "delivered", api.TraceReceiver: portID(100, 10)})

				items = m[0].traced(api.TraceQuestion{Port: portID(100, 10), To: ips(12)[i]})
				expectItems(t, items, map[string]string{api.TraceVerdict: "delivered", api.TraceReceiver: portID(100, 12)})
				m[0].tracesEveryProtocol(m[1], to)
				items = m[0].traced(api.TraceQuestion{Port: portID(100, 10), To: ips(1)[i]})
				expectItems(t, items, map[string]string{api.TraceVerdict: "answered"})
				items = m[0].traced(api.TraceQuestion{Port: portID(100, 10), To: ips(99)[i]})
				expectItems(t, items, map[string]string{api.TraceReason: "unknown-target", "neighbour": "nobody answers"})
				items = m[0].traced(api.TraceQuestion{Port: portID(100, 10), From: ips(77)[i], To: to})
				expectItems(t, items, map[string]string{api.TraceVerdict: "dropped", api.TraceReason: "spoofed-address", api.TraceText: "not one of the port's"})
				items = m[0].traced(api.TraceQuestion{Port: portID(100, 10), To: to, Protocol: "udp", SourcePort: 1, DestinationPort: 2, Size: 1480})
				expectItems(t, items, map[string]string{api.TraceVerdict: "answered", api.TraceReason: "too-big"})
			}
			for i := range m {
				if after := m[i].contents(); !reflect.DeepEqual(before[i], after) {
					t.Errorf("traces changed the tables of host %d:\n%v\nnow\n%v", i, before[i], after)
				}
			}
			m[0].tracesLeaked(network(100, tunnel)[0])
			m[0].controller.set(disabled(network(100, tunnel)[0], desired.PortRow(portID(100, 10))))
			m[0].controller.settled()
			expectItems(t, m[0].traced(api.TraceQuestion{Port: portID(100, 10), To: ips(11)[0]}), map[string]string{api.TraceReason: "port-disabled", "port": "state disabled: adminState of the port is down"})
			m[0].refusesTraces()
		})
	}
}

// tracesLeaked: of a route of another network a trace says whose it is and by which
// policy it came.
func (m *machine) tracesLeaked(rows map[string]*hoststream.Row) {
	m.t.Helper()
	leaked := []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8:113::9")}
	for _, to := range leaked {
		put(rows, route(100, to, &hoststream.Route{
			Mac: macOf(11), Routed: true, Origin: "d:p:other-9", LeakedBy: "d:p:front", NextHop: &hoststream.Route_Remote{Remote: &hoststream.Remote{Host: hostID(1), Vni: 100}},
		}))
	}
	m.controller.set(rows)
	m.controller.settled()
	for _, to := range leaked {
		expectItems(m.t, m.traced(api.TraceQuestion{Port: portID(100, 10), To: to}), map[string]string{api.TraceVerdict: "tunnelled", "route": "from d:p:other-9 by d:p:front"})
	}
}

// tracesEveryProtocol: packets of all protocols that rules know have the headers that
// the packet path wants, on their way and as an answer; and ICMP that is no echo.
func (m *machine) tracesEveryProtocol(other *machine, to netip.Addr) {
	m.t.Helper()
	for _, c := range []struct{ protocol, icmp, packet string }{
		{"tcp", "", "]:5000  tcp syn"}, {"udp", "", "]:5000  udp"}, {"sctp", "", "]:5000  sctp init"}, {"132", "", "]:5000  sctp init"},
		{"udplite", "", "]:5000  udplite"}, {"dccp", "", "]:5000  dccp request"}, {"gre", "", "  protocol 47"}, {"50", "", "  protocol 50"},
		{"icmp", "", " echo request"}, {"icmp", "13", "  icmp type 13 code 0"}, {"icmp", "42/1", "  icmp type 42 code 1"},
	} {
		if to.Is4() {
			c.packet = strings.TrimPrefix(c.packet, "]")
		}
		for _, reply := range []bool{false, true} {
			q := api.TraceQuestion{Port: portID(100, 10), To: to, Protocol: c.protocol, ICMP: c.icmp, SourcePort: 40000, DestinationPort: 5000, Reply: reply}
			items := m.traced(q)
			if !reply {
				expectItems(m.t, items, map[string]string{"packet": c.packet})
			}
			expectItems(m.t, items, map[string]string{api.TraceVerdict: "tunnelled"})
			on := onward(m.t, items)
			on.Reply = reply
			expectItems(m.t, other.traced(on), map[string]string{api.TraceVerdict: "delivered", api.TraceReceiver: portID(100, 11)})
		}
	}
}

// refusesTraces asks what cannot be answered.
func (m *machine) refusesTraces() {
	m.t.Helper()
	for _, c := range []struct {
		q     api.TraceQuestion
		words string
	}{
		{api.TraceQuestion{Port: "d:p:nowhere", To: ips(11)[0]}, "not bound to this host"},
		{api.TraceQuestion{Port: portID(100, 10)}, "needs port and to"},
		{api.TraceQuestion{Port: portID(100, 10), To: ips(11)[0], Size: 9000}, "at most"},
		{api.TraceQuestion{Labelled: true, Frame: "0a", FrameSize: 60}, "not one of MPLS over UDP"},
		{api.TraceQuestion{Port: portID(100, 10), ToMAC: "02:00:00:00:00:0b", Ethertype: 0x800}, "name an address"},
		{api.TraceQuestion{Host: true}, "needs to"},
		{api.TraceQuestion{Port: portID(100, 10), To: ips(11)[0], Protocol: "tpc"}, "neither a name that rules know nor a number"},
		{api.TraceQuestion{Port: portID(100, 10), To: ips(11)[0], ICMP: "echo"}, "not a type of ICMP"},
		{api.TraceQuestion{VNI: 100, Source: tunnels4[1].Addr(), Frame: "zz", FrameSize: 60}, "not hexadecimal"},
	} {
		var reply *hoststream.TableReply
		if reply = m.controller.ask(c.q.Table()); !strings.Contains(reply.Error, c.words) {
			m.t.Errorf("%+v: %q, want an error with %q", c.q, reply.Error, c.words)
		}
	}
}

func expectItems(t *testing.T, items, want map[string]string) {
	t.Helper()
	for item, words := range want {
		if !strings.Contains(items[item], words) {
			t.Errorf("%s is %q, want %q in it; all of it: %v", item, items[item], words, items)
		}
	}
}
