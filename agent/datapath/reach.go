// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// Virtuals are the virtual addresses of networks that are in the underlay, or that
// hosts see: those of the VRF itself.
func Virtuals(rows desired.Rows) map[desired.RouteKey]desired.VRF {
	all := map[desired.RouteKey]desired.VRF{}
	for key, r := range rows.Routes {
		if v := rows.VRFs[key.VRF]; (v.Fabric || v.HostVisible) && r.Balancer == key.VRF {
			all[key] = v
		}
	}
	return all
}

// addReached lets this host, and of networks in the underlay also that, reach virtual
// addresses, and their members here answer other hosts: of a network that its hosts see,
// through tunnels.
func (t *Tables) addReached(in places) {
	balances := map[uint32]bool{}
	for key, v := range Virtuals(in.rows) {
		balances[key.VRF] = true
		t.lead(vrouter.UnderlayVRF, key.Prefix, Route{NextHop: vrouter.NextHop{Kind: vrouter.NextHopBalancer, VNI: key.VRF}, MAC: vrouter.GatewayMAC, Fabric: v.Fabric})
	}
	for vrf := range balances {
		if in.rows.VRFs[vrf].Fabric {
			continue // which answers by the underlay
		}
		for id, e := range in.rows.Endpoints {
			for _, a := range e.Addresses {
				in.key = desired.RouteKey{VRF: vrf, Prefix: netip.PrefixFrom(a, a.BitLen())}
				hop, problem := nextHop(desired.Route{Host: id, VNI: vrf, Encapsulations: api.EncapsulationVXLAN}, in)
				if problem == "" {
					t.lead(vrf, in.key.Prefix, Route{NextHop: hop, MAC: vrouter.GatewayMAC, Routed: true})
				}
			}
		}
	}
}
