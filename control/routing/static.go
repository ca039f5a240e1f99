// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
)

// maxUnresolved bounds the static routes that are listed for one network as
// leading nowhere; all are counted.
const maxUnresolved = 100

// Unresolved is a static route that makes no route, and why.
type Unresolved struct {
	Table   api.Ref
	Prefix  netip.Prefix
	NextHop netip.Addr // invalid where the route names none
	Port    api.Ref    // whose table it is; zero for a network's
	Why     string
}

// String says in words what leads nowhere.
func (u *Unresolved) String() string {
	words := fmt.Sprintf("%s: %v", u.Table, u.Prefix)
	if u.NextHop.IsValid() {
		words += fmt.Sprintf(" via %v", u.NextHop)
	}
	if !u.Port.IsZero() {
		words += " of port " + u.Port.String()
	}
	return words + ": " + u.Why
}

// rank orders the routes that one network makes for one prefix; the lowest has
// it. What somebody answers for comes before what somebody wrote down, and
// dropping on purpose is the last resort.
func (r *Route) rank() int {
	switch {
	case r.Gateway:
		return 0
	case r.OriginKind == api.KindPort && r.Announced != 0:
		return 2
	case r.OriginKind == api.KindPort:
		return 3 // the range of a pair
	case r.OriginKind != api.KindRouteTable:
		return 1 // an address
	case r.Discard:
		return 6
	case r.Via.IsValid() || r.Outside.Address.IsValid():
		return 5
	}
	return 4 // an interface route
}

// addStatic adds the static routes of one network, from its own tables and
// those of its ports, to the routes its gateways and addresses made, which must
// be all there and sorted. It reads nothing of other networks.
func (n *Network) addStatic(objects objects) {
	made, unresolved := n.tableRoutes(objects, objects.tablesOf(n.Ref.UUID), nil)
	for _, p := range n.ports {
		routes, nowhere := n.tableRoutes(objects, n.tablesOf[p.Ref.UUID], p)
		made, unresolved = append(made, routes...), append(unresolved, nowhere...)
	}
	standing, back := n.standing(made)
	unresolved = append(unresolved, back...)
	slices.SortStableFunc(unresolved, func(a, b Unresolved) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), compareRefs(a.Table, b.Table), compareRefs(a.Port, b.Port), a.NextHop.Compare(b.NextHop))
	})
	n.UnresolvedCount = len(unresolved)
	n.Unresolved = unresolved[:min(len(unresolved), maxUnresolved)]
	if len(made) > 0 {
		// What a workload may send from does not hang on its health: it may be well
		// enough to end what it had begun.
		well := &Network{Identity: n.Identity, Own: n.Own, OwnEqual: slices.Clone(n.OwnEqual), ports: n.ports}
		if len(standing) == len(made) {
			well = n
		}
		well.choose(made)
		well.addSources()
		if well != n {
			n.choose(standing)
		}
		slices.SortStableFunc(n.OwnEqual, compareRoutes)
	}
}

// standing are the routes that lead through no port of which they were taken
// back; those are listed as leading nowhere.
func (n *Network) standing(made []Route) (standing []Route, back []Unresolved) {
	var withdrawn map[string]bool
	for _, p := range n.ports {
		if p.Withdrawn {
			if withdrawn == nil {
				withdrawn = map[string]bool{}
			}
			withdrawn[p.Ref.UUID] = true
		}
	}
	if withdrawn == nil {
		return made, nil
	}
	for _, r := range made {
		if withdrawn[r.Port.UUID] {
			u := Unresolved{Table: r.Origin, Prefix: r.Prefix, NextHop: r.Via, Why: "a health-check of port " + r.Port.String() + " failed"}
			if !r.Via.IsValid() {
				u.Port = r.Port
			}
			back = append(back, u)
			continue
		}
		standing = append(standing, r)
	}
	return standing, back
}

// tableRoutes resolves the routes of tables: of a port if there is one, else of
// the network.
func (n *Network) tableRoutes(objects objects, tables []api.Ref, port *Port) (routes []Route, unresolved []Unresolved) {
	for _, ref := range tables {
		table := objects.table(ref.UUID)
		if table == nil {
			continue
		}
		for _, x := range table.Spec.Routes {
			r, why := n.resolve(x, port)
			if why != "" {
				u := Unresolved{Table: api.RefTo(table), Prefix: x.Prefix, NextHop: x.NextHop, Why: why}
				if port != nil {
					u.Port = port.Ref
				}
				unresolved = append(unresolved, u)
				continue
			}
			r.Prefix, r.Origin, r.OriginKind = x.Prefix.Masked(), api.RefTo(table), api.KindRouteTable
			r.OriginNetwork, r.OriginVRF, r.ECMPFields = n.Ref, n.VRF, n.ECMPFields
			// Within a subnet workloads take the prefix for neighbours and ask
			// for its Ethernet address; beyond it they send to the gateway.
			r.Routed = !n.within(r.Prefix)
			r.Announced = 0
			routes = append(routes, r)
		}
	}
	return routes, unresolved
}

// resolve finds where a static route leads: why says it where it leads nowhere.
func (n *Network) resolve(x api.StaticRoute, port *Port) (r Route, why string) {
	hop := x.NextHop.Unmap().WithZone("")
	switch {
	case !x.Prefix.IsValid() || x.Prefix.Addr().Is4In6():
		return r, "not a prefix"
	case port != nil && x.Tunnel != nil:
		return r, "a port's table leads to the port: name the table in the network"
	case port != nil && x.Discard:
		return r, "a port's table cannot discard: name the table in the network"
	case port != nil && hop.IsValid() && !slices.ContainsFunc(port.Addresses, func(a PortAddress) bool { return a.IP == hop }):
		return r, fmt.Sprintf("%v is no address of the port: leave the next hop out", hop)
	case port != nil:
		return Route{Port: port.Ref, Host: port.Host, MAC: port.MAC, MTU: n.MTU}, ""
	case x.Discard:
		return Route{Discard: true}, ""
	case x.Tunnel != nil:
		return n.outside(x.Tunnel)
	case !hop.IsValid():
		return r, "a network's table needs a next hop, or discard"
	case hop.Is4() != x.Prefix.Addr().Is4():
		return r, fmt.Sprintf("%v is of another family", hop)
	}
	i, found := slices.BinarySearchFunc(n.Own, hostPrefix(hop), func(r Route, p netip.Prefix) int { return r.Prefix.Compare(p) })
	switch {
	case !found:
		return r, fmt.Sprintf("no port of the network that is bound to a host has %v", hop)
	case n.Own[i].Mapped.Is():
		return r, fmt.Sprintf("%v is a floating address: name the address that port %s has itself", hop, n.Own[i].Mapped.Port)
	case n.Own[i].Shared.Is():
		return r, fmt.Sprintf("%v is an address that hosts share for source NAT", hop)
	case n.Own[i].External.Is():
		return Route{External: n.Own[i].External, Via: hop}, ""
	case n.Own[i].Balancer || n.Own[i].Discard:
		return r, fmt.Sprintf("%v is a virtual address of %s", hop, n.Own[i].Origin)
	case n.Own[i].Gateway:
		return r, fmt.Sprintf("%v is the gateway, which is the vRouter itself", hop)
	}
	r = n.Own[i]
	r.Via = hop
	return r, ""
}

// choose brings routes of tables among the network's own: one for each prefix,
// further ones of the same rank as equals.
func (n *Network) choose(made []Route) {
	all := append(slices.Clone(n.Own), made...)
	slices.SortStableFunc(all, func(a, b Route) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(a.rank(), b.rank()), a.Via.Compare(b.Via), a.Outside.Address.Compare(b.Outside.Address), cmp.Compare(a.Outside.Label, b.Outside.Label),
			compareRefs(a.Port, b.Port), compareRefs(a.Origin, b.Origin))
	})
	n.Own = make([]Route, 0, len(all))
	leads := map[place]bool{} // where the present prefix leads already
	for _, r := range all {
		last := len(n.Own) - 1
		switch {
		case last < 0 || n.Own[last].Prefix != r.Prefix:
			n.Own = append(n.Own, r)
			clear(leads)
		case leads[r.place()] && (r.Discard == n.Own[last].Discard && !n.Own[last].Gateway): // the same said twice
		case n.Own[last].rank() == r.rank():
			n.OwnEqual = append(n.OwnEqual, r)
		default:
			n.lost = append(n.lost, Conflict{n.Ref, SamePrefix, r.Prefix, claimantOf(n.Own[last]), claimantOf(r)})
		}
		leads[r.place()] = true
	}
}

// outside is a route to a gateway that is no host.
func (n *Network) outside(t *api.StaticTunnel) (r Route, why string) {
	if _, ok := api.LabelOf(n.VRF); !ok {
		return r, fmt.Sprintf("the gateway has no label to answer with: the network's VNI %d is not between %d and %d", n.VRF, api.MinLabel, api.MaxLabel)
	}
	encapsulation := cmp.Or(t.Encapsulation, api.EncapsulationMPLSUDP)
	return Route{Outside: Outside{Address: t.Address.Unmap(), Encapsulation: encapsulation, Label: t.Label}}, ""
}

// place is where a route leads.
type place struct {
	port     api.Ref
	outside  Outside
	external External
}

func (r *Route) place() place { return place{r.Port, r.Outside, r.External} }

// addSources says which prefixes lie behind each port: what a static route
// sends there may come from there.
func (n *Network) addSources() {
	behind := map[string][]netip.Prefix{}
	for _, routes := range [][]Route{n.Own, n.OwnEqual} {
		for i := range routes {
			if r := &routes[i]; r.OriginKind == api.KindRouteTable && !r.Discard {
				behind[r.Port.UUID] = append(behind[r.Port.UUID], r.Prefix)
			}
		}
	}
	for _, p := range n.ports {
		p.Sources = behind[p.Ref.UUID]
		slices.SortFunc(p.Sources, netip.Prefix.Compare)
	}
}
