// SPDX-License-Identifier: Apache-2.0

package views

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/routing"
)

// listing makes the routes of one network readable.
type listing struct {
	*routing.Derived
	balance *balance.Derived
	network *routing.Network
	host    string // as whom they are seen; "" for nobody's place
	leaks   map[leak]time.Time
	// attached are the network-policy-attachments of a policy, by its UUID.
	attached map[string][]*api.NetworkPolicyAttachment
}

// leak is what brought the routes of one network into another.
type leak struct{ by, from string }

// routesOf lists the routes of a network by prefix, as a host sees them if one
// is given: the one that is used first, then its equals, then what leads nowhere.
func routesOf(d *routing.Derived, b *balance.Derived, n *routing.Network, host string) []api.Route {
	l := listing{Derived: d, balance: b, network: n, host: host, leaks: map[leak]time.Time{}, attached: map[string][]*api.NetworkPolicyAttachment{}}
	for _, a := range api.ListOf[*api.NetworkPolicyAttachment](d.Snapshot, api.KindNetworkPolicyAttachment) {
		l.attached[a.Spec.Policy.UUID] = append(l.attached[a.Spec.Policy.UUID], a)
	}
	routes := make([]api.Route, 0, len(n.Routes)+len(n.Equal)+len(n.Unresolved))
	for i := range n.Routes {
		routes = append(routes, l.route(&n.Routes[i]))
	}
	for i := range n.Equal {
		r := l.route(&n.Equal[i])
		r.Equal = true
		routes = append(routes, r)
	}
	for i := range n.Unresolved {
		routes = append(routes, l.infeasible(&n.Unresolved[i]))
	}
	slices.SortStableFunc(routes, func(a, b api.Route) int { return a.Prefix.Compare(b.Prefix) })
	return routes
}

func (l *listing) infeasible(u *routing.Unresolved) api.Route {
	r := api.Route{
		Network: l.network.Ref, Prefix: u.Prefix, NextHop: "none", State: api.RouteInfeasible, Reason: u.Why, Port: u.Port,
		OriginKind: api.KindRouteTable, Origin: u.Table, OriginNetwork: l.network.Ref, LastModified: l.updated(api.KindRouteTable, u.Table.UUID),
	}
	if u.NextHop.IsValid() {
		r.NextHop = "via " + u.NextHop.String()
	}
	return r
}

func (l *listing) route(r *routing.Route) api.Route {
	v := api.Route{
		Network: l.network.Ref, Prefix: r.Prefix, NextHop: r.NextHop(), State: api.RoutePrimary, Port: r.Port, Host: r.Host, MAC: r.MAC,
		LocalPreference: r.Preference(), LastModified: l.updated(r.OriginKind, r.Origin.UUID),
		OriginKind: r.OriginKind, Origin: r.Origin, OriginNetwork: r.OriginNetwork, LeakedByKind: r.LeakKind, LeakedBy: r.LeakedBy,
	}
	if r.Leaked() {
		v.State, v.LastModified = api.RouteSecondary, later(v.LastModified, l.leaked(r))
	}
	if h := l.Host(r.Host.UUID); h != nil && r.Host.UUID != l.host {
		v.Tunnel = &api.RouteTunnel{Addresses: slices.Clone(h.TunnelAddresses), Encapsulation: l.encapsulations(r, h), Label: r.OriginVRF}
	}
	if r.Mapped.Is() {
		v.Port = r.Mapped.Port
	}
	if p := l.Port(v.Port.UUID); p != nil {
		v.LastModified = later(v.LastModified, l.updated(api.KindBinding, p.Binding.UUID))
	}
	if r.Balancer {
		v.Members = l.members(r.Origin.UUID)
	}
	if o := r.Outside; o.Address.IsValid() {
		v.Tunnel = &api.RouteTunnel{Addresses: []netip.Addr{o.Address}, Encapsulation: []string{o.Encapsulation}, Label: o.Label}
	}
	return v
}

// members are who serves a load-balancer, by name.
func (l *listing) members(balancer string) (members []api.RouteMember) {
	b := l.balance.Get(balancer)
	if b == nil {
		return nil
	}
	for i := range b.Members {
		m := &b.Members[i]
		state := m.State
		if m.Backup && state == balance.Active {
			state = "backup"
		}
		members = append(members, api.RouteMember{Member: m.Ref, Port: m.Port, Host: m.Host, State: state, Weight: m.Weight})
	}
	slices.SortFunc(members, func(a, b api.RouteMember) int { return strings.Compare(a.Member.Name, b.Member.Name) })
	return members
}

// encapsulations are the ways to travel to a host: the one that is used where
// it is known from which.
func (l *listing) encapsulations(r *routing.Route, to *routing.Host) []string {
	if l.network.Underlay.Fabric && !r.Leaked() {
		return []string{api.EncapsulationNone}
	}
	list := strings.Fields(r.Encapsulations)
	from := l.Host(l.host)
	if from == nil {
		return api.Encapsulations(list)
	}
	chosen, ok := api.ChooseEncapsulation(list, from.Encapsulations, to.Encapsulations)
	if !ok {
		return []string{}
	}
	return []string{chosen}
}

// leaked is when what leaks a network's routes here last changed.
func (l *listing) leaked(r *routing.Route) time.Time {
	key := leak{r.LeakedBy.UUID, r.OriginNetwork.UUID}
	if at, known := l.leaks[key]; known {
		return at
	}
	at := l.updated(r.LeakKind, r.LeakedBy.UUID)
	for _, a := range l.attached[r.LeakedBy.UUID] {
		if of := a.Spec.Network.UUID; of == l.network.Ref.UUID || of == r.OriginNetwork.UUID {
			at = later(at, a.Meta.UpdatedAt)
		}
	}
	if r.LeakKind == api.KindRouteTarget { // the two networks say who imports and exports
		at = later(at, l.updated(api.KindNetwork, l.network.Ref.UUID))
		at = later(at, l.updated(api.KindNetwork, r.OriginNetwork.UUID))
	}
	l.leaks[key] = at
	return at
}

// updated is when an object was last written; the zero time if it is not there.
func (l *listing) updated(kind api.Kind, uuid string) time.Time {
	if o := l.Snapshot.Get(kind, uuid); o != nil {
		return o.Head().Meta.UpdatedAt
	}
	return time.Time{}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
