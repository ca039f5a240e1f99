// SPDX-License-Identifier: Apache-2.0

package views

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
)

const (
	// whyTimeout bounds the questions to agents, so that an answer without
	// the kernel's part comes while somebody still looks.
	whyTimeout = 3 * time.Second
	// maxShown rows of one kind are listed for each stage and host; more are
	// counted, for nobody reads them.
	maxShown = 8
	// maxAsked hosts are asked for their kernel's tables, maxAskedAtOnce at a time.
	maxAsked       = 16
	maxAskedAtOnce = 8
)

// The status words of rows; any other status is the error itself.
const (
	statusOK      = "ok"
	statusPending = "pending"
	statusMissing = "missing"
	// statusDisabled: somebody set its adminState to down.
	statusDisabled = string(api.PortDisabled)
	// What these credentials may not see is not told apart from what is gone.
	statusUnseen = "not-visible"
)

// The processes that hold rows, where it is not a host.
const (
	whereStore   = "store"
	whereControl = "control"
)

// chain collects the rows from one object's intent to the kernel.
type chain struct {
	hosts    Hosts
	snapshot api.Snapshot
	plan     *placement.Plan
	rows     []api.WhyRow
	picked   selection
}

// selection is the derived facts that an object led to.
type selection struct {
	ports    []*routing.Port
	networks []*routing.Network
	routes   []vrfRoute
	host     string   // only rows on this host, where set
	keys     []string // further rows
}

// vrfRoute is a route in the VRF of a network.
type vrfRoute struct {
	network *routing.Network
	route   *routing.Route
}

// Why returns the chain of rows from an object's intent to the kernel, each
// with a status: ok, pending, missing, or the error.
func (v *Views) Why(ctx context.Context, s api.Snapshot, o api.Object) ([]api.WhyRow, error) {
	p, err := v.plan()
	if err != nil {
		return nil, err
	}
	c := &chain{hosts: v.hosts, snapshot: s, plan: p}
	c.object(o)
	switch o := o.(type) {
	case *api.Network:
		c.whyNetwork(o.Meta.UUID)
	case *api.Subnet:
		c.referent(api.KindNetwork, o.Meta.Parent)
		c.pickRoutes("route", func(_ *routing.Network, r *routing.Route) bool { return r.Origin.UUID == o.Meta.UUID })
	case *api.Address:
		c.whyAddress(o)
	case *api.Port:
		c.whyPort(o)
	case *api.Binding:
		c.whyBinding(o)
	case *api.Host:
		c.whyHost(o)
	case *api.NetworkPolicy:
		c.whyPolicy(o)
	case *api.NetworkPolicyAttachment:
		c.whyAttachment(o)
	case *api.RouteTable:
		c.whyRouteTable(o)
	case *api.Trunk:
		c.whyTrunk(o)
	case *api.SubPort:
		c.whySubPort(o)
	case *api.RouteTarget:
		c.whyRouteTarget(o)
	case *api.LoadBalancer:
		c.whyBalancer(o)
	case *api.FloatingIP:
		c.whyFloatingIP(o)
	case *api.FloatingIPAssociation:
		c.whyAssociation(o)
	case *api.SourceNAT:
		c.whySourceNAT(o)
	default:
		c.add(api.StageDerived, whereControl, string(o.Head().Kind), "nothing is derived from this kind of object", statusOK)
		return c.rows, nil
	}
	c.desiredAndKernel(ctx)
	return c.rows, nil
}

func (c *chain) add(stage api.Stage, where, what, detail, status string) {
	c.rows = append(c.rows, api.WhyRow{Stage: stage, Where: where, What: what, Detail: detail, Status: status})
}

// object adds an object as intent.
func (c *chain) object(o api.Object) {
	m := &o.Head().Meta
	detail, status := fmt.Sprintf("%srevision %d", describe(o), m.Revision), statusOK
	if isDown(o) {
		detail, status = detail+", adminState down: nothing passes", statusDisabled
	}
	c.add(api.StageIntent, whereStore, fmt.Sprintf("%s %s", o.Head().Kind, m.FQName), detail, status)
}

// isDown tells whether what carries packets was told not to.
func isDown(o api.Object) bool {
	switch o := o.(type) {
	case *api.Network:
		return o.Spec.AdminState == api.AdminDown
	case *api.Port:
		return o.Spec.AdminState == api.AdminDown
	}
	return false
}

// describe says what matters of an object here.
func describe(o api.Object) string {
	switch o := o.(type) {
	case *api.Network:
		return fmt.Sprintf("vni %d, route target %s, ", o.Spec.VNI, api.AutomaticTarget(o.Spec.VNI))
	case *api.Subnet:
		return fmt.Sprintf("%v, gateway %v, ", o.Spec.CIDR, o.Spec.Gateway)
	case *api.Address:
		return fmt.Sprintf("%v, port %s, ", o.Spec.IP, orNone(o.Spec.Port))
	case *api.Port:
		return fmt.Sprintf("network %s, %s, ", o.Spec.Network, o.Spec.MAC)
	case *api.Binding:
		return fmt.Sprintf("host %s, active %t, ", o.Spec.Host, o.Spec.Active)
	case *api.Host:
		return fmt.Sprintf("tunnel addresses %v, ", o.Spec.TunnelAddresses)
	case *api.NetworkPolicyAttachment:
		return fmt.Sprintf("network %s under %s, ", o.Spec.Network, o.Spec.Policy)
	case *api.NetworkPolicy:
		return fmt.Sprintf("%d rules, ", len(o.Spec.Rules))
	case *api.RouteTable:
		return fmt.Sprintf("%d routes, ", len(o.Spec.Routes))
	case *api.RouteTarget:
		return string(o.Spec.Target) + ", "
	case *api.Trunk:
		return fmt.Sprintf("port %s, ", o.Spec.Port)
	case *api.SubPort:
		return fmt.Sprintf("port %s, VLAN %d, ", o.Spec.Port, o.Spec.VLAN)
	}
	return ""
}

func orNone(r api.Ref) string {
	if r.IsZero() {
		return "none"
	}
	return r.String()
}

// referent adds an object that another one refers to, and returns it or nil.
func (c *chain) referent(kind api.Kind, ref api.Ref) api.Object {
	if o := c.snapshot.Get(kind, ref.UUID); o != nil {
		c.object(o)
		return o
	}
	if ref.IsZero() {
		c.add(api.StageIntent, whereStore, fmt.Sprintf("%s none", kind), "", statusMissing)
		return nil
	}
	c.add(api.StageIntent, whereStore, fmt.Sprintf("%s %s", kind, ref), "these credentials may not see it, or it is gone", statusUnseen)
	return nil
}

// pickRoutes selects routes of all VRFs and adds them as derived.
func (c *chain) pickRoutes(what string, match func(*routing.Network, *routing.Route) bool) {
	var found []vrfRoute
	for _, n := range c.plan.Derived.Networks {
		if !c.shows(n.Ref) {
			continue
		}
		for i := range n.Routes {
			if match(n, &n.Routes[i]) {
				found = append(found, vrfRoute{n, &n.Routes[i]})
			}
		}
	}
	c.picked.routes = append(c.picked.routes, found...)
	switch {
	case len(found) == 0:
		c.add(api.StageDerived, whereControl, what, "in no network that these credentials may see", statusMissing)
	case len(found) > maxShown:
		c.add(api.StageDerived, whereControl, fmt.Sprintf("%d %ss", len(found), what), "", statusOK)
	default:
		for _, f := range found {
			detail := f.route.NextHop()
			if f.route.Leaked() {
				detail += ", leaked by " + f.route.LeakedBy.String()
			}
			c.add(api.StageDerived, whereControl, fmt.Sprintf("%s %v in %s", what, f.route.Prefix, f.network.Ref), detail, statusOK)
		}
	}
}

// shows tells whether the asker may see a network, and so what is derived of it.
func (c *chain) shows(network api.Ref) bool {
	return c.snapshot.Get(api.KindNetwork, network.UUID) != nil
}

// pickNetwork selects a network's VRF and adds it as derived.
func (c *chain) pickNetwork(uuid string) *routing.Network {
	n := c.plan.Derived.Network(uuid)
	if n == nil {
		c.add(api.StageDerived, whereControl, "vrf", "the network has no VNI of its own", statusMissing)
		return nil
	}
	c.picked.networks = append(c.picked.networks, n)
	c.add(api.StageDerived, whereControl, placement.VRFKey(n.VRF), fmt.Sprintf("%d routes, imports from %d networks", len(n.Routes), len(n.Imports)), statusOK)
	return n
}

// pickPort selects a port with an active binding and adds it as derived.
func (c *chain) pickPort(uuid string) {
	p := c.plan.Derived.Port(uuid)
	if p == nil {
		c.add(api.StageDerived, whereControl, "placement of the port", "a port needs a network and an active binding", statusMissing)
		return
	}
	c.picked.ports = append(c.picked.ports, p)
	c.add(api.StageDerived, whereControl, "port "+p.Ref.String(), fmt.Sprintf("on %s, %d addresses", p.Host, len(p.Addresses)), statusOK)
}

// conflicts adds what does not fit together in the networks that match.
func (c *chain) conflicts(match func(*routing.Conflict) bool) {
	shown := 0
	for i := range c.plan.Derived.Conflicts {
		conflict := &c.plan.Derived.Conflicts[i]
		if match(conflict) && shown < maxShown && c.shows(conflict.Network) {
			shown++
			c.add(api.StageDerived, whereControl, "conflict in "+conflict.Network.String(), conflict.String(), string(conflict.Reason))
		}
	}
}
