// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"

	"github.com/weft-network/weft/agent/advertise"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// answers are what the agent answers for a port.
type answers struct{ dhcp4, dhcp6, advertise bool }

func answersOf(p desired.Port, subnets map[desired.SubnetKey]desired.Subnet) (a answers) {
	for _, x := range p.Addresses {
		s := subnets[desired.SubnetKey{VRF: p.VRF, ID: x.Subnet}]
		a.dhcp4 = a.dhcp4 || s.DHCP
		switch s.Mode {
		case api.ModeStateful, api.ModeStateless:
			a.dhcp6, a.advertise = true, true
		case api.ModeSLAAC:
			a.advertise = true
		}
	}
	return a
}

// addRouter makes the address that advertisements come from one of the
// vRouter's own in the port's network.
func (t *Tables) addRouter(p desired.Port) {
	hop := vrouter.NextHop{Kind: vrouter.NextHopGateway}
	key := vrouter.RouteKey{VRF: p.VRF, Prefix: netip.PrefixFrom(advertise.Router, advertise.Router.BitLen())}
	t.NextHops[hop] = struct{}{}
	t.Routes[key] = Route{NextHop: hop}
}
