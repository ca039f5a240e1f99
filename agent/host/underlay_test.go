// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// A host that is told of itself that its underlay carries less than its
// interfaces do sends nothing larger and has its workloads know, also after a
// restart. What it reports is what its interfaces carry: what it is told follows
// from that.
func TestHostKeepsToItsToldMTU(t *testing.T) {
	m, now, has := datapath.NewMemoryKernel(nil), time.Unix(0, 0), map[string]string{}
	plugs := map[string]host.Plug{portID(1): {Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}}}
	c := boot(t, m, desired.New(), plugs)
	rows := map[string]*hoststream.Row{
		desired.VRFRow(1):           {Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 1, Vni: 1}}},
		desired.PortRow(portID(1)):  {Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: portID(1), Vrf: 1, Mac: make([]byte, 6)}}},
		desired.EndpointRow("far"):  {Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: &hoststream.TunnelEndpoint{Host: "far", Addresses: [][]byte{{192, 0, 2, 9}}, UnderlayMtu: 9000}}},
		desired.EndpointRow("here"): {Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: &hoststream.TunnelEndpoint{Host: "here", Addresses: [][]byte{{192, 0, 2, 1}}}}},
	}
	there := netip.MustParsePrefix("10.0.0.5/32")
	rows[desired.RouteRow(desired.RouteKey{VRF: 1, Prefix: there})] = &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{
		Vrf: 1, PrefixAddress: there.Addr().AsSlice(), PrefixLength: 32, Mac: make([]byte, 6), NextHop: &hoststream.Route_Remote{Remote: &hoststream.Remote{Host: "far", Vni: 1}},
	}}}
	here := rows[desired.EndpointRow("here")].GetTunnelEndpoint()
	leaves := func(when string, want int) {
		t.Helper()
		settle(t, c, &now)
		if got := m.Ports.Rows[4].MTU; got != want {
			t.Errorf("%s: the workload has an MTU of %d, want %d", when, got, want)
		}
		hops := 0
		for _, hop := range m.NextHops.Rows {
			if hop.Kind == vrouter.NextHopTunnel {
				hops++
				if hop.MTU != want {
					t.Errorf("%s: the tunnel takes %d, want %d", when, hop.MTU, want)
				}
			}
		}
		if hops != 1 || c.Report().UnderlayMtu != 1500 {
			t.Errorf("%s: %d tunnels, and the report says %d, want 1 and 1500", when, hops, c.Report().UnderlayMtu)
		}
	}
	for i, step := range []struct {
		when string
		own  bool
		told uint32
		want int
	}{
		{"of an older controller", false, 1400, 1450},
		{"told less", true, 1400, 1350},
		{"told more than there is", true, 9000, 1450},
		{"told less again", true, 1300, 1250},
	} {
		here.Own, here.UnderlayMtu = step.own, step.told
		if err := c.Apply(delta(has, rows, int64(i+1), true)); err != nil {
			t.Fatal(err)
		}
		leaves(step.when, step.want)
	}
	c = boot(t, m, reopen(t, c, filepath.Join(t.TempDir(), "desired")), plugs)
	leaves("after a restart", 1250)
	delete(rows, desired.EndpointRow("here"))
	if err := c.Apply(delta(has, rows, 9, true)); err != nil {
		t.Fatal(err)
	}
	leaves("told nothing any more", 1450)
}
