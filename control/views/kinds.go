// SPDX-License-Identifier: Apache-2.0

package views

import (
	"fmt"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/routing"
)

func (c *chain) whyNetwork(uuid string) {
	n := c.pickNetwork(uuid)
	if n == nil {
		return
	}
	c.pickRoutes("route", func(in *routing.Network, _ *routing.Route) bool { return in == n })
	c.conflicts(func(x *routing.Conflict) bool { return x.Network.UUID == uuid })
}

func (c *chain) whyAddress(a *api.Address) {
	c.referent(api.KindNetwork, a.Meta.Parent)
	if a.Spec.Port.IsZero() {
		c.add(api.StageDerived, whereControl, "route", "the address is reserved: no port answers for it", statusMissing)
		return
	}
	if p, ok := c.referent(api.KindPort, a.Spec.Port).(*api.Port); ok {
		c.bindings(p)
		c.pickPort(p.Meta.UUID)
	}
	c.pickRoutes("route", func(_ *routing.Network, r *routing.Route) bool { return r.Origin.UUID == a.Meta.UUID })
	c.conflicts(func(x *routing.Conflict) bool { return x.Loser.Origin.UUID == a.Meta.UUID })
}

func (c *chain) whyPort(p *api.Port) {
	c.referent(api.KindNetwork, p.Spec.Network)
	addresses := 0
	for _, a := range api.ListOf[*api.Address](c.snapshot, api.KindAddress) {
		if a.Spec.Port.UUID == p.Meta.UUID {
			c.object(a)
			addresses++
		}
	}
	frames := addresses == 0 && c.bridges(p.Spec.Network)
	switch {
	case frames:
		c.add(api.StageIntent, whereStore, "addresses", "none: frames reach the port by its MAC", statusOK)
	case addresses == 0:
		c.add(api.StageIntent, whereStore, "addresses", "no address is held by the port", statusMissing)
	}
	if !c.carried(p) {
		c.bindings(p)
	}
	c.pickPort(p.Meta.UUID)
	c.healthChecks(p)
	if frames {
		return
	}
	c.pickRoutes("route", func(_ *routing.Network, r *routing.Route) bool { return r.Port.UUID == p.Meta.UUID })
}

// healthChecks adds what the health-checks of a port come to.
func (c *chain) healthChecks(p *api.Port) {
	for _, h := range p.Status.HealthChecks {
		detail, status := h.Reason, statusOK
		switch {
		case h.Online:
		case h.Reason == api.CheckUnknown:
			detail, status = h.Message, statusPending
		default:
			status = h.Message
		}
		if h.Withdrawn {
			detail += ", routes lead to the port's own addresses only"
		}
		c.add(api.StageDerived, whereControl, "health-check "+h.Check.String(), detail, status)
	}
}

// bridges tells whether ports of a network may do without addresses.
func (c *chain) bridges(network api.Ref) bool {
	n := c.plan.Derived.Network(network.UUID)
	return n != nil && (n.Frames() || n.Flooding)
}

// bindings adds the placements of a port.
func (c *chain) bindings(p *api.Port) {
	active := false
	for _, b := range api.ListOf[*api.Binding](c.snapshot, api.KindBinding) {
		if b.Meta.Parent.UUID != p.Meta.UUID {
			continue
		}
		c.object(b)
		if b.Spec.Active {
			active = true
			c.referent(api.KindHost, b.Spec.Host)
		}
	}
	if !active {
		c.add(api.StageIntent, whereStore, "active binding", "the port is on no host", statusMissing)
	}
}

func (c *chain) whyBinding(b *api.Binding) {
	c.referent(api.KindPort, b.Meta.Parent)
	c.referent(api.KindHost, b.Spec.Host)
	p := c.plan.Derived.Port(b.Meta.Parent.UUID)
	if p == nil || p.Binding.UUID != b.Meta.UUID {
		c.add(api.StageDerived, whereControl, "placement of the port", "the binding is not the active one: nothing follows from it", statusMissing)
		return
	}
	c.picked.host = b.Spec.Host.UUID
	c.pickPort(p.Ref.UUID)
	c.pickRoutes("route", func(_ *routing.Network, r *routing.Route) bool { return r.Port.UUID == p.Ref.UUID })
}

func (c *chain) whyHost(h *api.Host) {
	host := c.plan.Derived.Host(h.Meta.UUID)
	if host == nil {
		c.add(api.StageDerived, whereControl, "host", "", statusMissing)
		return
	}
	networks := c.plan.Networks(h.Meta.UUID)
	c.picked = selection{ports: host.Ports, networks: networks, host: h.Meta.UUID}
	for _, n := range networks {
		for i := range n.Routes {
			c.picked.routes = append(c.picked.routes, vrfRoute{n, &n.Routes[i]})
		}
	}
	c.add(api.StageDerived, whereControl, "host "+host.Ref.String(), fmt.Sprintf("%d ports in %d networks", len(host.Ports), len(networks)), statusOK)
	state := c.hosts.Host(h.Meta.UUID)
	switch {
	case !state.Connected:
		c.add(api.StageDesired, host.Ref.String(), "stream", "the agent holds no stream to this controller", statusMissing)
	case state.Settled.Before(c.plan.Version):
		c.add(api.StageDesired, host.Ref.String(), "stream", fmt.Sprintf("acknowledged everything of revision %d, now is %d", state.Settled.Revision, c.plan.Version.Revision), statusPending)
	default:
		c.add(api.StageDesired, host.Ref.String(), "stream", fmt.Sprintf("acknowledged everything of revision %d", state.Settled.Revision), statusOK)
	}
}

func (c *chain) whyPolicy(p *api.NetworkPolicy) {
	attached := 0
	for _, a := range api.ListOf[*api.NetworkPolicyAttachment](c.snapshot, api.KindNetworkPolicyAttachment) {
		if a.Spec.Policy.UUID == p.Meta.UUID {
			attached++
			if attached <= maxShown {
				c.object(a)
			}
		}
	}
	if attached == 0 {
		c.add(api.StageIntent, whereStore, "network-policy-attachments", "no network is under the policy", statusMissing)
	}
	c.pickRoutes("leaked route", func(_ *routing.Network, r *routing.Route) bool { return r.LeakedBy.UUID == p.Meta.UUID })
	c.conflicts(func(x *routing.Conflict) bool { return x.Loser.LeakedBy.UUID == p.Meta.UUID })
}

func (c *chain) whyAttachment(a *api.NetworkPolicyAttachment) {
	network := a.Spec.Network.UUID
	c.referent(api.KindNetworkPolicy, a.Spec.Policy)
	c.referent(api.KindNetwork, a.Spec.Network)
	c.pickRoutes("leaked route", func(in *routing.Network, r *routing.Route) bool {
		return r.LeakedBy.UUID == a.Spec.Policy.UUID && (in.Ref.UUID == network || r.OriginNetwork.UUID == network)
	})
	c.conflicts(func(x *routing.Conflict) bool {
		return x.Loser.LeakedBy.UUID == a.Spec.Policy.UUID && (x.Network.UUID == network || x.Loser.Network.UUID == network)
	})
}
