// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

// featureFloating is what agents say that map floating addresses.
const featureFloating = "floating"

// floating says of floating-ips, their associations and port-forwardings whether
// they serve.
func (c *collector) floating() {
	says := map[string]api.Condition{} // by floating-ip
	for _, a := range api.ListOf[*api.FloatingIPAssociation](c.Snapshot, api.KindFloatingIPAssociation) {
		now := c.association(a)
		c.want(a, &api.Reported{Conditions: c.setOf(c.conditions(a, a.Status.Conditions), now)})
		says[a.Spec.FloatingIP.UUID] = now
	}
	for _, f := range api.ListOf[*api.PortForwarding](c.Snapshot, api.KindPortForwarding) {
		now := api.Condition{Type: Serving, Reason: routing.FloatingNotBuilt, Message: "port-forwardings are kept, and do not work yet: associate a floating-ip with the port as a whole"}
		c.want(f, &api.Reported{Conditions: c.setOf(c.conditions(f, f.Status.Conditions), now)})
		if _, whole := says[f.Meta.Parent.UUID]; !whole {
			says[f.Meta.Parent.UUID] = now
		}
	}
	for _, f := range api.ListOf[*api.FloatingIP](c.Snapshot, api.KindFloatingIP) {
		now, has := says[f.Meta.UUID]
		if !has {
			now = api.Condition{Type: Serving, Reason: routing.FloatingNobody, Message: "no floating-ip-association gives it to anybody"}
		}
		c.want(f, &api.Reported{Conditions: c.setOf(c.conditions(f, f.Status.Conditions), now)})
	}
}

// association is whether what is sent to a floating address comes to its port.
func (c *collector) association(a *api.FloatingIPAssociation) api.Condition {
	now := api.Condition{Type: Serving}
	n, network := c.floatingNetwork(a.Spec.FloatingIP.UUID)
	f := n.Association(api.RefTo(a))
	if f == nil {
		now.Reason, now.Message = routing.FloatingUnfit, bounded("network "+network+" of the floating address has no VRF")
		return now
	}
	state, known := c.Hosts[f.Host.UUID]
	switch {
	case f.Reason != "":
		now.Reason, now.Message = f.Reason, bounded(f.Message)
	case !known || !state.Connected || state.Report == nil:
		now.Reason, now.Message = reasonHostAway, bounded("host "+f.Host.Name+" of port "+f.Port.Name+" is not connected")
	case !slices.Contains(state.Report.Features, featureFloating):
		now.Reason = reasonOldAgent
		now.Message = bounded("the agent of host " + f.Host.Name + " does not map floating addresses: what is sent to " + f.IP.String() + " ends there")
	default:
		now.Status, now.Reason = true, reasonServing
	}
	return now
}

// floatingNetwork is the network of a floating-ip's address, nil if it has no VRF, and its name.
func (c *collector) floatingNetwork(ip string) (*routing.Network, string) {
	f, ok := c.Snapshot.Get(api.KindFloatingIP, ip).(*api.FloatingIP)
	if !ok {
		return nil, ""
	}
	a, ok := c.Snapshot.Get(api.KindAddress, f.Spec.Address.UUID).(*api.Address)
	if !ok {
		return nil, ""
	}
	return c.Plan.Derived.Network(a.Meta.Parent.UUID), a.Meta.Parent.Name
}
