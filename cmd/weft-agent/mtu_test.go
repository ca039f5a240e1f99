// SPDX-License-Identifier: Apache-2.0

package main

import (
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
