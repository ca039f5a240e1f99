// SPDX-License-Identifier: Apache-2.0

package underlay

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// travels fails the test unless a ping and its answer go so between the hosts,
// as others decode them.
func (s *system) travels(t *testing.T, by string) {
	t.Helper()
	for _, to := range w2 {
		packets := s.seen(t, "h1", topology.UplinkName, "udp port 4789 or udp port 6635", 2, func() { s.reaches(t, "w1", to) })
		for _, p := range packets {
			if !strings.Contains(p, ":udp:"+by+":") || !strings.Contains(p, "icmp") {
				t.Errorf("to %v a packet is decoded as %s, want %s", to, p, by)
			}
		}
	}
}

// A network's list, through a controller to the kernels: two hosts use the first
// way of it that both can do, or none, which the network says.
func TestListOfEncapsulations(t *testing.T) {
	s := start(t, "l", topology.IPv4, nil)
	list := func(ways string) string {
		return fmt.Sprintf(`{kind: network, meta: {name: blue, parent: "d:p"}, spec: {encapsulation: [%s]}}`, ways)
	}
	canDo := func(ways string) {
		s.apply(t, fmt.Sprintf(`{kind: host, meta: {name: h2}, spec: {encapsulations: [%s]}}`, ways))
	}
	shows := func(what, word string, there bool, args ...string) {
		t.Helper()
		eventually(t, what, func() (bool, string) {
			out := s.weft(t, args...)
			return strings.Contains(out, word) == there, out
		})
	}
	nextHops := func(there bool) {
		t.Helper()
		for _, host := range []string{"h1", "h2"} {
			shows("next hops of "+host, "mplsudp", there, "get", "next-hops", "--host", host)
		}
	}
	condition := []string{"get", "network", "blue", "-p", "d:p", "-o", "yaml"}

	s.network(t, list("mplsudp, vxlan")) // agents say that they can do both
	nextHops(true)
	s.travels(t, "mpls")
	canDo("vxlan")
	nextHops(false)
	s.travels(t, "vxlan")
	shows("the hosts have one in common", "reason: agreed", true, condition...)

	s.apply(t, list("mplsudp"))
	shows("the hosts have none in common", "reason: nothing-in-common", true, condition...)
	shows("nothing leaves", "unavailable", true, "get", "next-hops", "--host", "h1")
	for _, to := range w2 {
		if a, err := (probe.Ping{Namespace: s.lab.Namespace("w1"), To: to, Count: 2}).Run(); err == nil && a.Received > 0 {
			t.Errorf("%v answers, and its host can do nothing of the list: %s", to, a.Output)
		}
	}
	shows("it is counted", "no-encapsulation", true, "drops", "--host", "h1")

	canDo("mplsudp, vxlan")
	nextHops(true)
	s.travels(t, "mpls")
	shows("the hosts have one in common again", "reason: agreed", true, condition...)
}
