// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
)

// A service of the fabric that a network wants and its host does not have is not
// absent in silence: the network's row says which, and of which network. Where no
// port of the network is plugged, nobody misses it.
func TestServiceThatTheHostDoesNotHave(t *testing.T) {
	at := netip.MustParseAddrPort("169.254.10.1:123")
	local := datapath.Local{Fabric: map[datapath.Fabric]uint16{{Name: "time", UDP: true}: 3000, {Name: "logs"}: 0}}
	plugged := map[string]datapath.Attachment{"p-00000001": {Ifindex: 4}}
	for what, c := range map[string]struct {
		services []desired.FabricService
		attached map[string]datapath.Attachment
		want     []string
	}{
		"it has it":             {[]desired.FabricService{{Name: "time", At: at, UDP: true}}, plugged, nil},
		"it does not know it":   {[]desired.FabricService{{Name: "mail", At: at}}, plugged, []string{"d:p:blue", "mail by tcp", "--service mail="}},
		"not by that protocol":  {[]desired.FabricService{{Name: "time", At: at, UDP: true}, {Name: "time", At: at}}, plugged, []string{"d:p:blue", "time by tcp"}},
		"it cannot listen":      {[]desired.FabricService{{Name: "logs", At: at}}, plugged, []string{"d:p:blue", "logs by tcp", "its log"}},
		"two of them":           {[]desired.FabricService{{Name: "mail", At: at}, {Name: "news", At: at, UDP: true}}, plugged, []string{"mail by tcp", "news by udp"}},
		"nobody is plugged yet": {[]desired.FabricService{{Name: "mail", At: at}}, nil, nil},
	} {
		rows := rowsOf(four)
		v := rows.VRFs[7]
		v.Name, v.Services = "d:p:blue", c.services
		rows.VRFs[7] = v
		got := datapath.Compute(rows, c.attached, datapath.Underlay{IPv4: here4, MTU: 1500}, local)
		problem := got.Problems[desired.VRFRow(7)]
		for _, word := range c.want {
			if !strings.Contains(problem, word) {
				t.Errorf("%s: the network's row says %q, want %q in it", what, problem, word)
			}
		}
		if (problem == "") != (c.want == nil) {
			t.Errorf("%s: the network's row says %q", what, problem)
		}
		key := vrouter.Service{VRF: 7, Address: at.Addr(), Protocol: 17, Port: at.Port()}
		if has := got.Services[key] == 3000; has != (c.attached != nil && c.services[0].Name == "time") {
			t.Errorf("%s: services %v", what, got.Services)
		}
	}
}
