// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// A sub-port is as well as the port that carries it, which says why it is not;
// nobody plugs one by itself.
func TestStateOfSubPort(t *testing.T) {
	rows := map[string]*hoststream.Row{desired.VRFRow(1): {Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 1, Vni: 1}}}}
	for n := 1; n <= 2; n++ {
		mac := macOf(n)
		rows[desired.PortRow(portID(n))] = &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: portID(n), PortName: "d:p:x", Vrf: 1, Mac: mac[:]}}}
	}
	carried := rows[desired.PortRow(portID(2))].GetPort()
	carried.Trunk, carried.Vlan = portID(1), 5
	there := host.Plug{Interface: "i", Attachment: datapath.Attachment{Ifindex: 7}}
	for _, c := range []struct {
		what  string
		plugs map[string]host.Plug
		state api.PortState
		why   string
	}{
		{"its carrier is not plugged", nil, api.PortWaiting, ""},
		{"its carrier is plugged", map[string]host.Plug{portID(1): there}, api.PortUp, ""},
		{"its carrier failed", map[string]host.Plug{portID(1): {Interface: "i", Failure: "no such namespace"}}, api.PortFailed, "which carries it: no such namespace"},
		{"it is plugged by itself", map[string]host.Plug{portID(1): there, portID(2): {Interface: "j", Attachment: datapath.Attachment{Ifindex: 8}}}, api.PortFailed, "plugged by itself"},
	} {
		s := &speaking{t: t, m: datapath.NewMemoryKernel(nil), has: map[string]string{}, rows: rows}
		s.c = boot(t, s.m, desired.New(), c.plugs)
		s.apply()
		settle(t, s.c, &s.now)
		if state, why := s.c.PortState(portID(2)); state != c.state || !strings.Contains(why, c.why) {
			t.Errorf("%s: state %s %q, want %s %q", c.what, state, why, c.state, c.why)
		}
	}
}
