// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// Connected is the condition that hosts connect an external network to its
// segment. Others have no such condition.
const Connected = "Connected"

// featureExternal is what agents say that connect external networks.
const featureExternal = "external"

// The reasons of Connected, besides those of hosts.
const (
	reasonConnected = "connected"      // holds
	reasonUnfit     = "cannot-connect" // what the network is does not go with it
	reasonNoGateway = "no-host"        // none of its hosts has the physical network
	reasonNoRouter  = "no-router"      // no subnet has a gateway
	maxNamedHosts   = 5                // in a message
)

// connect says in an external network's status who connects it.
func (c *collector) connect(o *api.Network, n *routing.Network, now *api.NetworkStatus) {
	if o.Spec.External {
		now.Conditions = c.setOf(now.Conditions, c.connected(n))
	} else if slices.ContainsFunc(now.Conditions, func(c api.Condition) bool { return c.Type == Connected }) {
		now.Conditions = without(now.Conditions, Connected)
	}
}

func (c *collector) connected(n *routing.Network) api.Condition {
	now := api.Condition{Type: Connected}
	var able, old, away []string
	for _, h := range n.Connected() {
		switch state, known := c.Hosts[h.UUID]; {
		case !known || !state.Connected || state.Report == nil:
			away = append(away, h.Name)
		case !slices.Contains(state.Report.Features, featureExternal):
			old = append(old, h.Name)
		default:
			able = append(able, h.Name)
		}
	}
	switch {
	case n.Segment.Refused != "":
		now.Reason, now.Message = reasonUnfit, bounded(n.Segment.Refused)
	case len(n.Connected()) == 0:
		now.Reason, now.Message = reasonNoGateway, bounded(fmt.Sprintf("no host that may connect it has physical network %s: Weft's administrators write physicalNetworks of hosts", n.Segment.Physical))
	case len(n.Routers()) == 0:
		now.Reason, now.Message = reasonNoRouter, "no subnet has a gateway: the router outside is not known"
	case len(able) > 0:
		now.Status, now.Reason, now.Message = true, reasonConnected, bounded("by "+named(able))
	case len(old) > 0:
		now.Reason, now.Message = reasonOldAgent, bounded("agents do not connect external networks yet: "+named(old))
	default:
		now.Reason, now.Message = reasonHostAway, bounded("hosts that connect it are not connected themselves: "+named(away))
	}
	return now
}

// named lists some hosts.
func named(hosts []string) string {
	if len(hosts) > maxNamedHosts {
		return fmt.Sprintf("%s and %d more", strings.Join(hosts[:maxNamedHosts], ", "), len(hosts)-maxNamedHosts)
	}
	return strings.Join(hosts, ", ")
}
