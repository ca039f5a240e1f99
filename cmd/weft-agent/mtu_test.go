// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
)

// When another host's underlay carries less, a workload hears of it from its
// own host, and what fits then arrives: large packets are not lost in silence.
func TestOtherHostCarriesLess(t *testing.T) {
	for name, c := range map[string]struct {
		tunnel [2]netip.Prefix
		want   string
		fits   [2]string // payload of echo requests in IPv4 and IPv6
	}{
		"IPv4 underlay": {tunnels4, "1350", [2]string{"1322", "1302"}},
		"IPv6 underlay": {tunnels6, "1330", [2]string{"1302", "1282"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := twoHosts(t, c.tunnel)
			inside(t, m[1].ns, func() error {
				l, err := netlink.LinkByName("u0")
				if err != nil {
					return err
				}
				return netlink.LinkSetMTU(l, 1400)
			})
			for i := range m {
				m[i].start(c.tunnel[i])
				m[i].agent.waitReady(t)
				rows := network(100, c.tunnel)[i]
				rows[desired.EndpointRow(hostID(0))].GetTunnelEndpoint().UnderlayMtu = 1500
				rows[desired.EndpointRow(hostID(1))].GetTunnelEndpoint().UnderlayMtu = 1400
				m[i].controller.set(rows)
				m[i].controller.settled()
			}
			w10, w11 := namespace(t, "w10"), namespace(t, "w11")
			m[0].mustPlug(portID(100, 10), w10)
			m[1].mustPlug(portID(100, 11), w11)
			for i, to := range ips(11) {
				out, err := ping(t, w10, to.String(), "-M", "do", "-c", "1", "-W", "2", "-s", "1380")
				if err == nil || !strings.Contains(out, "mtu") || !strings.Contains(out, c.want) {
					t.Errorf("a large echo to %v: %v\n%s\nwant an error that says %s", to, err, out, c.want)
				}
				if out, err := ping(t, w10, to.String(), "-M", "do", "-c", "1", "-W", "2", "-s", c.fits[i]); err != nil {
					t.Errorf("an echo that fits to %v: %v\n%s", to, err, out)
				}
			}
			for _, r := range m[1].controller.table(api.HostTableDrops).Rows {
				if r.Cells[0] == "too-big" {
					t.Errorf("the receiving host dropped: %v", r.Cells)
				}
			}
		})
	}
}

// A host whose object says that its underlay carries less than its interface
// does keeps to that, whatever the other host could take: its workload's
// interface follows, and what is larger is answered and not sent.
func TestUnderlayMTUSetByHand(t *testing.T) {
	m := twoHosts(t, tunnels4)
	give := func(told uint32) {
		for i := range m {
			rows := network(100, tunnels4)[i]
			own := rows[desired.EndpointRow(hostID(i))].GetTunnelEndpoint()
			own.Own, own.UnderlayMtu = true, 9000 // more than there is
			if i == 0 {
				own.UnderlayMtu = told
			}
			rows[desired.EndpointRow(hostID(1-i))].GetTunnelEndpoint().UnderlayMtu = 1500
			m[i].controller.set(rows)
			m[i].controller.settled()
		}
	}
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	give(1500)
	w10, w11 := namespace(t, "w10"), namespace(t, "w11")
	m[0].mustPlug(portID(100, 10), w10)
	m[1].mustPlug(portID(100, 11), w11)
	has := func(ns, want string) {
		t.Helper()
		eventually(t, func() error {
			if got := interior(t, ns); !strings.Contains(got, want) {
				return fmt.Errorf("the workload has %s, want %s", got, want)
			}
			return nil
		})
	}
	has(w10, "mtu 1450")
	has(w11, "mtu 1450")
	give(1400)
	has(w10, "mtu 1350")
	has(w11, "mtu 1450")
	for ns, name := range map[string]string{w10: "eth0", m[0].ns: "wf00100000010"} { // a workload that takes no notice
		inside(t, ns, func() error {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, 1450)
		})
	}
	to := ips(11)[0].String()
	out, err := ping(t, w10, to, "-M", "do", "-c", "1", "-W", "2", "-s", "1380")
	if err == nil || !strings.Contains(out, "Frag needed and DF set (mtu = 1350)") {
		t.Errorf("a large echo: %v\n%s\nwant an ICMP error that says 1350", err, out)
	}
	if out, err := ping(t, w10, to, "-M", "do", "-c", "1", "-W", "2", "-s", "1322"); err != nil {
		t.Errorf("an echo that fits: %v\n%s", err, out)
	}
}
